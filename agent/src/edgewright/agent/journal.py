"""What the device remembers: accepted assignment, deployments, slots, floors.

Every state is written here before anything acts on it. The journal moves deployments only along the table
of ``wire.deployment``; it decides nothing else.
"""

import sqlite3
from collections.abc import Collection
from typing import Any, Final, Literal, NamedTuple

import msgspec

from edgewright.agent.agreement import Assignment, ImageTarget, Seen
from edgewright.agent.control import QualificationResult, SlotName
from edgewright.agent.database import Database
from edgewright.wire.deployment import FINISHED, Event, State, advance
from edgewright.wire.messages import Release

_COLUMNS: Final = (
    "id, assignment, state, error, detail, slot, fetched_bytes, threads, updated_at, "
    "starts, trouble, troubles"
)
KEPT: Final = 200
"""Deployments, and names that were signed, that are remembered: years at a version a week. What slots hold
stays, whatever its age. An older name cannot bring an older version back: floors stand in the way."""

_assignments = msgspec.msgpack.Decoder(Assignment)
_qualifications = msgspec.msgpack.Decoder(QualificationResult)


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """One release on its way into this device.

    Attributes:
        slot: where it is, or was, to be loaded; None before.
        error, detail: why it ended, 0 and empty where nothing went wrong.
        fetched_bytes: payload bytes that it took from the network.
        threads: of an inference, as the qualification chose them.
        starts: of the agent after ends that nobody ordered, since this release is new on its way or decides;
            None where it is not new.
        trouble, troubles: the last error that its step was tried again after, and how often in a row.
    """

    id: int
    assignment: Assignment
    state: State
    error: int
    detail: str
    slot: SlotName | None
    fetched_bytes: int
    threads: int
    updated_at: float
    starts: int | None = None
    trouble: str = ""
    troubles: int = 0

    @property
    def release(self) -> Release:
        """What reports call it."""
        target = self.assignment.target
        return Release(target.custom.model, target.custom.version, target.sha256)

    @property
    def finished(self) -> bool:
        """Whether it needs no more work."""
        return self.state in FINISHED


class DeviceRecord(NamedTuple):
    """The device's own facts.

    Attributes:
        version, sha256: of the newest accepted assignment.
        clock: seconds since the epoch below which no clock of this device may stand.
        seen: newest verified image metadata.
        active: slot that decides; None for the fallback.
        offset: what signed time adds to the system's clock, seconds; None before the first signed time.
        director_root: newest version of the director's root that was trusted.
        director_keys: key ids that it names for assignments; empty where an older agent noted none.
        restarts: whether those keys replaced all that could have signed the accepted assignment, so that the
            next one may have any version.
    """

    version: int
    sha256: str
    clock: float
    seen: Seen
    active: SlotName | None
    offset: float | None = None
    director_root: int = 0
    director_keys: tuple[str, ...] = ()
    restarts: bool = False


