"""Builds and rebuilds as durable workflows on DBOS: the only file that knows it.

The engine gives one thing: a workflow that was started is carried on after a restart until it has an outcome.
What happens, and in which order, is in ``steps`` and ``versions``; the truth about it is in the controller's
own tables. So the engine's database may be lost: what is not finished is started again at the next start.

What has to be told to DBOS, each found out by experiment (docs/decisions):

- ``application_version`` is pinned. By default it is a hash of the workflows' source, and after any edit
  unfinished workflows would silently stay where they are.
- The serializer is portable JSON; the default is pickle.
- ``executor_id`` is fixed: a process recovers the workflows of its own id only.
- SQLite is put into WAL by the connection's class; the engine does not do it.
- In a PostgreSQL database each data folder has a schema of its own: workflows are named by numbers that two
  controllers share, and one would take the other's for its own.
- Rows of workflows that have ended are deleted after a week; the engine keeps them for ever.
- A step that is interrupted because the controller goes down leaves by ``Interrupted``, which is no
  ``Exception``: the engine would record one as the workflow's outcome.
"""

import logging
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, SetWorkflowID

from edgewright.controller import registry
from edgewright.controller.blobs import BlobStore
from edgewright.controller.database import col, select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.evidencetables import Alarm, Rebuild
from edgewright.controller.database.tables import ModelVersion
from edgewright.controller.durable import write_durably
from edgewright.controller.errors import BuildInterruptedError, InvalidRequestError
from edgewright.controller.model_toml import FILE_NAME, parse_model
from edgewright.controller.rebuild.context import Context, Measuring, Publishing, Releases, Rollouts
from edgewright.controller.rebuild.orders import approve, cancel, queue_rebuild
from edgewright.controller.rebuild.states import AT_WORK
from edgewright.controller.rebuild.steps import carry_on, clear_left_overs, end_failed
from edgewright.controller.rebuild.trigger import Asked, Trigger
from edgewright.controller.rebuild.versions import compile_version, release_version
from edgewright.wire.errors import EdgewrightError

APPLICATION: Final = "edgewright"
APPLICATION_VERSION: Final = "workflows-1"
"""A change of the order of steps gets ``DBOS.patch``; a new version would orphan what is under way."""
EXECUTOR: Final = "controller"

ENDED: Final = ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
"""The engine's states of a workflow that nothing carries on any more."""

KEEP_ENDED_S: Final = 7 * 24 * 3600.0
"""For a look at what the engine did; nothing reads the rows of a workflow that has ended."""

MOST_ROWS: Final = 500
"""Rows deleted at once."""

SCHEMA_FILE: Final = "engine-schema"
"""In the data folder; holds the name of the schema that this controller has in a PostgreSQL database."""

_log = logging.getLogger(__name__)


def check_database(url: str) -> str:
    """The address of a PostgreSQL database as the engine takes it; empty for a file of our own.

    Raises:
        InvalidRequestError: it is none.
    """
    if url and not url.startswith(("postgresql://", "postgresql+psycopg://")):
        raise InvalidRequestError("The workflows' database is named as postgresql://USER@HOST:PORT/NAME.")
    return url


