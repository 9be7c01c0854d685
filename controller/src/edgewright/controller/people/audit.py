"""The audit log: who changed what, in a chain that shows what was done to it.

Rows are only added. Each holds the SHA-256 over the canonical JSON of itself and the digest before it; the
first one follows ``GENESIS``, the SHA-256 of the text ``edgewright audit 1``. A row that was changed, taken
out, put elsewhere or added in between therefore breaks the chain at that row. What a chain alone cannot
show is an end that was cut off, or one that somebody wrote anew from some row on: a signed head
(``people.heads``) that lies elsewhere shows both.

An entry is written in the transaction of its change, so there is neither a change without an entry nor an
entry without a change. ``events.record`` enters what ``ENTERED_EVENTS`` lists; other changes call ``enter``;
and the API enters a changing request that did neither, after it, and every refusal (``api.auditing``).
Secrets never belong into ``detail``.
"""

import re
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from edgewright.controller.database import Session, case, col, func, or_, select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import AuditEntry
from edgewright.controller.errors import AuditBrokenError
from edgewright.controller.people.acting import CONTROLLER, present
from edgewright.wire.canonical import canonical_json, sha256_hex

GENESIS: Final = sha256_hex(b"edgewright audit 1")
DONE: Final = "done"
WORDS_AT_MOST: Final = 10
"""Of a search; each is one more condition for the database."""

ENTERED_EVENTS: Final = frozenset(
    {
        *("version.pushed", "version.ready", "version.failed", "version.signing", "version.withdrawn"),
        *("alias.moved", "alias.removed"),
        *("rollout.started", "rollout.wave", "rollout.paused", "rollout.stopped", "rollout.finished"),
        *("alarm.raised", "alarm.closed"),
        *("rebuild.queued", "rebuild.started", "rebuild.candidate", "rebuild.finished", "rebuild.failed"),
        *("rebuild.waiting", "rebuild.approved"),
        *("device.enrolled", "device.renewed", "device.revoked", "device.suspicious", "device.trusted"),
        *("device.unsigned", "director.equivocation"),
    }
)
"""Events that change something or that a person has to answer for; telemetry is not among them."""


_SECRET: Final = re.compile(r"\b(ewt_[0-9a-f]{12}|ewe|ew)_[\w-]{20,}(?:\.\w+)?")


class Entry(msgspec.Struct, frozen=True):
    """One row as it is digested and exported: all of ``AuditEntry``, by the same names."""

    seq: int
    at: float
    actor: str
    role: str
    action: str
    subject: str
    outcome: str
    detail: dict[str, Any]
    previous_sha256: str
    sha256: str = ""


class Tip(msgspec.Struct, frozen=True):
    """How far a log goes: the number of its last entry and that entry's digest."""

    seq: int = 0
    sha256: str = GENESIS


def enter(
    session: Session,
    action: str,
    subject: str = "",
    *,
    outcome: str = DONE,
    actor: str = "",
    role: str = "",
    detail: dict[str, Any] | None = None,
) -> None:
    """Add an entry to the session's transaction.

    Without ``actor`` it is whoever the present request acts for, else the controller. In a request its own
    action stands in the entry and ``action`` in the detail where the two differ: "rollout.create" may also
    end the rollout that ran before.
    """
    acting = present()
    said = dict(detail or {})
    if acting is not None and not actor:
        actor, role = acting.actor, acting.role
        if acting.action and acting.action != action:
            said, action = {"event": action, **said}, acting.action
        acting.entered = True
    before = tip(session)
    entry = Entry(
        seq=before.seq + 1,
        at=time.time(),
        actor=actor or CONTROLLER,
        role=role,
        action=action,
        subject=without_secrets(subject),
        outcome=outcome,
        # What is digested has to be what JSON gives back: text as keys, lists for tuples.
        detail=msgspec.json.decode(without_secrets(msgspec.json.encode(said).decode())),
        previous_sha256=before.sha256,
    )
    session.add(AuditEntry(**{**msgspec.structs.asdict(entry), "sha256": digest(entry)}))
    session.flush()


def without_secrets(text: str) -> str:
    """A text in which no token is whole, whoever put it there: an address, a reason, a name.

    >>> without_secrets("token ewt_0123456789ab_" + "x" * 43)
    'token ewt_0123456789ab_...'
    """
    return _SECRET.sub(r"\1_...", text)