class Journal:
    """The tables, one method for each thing that is remembered."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def device(self) -> DeviceRecord:
        """The device's own facts."""
        row = self._row(
            "SELECT assignment_version, assignment_sha256, clock, root, timestamp, online_keys, active, "
            "clock_offset, director_root, director_keys, assignments_restart FROM device"
        )
        version, sha256, clock, *seen, active, offset, director_root, keys, restarts = row
        return DeviceRecord(
            version,
            sha256,
            clock,
            Seen(*seen),
            active,
            offset,
            director_root,
            tuple(keys.split()),
            bool(restarts),
        )

    def floors(self) -> dict[str, int]:
        """Release counter of the newest committed release, by model."""
        return self._counters("counter")

    def minimums(self) -> dict[str, int]:
        """Smallest release counter that the release keys allow, by model."""
        return self._counters("minimum")

    def _counters(self, column: Literal["counter", "minimum"]) -> dict[str, int]:
        query = f"SELECT model, {column} FROM floors WHERE {column} > 0"  # noqa: S608 - one of two constants
        return dict(self._database.connection.execute(query))

    def names(self) -> dict[str, str]:
        """SHA-256 of every manifest that both signers have named, by target path."""
        return dict(self._database.connection.execute("SELECT path, sha256 FROM names"))

    def count_connection(self) -> int:
        """Remember that a connection was made; how many there were, this one included."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE device SET connections = connections + 1")
        (count,) = self._row("SELECT connections FROM device")
        return int(count)

    def accept(self, assignment: Assignment, now: float) -> Deployment:
        """Remember an assignment as accepted and open its deployment; forget very old ones."""
        with self._database.transaction() as connection:
            self._note_accepted(assignment)
            cursor = connection.execute(
                "INSERT INTO deployments (assignment, state, updated_at) VALUES (?, ?, ?)",
                (msgspec.msgpack.encode(assignment), State.ASSIGNED, now),
            )
            assert cursor.lastrowid is not None
            connection.execute(
                "DELETE FROM deployments WHERE id <= ? "
                "AND id NOT IN (SELECT deployment FROM slots WHERE deployment IS NOT NULL)",
                (cursor.lastrowid - KEPT,),
            )
            return self.deployment(cursor.lastrowid)

    def renew(self, assignment: Assignment) -> None:
        """Remember an assignment that says again what the newest deployment was opened for.

        The deployment takes it over: a content key in it may have been wrapped anew, for a renewed key.
        """
        with self._database.transaction() as connection:
            self._note_accepted(assignment)
            if assignment.orders.content_key:
                connection.execute(
                    "UPDATE deployments SET assignment = ? WHERE id = (SELECT max(id) FROM deployments)",
                    (msgspec.msgpack.encode(assignment),),
                )

    def _note_accepted(self, assignment: Assignment) -> None:
        self._database.connection.execute(
            "UPDATE device SET assignment_version = ?, assignment_sha256 = ?, assignment_raw = x'', "
            "clock = max(clock, ?), assignments_restart = 0",
            (assignment.version, assignment.sha256, assignment.orders.issued),
        )

    def set_offset(self, offset: float) -> None:
        """Remember what signed time has told about the system's clock."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE device SET clock_offset = ?", (offset,))

    def note_director_root(self, version: int, keys: Collection[str], *, restarts: bool) -> None:
        """Remember a newest root of the director that was trusted.

        Args:
            version: of the root.
            keys: ids of the keys that may sign assignments from now on.
            restarts: whether they replace all others: versions of assignments and numbers of qualification
                orders begin again, and so does the clock's floor, which those others had raised.
        """
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE device SET director_root = max(director_root, ?), director_keys = ?",
                (version, " ".join(keys)),
            )
            if restarts:
                connection.execute("UPDATE device SET assignments_restart = 1, clock = 0")
                connection.execute("UPDATE qualification SET number = 0, sha256 = '', expires = 0")
                connection.execute("DELETE FROM candidates")

    def note_agreed(self, target: ImageTarget, proof: bytes) -> None:
        """Remember what both signers have said of a release: its bytes, how far back the model may go, and
        the signatures that say so.
        """
        custom = target.custom
        with self._database.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO names VALUES (?, ?)", (target.path, target.sha256))
            connection.execute("DELETE FROM names WHERE rowid <= (SELECT max(rowid) FROM names) - ?", (KEPT,))
            connection.execute("INSERT OR REPLACE INTO proofs VALUES (?, ?)", (target.sha256, proof))
            connection.execute(
                "INSERT INTO floors (model, counter, minimum) VALUES (?, 0, ?) "
                "ON CONFLICT (model) DO UPDATE SET minimum = max(minimum, excluded.minimum)",
                (custom.model, custom.min_counter),
            )

    def proof(self, sha256: str) -> bytes | None:
        """The signatures over a release, by its manifest's digest; None where none were kept."""
        row = self._row("SELECT proof FROM proofs WHERE sha256 = ?", sha256)
        return bytes(row[0]) if row else None

    def keep_proofs(self, digests: Collection[str]) -> None:
        """Forget the signatures over all other releases."""
        marks = ", ".join("?" for _ in digests)
        with self._database.transaction() as connection:
            connection.execute(
                f"DELETE FROM proofs WHERE sha256 NOT IN ({marks})",  # noqa: S608 - question marks
                tuple(digests),
            )

    def note_seen(self, seen: Seen) -> None:
        """Remember the newest verified versions of image metadata; see ``Seen`` for what new keys mean."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE device SET root = max(root, ?1), online_keys = ?3, "
                "timestamp = CASE WHEN online_keys IN ('', ?3) THEN max(timestamp, ?2) ELSE ?2 END",
                (seen.root, seen.timestamp, seen.online_keys),
            )

    def move(self, deployment: Deployment, event: Event, now: float, **changed: Any) -> Deployment:
        """Advance a deployment along the table.

        Args:
            deployment: as it was read last.
            event: what happened.
            now: seconds since the epoch.
            changed: ``error``, ``detail``, ``slot``, ``fetched_bytes``, ``threads`` or ``starts`` that change
                with it.

        Raises:
            IllegalTransitionError: the table does not list it; nothing changed.
        """
        state = advance(deployment.state, event)
        moved = msgspec.structs.replace(deployment, state=state, updated_at=now, **changed)
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE deployments SET state = ?, error = ?, detail = ?, slot = ?, fetched_bytes = ?, "
                "threads = ?, starts = ?, updated_at = ? WHERE id = ?",
                (
                    state,
                    moved.error,
                    moved.detail,
                    moved.slot,
                    moved.fetched_bytes,
                    moved.threads,
                    moved.starts,
                    now,
                    moved.id,
                ),
            )
        return moved

    def note_qualified(self, number: int, result: QualificationResult) -> None:
        """Remember what a qualification has measured."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE deployments SET qualification = ? WHERE id = ?",
                (msgspec.msgpack.encode(result), number),
            )

    def qualification(self, number: int) -> QualificationResult | None:
        """What a deployment's last qualification has measured; None before it."""
        (raw,) = self._row("SELECT qualification FROM deployments WHERE id = ?", number)
        return _qualifications.decode(raw) if raw else None

    def begin_run(self) -> bool:
        """Remember that an agent runs; whether the one before ended without having been told to."""
        (running,) = self._row("SELECT running FROM device")
        if not running:
            with self._database.transaction() as connection:
                connection.execute("UPDATE device SET running = 1")
        return bool(running)

    def end_run(self) -> None:
        """Remember that the agent was told to end."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE device SET running = 0")

    def count_start(self, deployment: Deployment) -> Deployment:
        """Count a start of the agent while a deployment is new."""
        return self.set_starts(deployment, (deployment.starts or 0) + 1)

    def set_starts(self, deployment: Deployment, starts: int | None) -> Deployment:
        """Count anew, or, with None, no longer."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE deployments SET starts = ? WHERE id = ?", (starts, deployment.id))
        return msgspec.structs.replace(deployment, starts=starts)

    def count_trouble(self, deployment: Deployment, trouble: str) -> Deployment:
        """Count an error after which a step is tried again; another one than before counts from 1.

        An empty one says that there is none.
        """
        troubles = deployment.troubles + 1 if trouble == deployment.trouble else 1
        troubles = troubles if trouble else 0
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE deployments SET trouble = ?, troubles = ? WHERE id = ?",
                (trouble, troubles, deployment.id),
            )
        return msgspec.structs.replace(deployment, trouble=trouble, troubles=troubles)

    def add_fetched(self, deployment: Deployment, fetched_bytes: int) -> Deployment:
        """Remember what a try took from the network that has to be made again."""
        fetched = deployment.fetched_bytes + fetched_bytes
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE deployments SET fetched_bytes = ? WHERE id = ?", (fetched, deployment.id)
            )
        return msgspec.structs.replace(deployment, fetched_bytes=fetched)

    def deployment(self, number: int) -> Deployment:
        """One deployment."""
        return _deployment(self._row(f"SELECT {_COLUMNS} FROM deployments WHERE id = ?", number))  # noqa: S608 - constant columns

    def deployments(self, limit: int = 10) -> list[Deployment]:
        """The newest deployments, newest first."""
        rows = self._database.connection.execute(
            f"SELECT {_COLUMNS} FROM deployments ORDER BY id DESC LIMIT ?",  # noqa: S608 - constant columns
            (limit,),
        )
        return [_deployment(row) for row in rows]

    def unfinished(self) -> list[Deployment]:
        """Deployments that need work, oldest first; at most one unless the agent was killed in between."""
        marks = ", ".join("?" for _ in FINISHED)
        rows = self._database.connection.execute(
            f"SELECT {_COLUMNS} FROM deployments WHERE state NOT IN ({marks}) ORDER BY id",  # noqa: S608 - constants
            tuple(FINISHED),
        )
        return [_deployment(row) for row in rows]

    def slots(self) -> dict[SlotName, Deployment | None]:
        """What each slot holds as good, or on probation."""
        rows = self._database.connection.execute("SELECT slot, deployment FROM slots").fetchall()
        return {slot: self.deployment(number) if number else None for slot, number in rows}

    def set_slot(self, slot: SlotName, deployment: Deployment | None) -> None:
        """Remember what a slot holds."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE slots SET deployment = ? WHERE slot = ?", (deployment and deployment.id, slot)
            )

    def set_active(self, slot: SlotName | None) -> None:
        """Remember which slot decides."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE device SET active = ?", (slot,))

    def raise_floor(self, model: str, counter: int) -> None:
        """Remember a committed release counter; a floor never sinks."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO floors (model, counter) VALUES (?, ?) "
                "ON CONFLICT (model) DO UPDATE SET counter = max(counter, excluded.counter)",
                (model, counter),
            )

    def _row(self, query: str, *parameters: Any) -> Any:
        return self._database.connection.execute(query, parameters).fetchone()


def _deployment(row: sqlite3.Row) -> Deployment:
    number, assignment, state, error, detail, slot, fetched_bytes, threads, updated_at, *counted = row
    starts, trouble, troubles = counted
    return Deployment(
        id=number,
        assignment=_assignments.decode(assignment),
        state=State(state),
        error=error,
        detail=detail,
        slot=slot,
        fetched_bytes=fetched_bytes,
        threads=threads,
        updated_at=updated_at,
        starts=starts,
        trouble=trouble,
        troubles=troubles,
    )
