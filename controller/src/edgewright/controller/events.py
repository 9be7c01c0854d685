"""Moments that people want to see: one call to record one.

Those that change something go into the audit log too, in the same transaction; see ``people.audit``.
"""

import time

from edgewright.controller.database import Session
from edgewright.controller.database.tables import Event
from edgewright.controller.people import audit


def record(
    session: Session,
    kind: str,
    sentence: str,
    *,
    model: str = "",
    version: int = 0,
    device: str = "",
    rollout: int = 0,
) -> None:
    """Add an event to the session's transaction.

    ``kind`` is ``<subject>.<what>``, for example ``alarm.raised`` (the page chooses its mark by it);
    ``sentence`` is one plain sentence.
    """
    session.add(
        Event(
            at=time.time(),
            kind=kind,
            sentence=sentence,
            model=model,
            version=version,
            device=device,
            rollout=rollout,
        )
    )
    audit.enter_event(session, kind, sentence, model, version, device, rollout)