class _WalConnection(sqlite3.Connection):
    """A connection in WAL mode; FULL because a workflow's step is an act that must not be forgotten."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.execute("PRAGMA journal_mode=WAL")
        self.execute("PRAGMA synchronous=FULL")


class Workflows:
    """See the module's text; one in a process, because the engine is."""

    def __init__(
        self,
        data: Path,
        db: Database,
        blobs: BlobStore,
        repository: Releases,
        publisher: Publishing,
        rollouts: Rollouts,
        database_url: str = "",
        measuring: Measuring | None = None,
    ) -> None:
        self._context = Context(data, db, blobs, repository, publisher, rollouts, measuring)
        self._url = database_url or f"sqlite:///{data / 'dbos.db'}"
        self._running = False
        self._starting = threading.Lock()

    def start(self) -> None:
        """Start the engine and carry on what is unfinished."""
        clear_left_overs(self._context)
        DBOS(config=self._config())
        self._declared = _declare(self._context)
        DBOS.launch()
        self._running = True
        with self._context.db.reading() as session:
            building = session.exec(
                select(ModelVersion)
                .where(col(ModelVersion.state).in_(registry.UNFINISHED))
                .where(col(ModelVersion.source) == "push")
            ).all()
            rebuilding = session.exec(select(Rebuild.id).where(col(Rebuild.state).in_(AT_WORK))).all()
        for version in building:
            self.enqueue_build(version.model, version.version)
        for number in rebuilding:
            self._start_rebuild(number or 0)

    def stop(self) -> None:
        """End; what is under way is carried on at the next start."""
        self._running = False
        self._context.stopping.set()
        DBOS.destroy(destroy_registry=True, workflow_completion_timeout_sec=5)

    def enqueue_build(self, model: str, version: int) -> None:
        """Build, sign and publish a version that the registry holds; asked for twice it is done once."""
        with self._context.db.reading() as session:
            has_work = registry.find_version(session, model, version).state in registry.UNFINISHED
        if self._running and has_work:
            self._start(f"build-{model}-{version}", self._declared.build, model, version)

    def enqueue_rebuild(self, model: str, cause: str, asked: Asked) -> int:
        """Queue a rebuild and start it; returns its number, or that of the one that is under way.

        Args:
            model: its name.
            cause: one sentence.
            asked: who asks, and from which version it shall start.

        Raises:
            UnknownModelError: the model has no version that is ready.
        """
        with self._context.db.session() as session:
            number = queue_rebuild(session, model, cause, asked).id or 0
        self._start_rebuild(number)
        return number

    def enqueue_for_alarm(self, alarm: int) -> int:
        """Answer an alarm by a rebuild where model.toml makes them automatic; returns its number, else 0."""
        with self._context.db.reading() as session:
            row = session.get_one(Alarm, alarm)
            version = registry.find_version(session, row.model, row.version)
        if not parse_model(self._context.blobs.read(version.files[FILE_NAME])).rebuild.automatic:
            return 0
        asked = Asked(Trigger.HARM, alarm=alarm, from_version=row.version)
        return self.enqueue_rebuild(row.model, row.sentence, asked)

    def approve_rebuild(self, number: int, by: str) -> None:
        """Let a rebuild that waits for a person go on.

        Raises:
            RebuildStateError: there is none, or it does not wait.
        """
        with self._context.db.session() as session:
            approve(session, number, by)
        self._start_rebuild(number)

    def cancel_rebuild(self, number: int, by: str) -> None:
        """End a rebuild; the work of its state that is being done leads nowhere.

        Raises:
            RebuildStateError: there is none, it is rolling out, or it has ended.
        """
        with self._context.db.session() as session:
            cancel(session, number, f"cancelled by {by}.")

    def forget_ended(self) -> None:
        """Delete the engine's rows of workflows that ended long ago; the controller's own tables stay."""
        if not self._running:
            return
        before = datetime.fromtimestamp(time.time() - KEEP_ENDED_S, UTC).isoformat()
        while ended := DBOS.list_workflows(
            status=list(ENDED), completed_before=before, limit=MOST_ROWS, load_input=False, load_output=False
        ):
            DBOS.delete_workflows([row.workflow_id for row in ended])

    def _start_rebuild(self, number: int) -> None:
        if self._running:
            with self._context.db.reading() as session:
                row = session.get_one(Rebuild, number)
            # The first one ends where a person is waited for; nothing runs until they have approved.
            name = f"rebuild-{number}-approved" if row.approved_at else f"rebuild-{number}"
            if row.state in AT_WORK:
                self._start(name, self._declared.rebuild, number)

    def _start(self, name: str, workflow: Any, *arguments: Any) -> None:
        # Two threads that start one workflow at once are a conflict to the engine.
        with self._starting:
            known = DBOS.get_workflow_status(name)
            if known is not None and known.status in ENDED:
                # Whoever starts it has work left: the engine gave up, or its database is older than ours.
                DBOS.delete_workflow(name)
                known = None
            if known is None:
                with SetWorkflowID(name):
                    DBOS.start_workflow(workflow, *arguments)

    def _config(self) -> DBOSConfig:
        config: DBOSConfig = {
            "name": APPLICATION,
            "system_database_url": self._url,
            "application_version": APPLICATION_VERSION,
            "executor_id": EXECUTOR,
            "serializer": DBOSPortableJSONSerializer(),
            "enable_otlp": False,
            "log_level": "WARNING",
        }
        if self._url.startswith("sqlite"):
            config["db_engine_kwargs"] = {"connect_args": {"factory": _WalConnection}}
        else:
            config["dbos_system_schema"] = self._schema()
        return config

    def _schema(self) -> str:
        place = self._context.data / SCHEMA_FILE
        if not place.exists():
            write_durably(place, f"edgewright_{secrets.token_hex(4)}\n".encode())
        return place.read_text().strip()


class _Declared(NamedTuple):
    """The workflows as the engine knows them."""

    build: Callable[[str, int], None]
    rebuild: Callable[[int], None]


def _declare(context: Context) -> _Declared:
    """Declare workflows and steps to the engine; closures, because it cannot mark bound methods."""

    @DBOS.step(name="compile")
    def compile_step(model: str, version: int) -> str:
        return _compile(context, model, version)

    @DBOS.step(name="release")
    def release_step(model: str, version: int, result: str) -> None:
        _release(context, model, version, result)

    @DBOS.step(name="carry-on")
    def carry_on_step(number: int) -> str:
        return _carry_on(context, number)

    @DBOS.workflow(name="build")
    def build(model: str, version: int) -> None:
        result = compile_step(model, version)
        if result:
            release_step(model, version, result)

    @DBOS.workflow(name="rebuild")
    def rebuild(number: int) -> None:
        while carry_on_step(number) in AT_WORK:
            pass

    return _Declared(build, rebuild)


def _compile(context: Context, model: str, version: int) -> str:
    try:
        return compile_version(context, model, version)
    # The top of a thread: whatever it is, the version must not stay "building" for ever.
    except Exception as error:  # noqa: BLE001
        _mark_failed(context, model, version, error)
        return ""


def _release(context: Context, model: str, version: int, result: str) -> None:
    try:
        release_version(context, result)
    # The top of a thread, likewise.
    except Exception as error:  # noqa: BLE001
        _mark_failed(context, model, version, error)


def _carry_on(context: Context, number: int) -> str:
    try:
        with context.turn(number):
            return carry_on(context, number)
    # The top of a thread: a defect must not leave the rebuild in flight, which would hold back all others.
    except Exception as error:  # noqa: BLE001
        _log.exception("Rebuild %d failed by a defect.", number)
        return end_failed(context, number, f"a defect: {error!r}.")


def _mark_failed(context: Context, model: str, version: int, error: Exception) -> None:
    if not isinstance(error, EdgewrightError):
        _log.error("A defect in the build of %s v%d.", model, version, exc_info=error)
        error = BuildInterruptedError(f"The build met a defect: {error!r}.")
    with context.db.session() as session:
        registry.mark_failed(session, model, version, error)
