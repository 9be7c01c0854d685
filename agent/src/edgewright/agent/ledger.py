"""Moves deployments and tells of it: a state and its report are one commit.

Whatever is on its way to the controller was remembered before, and whatever is remembered will be told.
"""

import contextlib
import logging
import time
from typing import Any

from edgewright.agent.database import Database
from edgewright.agent.journal import Deployment, Journal
from edgewright.agent.outbox import Outbox
from edgewright.wire.deployment import Event
from edgewright.wire.errors import EdgewrightError
from edgewright.wire.messages import Release, Report

log = logging.getLogger(__name__)


class Ledger:
    """Journal and outbox of one database."""

    def __init__(self, device: str, database: Database, journal: Journal, outbox: Outbox) -> None:
        self._device = device
        self._database, self._journal, self._outbox = database, journal, outbox

    def transaction(self) -> contextlib.AbstractContextManager[object]:
        """Everything inside is one commit."""
        return self._database.transaction()

    def move(
        self,
        deployment: Deployment,
        event: Event,
        *,
        error: EdgewrightError | None = None,
        name: str = "",
        said: str = "",
        swap_gap_us: int = 0,
        **changed: Any,
    ) -> Deployment:
        """Move a deployment along the table and report its new state.

        Args:
            deployment: as it was read last.
            event: what happened.
            error: why, where something went wrong; gives name and sentence.
            name: of the report, without an error.
            said: sentence of the report, without an error.
            swap_gap_us: see ``Report``.
            changed: fields of the deployment that change with it.

        Raises:
            IllegalTransitionError: the table does not list it; nothing changed.
        """
        if error is not None:
            changed |= {"error": error.number, "detail": error.sentence}
            name, said = error.name, error.sentence
        with self.transaction():
            moved = self._journal.move(deployment, event, time.time(), **changed)
            self.report(
                moved,
                state=moved.state,
                error=error.number if error else 0,
                name=name,
                detail=said,
                swap_gap_us=swap_gap_us,
            )
        log.info("%s %d is %s. %s", moved.release.model, moved.release.version, moved.state, said)
        return moved

    def note(self, error: EdgewrightError, deployment: Deployment | None = None) -> None:
        """Report an error that moved nothing."""
        log.warning("%s", error)
        self.report(deployment, error=error.number, name=error.name, detail=error.sentence)

    def report(self, deployment: Deployment | None, **fields: Any) -> None:
        """Put a report into the outbox; ``fields`` are those of ``Report``."""
        self._put(
            release=deployment.release if deployment else None,
            assignment_version=deployment.assignment.version
            if deployment
            else self._journal.device().version,
            fetched_bytes=deployment.fetched_bytes if deployment else 0,
            **fields,
        )

    def report_about(self, release: Release, **fields: Any) -> None:
        """Put a report about a release that was not deployed into the outbox."""
        self._put(release=release, assignment_version=self._journal.device().version, **fields)

    def _put(self, **fields: Any) -> None:
        now = time.time()
        self._outbox.put(Report(device=self._device, stream="", seq=0, sent_at=now, **fields), now)