def enter_event(
    session: Session, kind: str, sentence: str, model: str, version: int, device: str, rollout: int
) -> None:
    """Enter what ``events.record`` was told, if the audit log has to know of it."""
    if kind not in ENTERED_EVENTS:
        return
    acting = present()
    by_device = acting is not None and not acting.actor and bool(device)
    enter(
        session,
        kind,
        _subject(model, version, device, rollout),
        actor=f"device {device}" if by_device else "",
        detail={"sentence": sentence},
    )


def _subject(model: str, version: int, device: str, rollout: int) -> str:
    if rollout:
        return f"rollout {rollout}"
    if device:
        return f"device {device}"
    return f"{model} v{version}" if version else model


def digest(entry: Entry) -> str:
    """SHA-256 of an entry: canonical JSON of all its fields but this one."""
    fields = msgspec.structs.asdict(entry)
    del fields["sha256"]
    return sha256_hex(canonical_json(fields))


def tip(session: Session) -> Tip:
    """The end of the log."""
    statement = select(AuditEntry.seq, AuditEntry.sha256).order_by(col(AuditEntry.seq).desc()).limit(1)
    row = session.exec(statement).first()
    return Tip(*row) if row else Tip()


def entries(db: Database, batch: int = 1000) -> Iterator[Entry]:
    """The whole log in its order, read in batches."""
    after = -1
    with db.reading() as session:
        while True:
            statement = select(AuditEntry).where(col(AuditEntry.seq) > after).order_by(col(AuditEntry.seq))
            rows = session.exec(statement.limit(batch)).all()
            if not rows:
                return
            for row in rows:
                yield entry_of(row)
            after = rows[-1].seq
            session.expunge_all()


def entry_of(row: AuditEntry) -> Entry:
    """A row as a value."""
    return Entry(**{name: getattr(row, name) for name in Entry.__struct_fields__})


def verify(log: Iterable[Entry], known: Iterable[Tip] = ()) -> Tip:
    """Follow the chain; returns its end.

    ``known`` are ends of the log at earlier times, each from a signed head.

    Raises:
        AuditBrokenError: with the number of the first entry that does not fit.
    """
    heads: dict[int, set[str]] = {}
    for head in known:
        heads.setdefault(head.seq, set()).add(head.sha256)
    end = Tip()
    for entry in log:
        wanted = end.seq + 1
        if entry.seq != wanted:
            raise AuditBrokenError(f"Entry {wanted} is missing: {entry.seq} follows {end.seq}.")
        if entry.previous_sha256 != end.sha256:
            raise AuditBrokenError(f"Entry {entry.seq} does not follow the entry before it.")
        if digest(entry) != entry.sha256:
            raise AuditBrokenError(f"Entry {entry.seq} was changed: its digest is not its own.")
        if heads.pop(entry.seq, {entry.sha256}) != {entry.sha256}:
            raise AuditBrokenError(f"Entry {entry.seq} is not the one that its signed head names.")
        end = Tip(entry.seq, entry.sha256)
    if heads.pop(0, {GENESIS}) != {GENESIS} or heads:
        raise AuditBrokenError(f"Entry {end.seq + 1} is missing: a signed head names {max(heads)} entries.")
    return end


def search(session: Session, text: str, limit: int, *, before: int = 0, offset: int = 0) -> list[AuditEntry]:
    """Entries in which every word stands somewhere, newest first, of those before a number."""
    statement = _matching(select(AuditEntry), text).order_by(col(AuditEntry.seq).desc())
    if before:
        statement = statement.where(col(AuditEntry.seq) < before)
    return list(session.exec(statement.offset(offset).limit(limit)))


def count(session: Session, text: str = "") -> int:
    """In how many entries every word stands."""
    return int(session.exec(_matching(select(func.count()).select_from(AuditEntry), text)).one())


def activity(session: Session, text: str, start: float, bucket_s: int) -> dict[int, tuple[int, int]]:
    """Of each bucket of time since ``start``, by its number: how many were done and how many refused."""
    bucket = func.floor((col(AuditEntry.at) - start) / float(bucket_s))
    done = func.sum(case((col(AuditEntry.outcome) == DONE, 1), else_=0))
    statement = _matching(select(bucket, func.count(), done), text).where(col(AuditEntry.at) >= start)
    return {int(b): (int(d), n - int(d)) for b, n, d in session.exec(statement.group_by(bucket))}


def _matching(statement: Any, text: str) -> Any:
    columns = (
        AuditEntry.actor,
        AuditEntry.role,
        AuditEntry.action,
        AuditEntry.subject,
        AuditEntry.outcome,
    )
    for word in text.split()[:WORDS_AT_MOST]:
        hits = [col(column).icontains(word, autoescape=True) for column in columns]
        statement = statement.where(or_(*hits))
    return statement
