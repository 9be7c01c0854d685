"""Findings and alarms as rows: what the monitor has to tell, stored before it is told.

A finding is a verdict from its day to its end. It is one row as long as it is about the same robot or tag and
says harm or none; a cause that becomes clearer changes the row. Opening and closing are events.

A version has one open alarm, and one more of a fault of the version itself. Which alarms open a rebuild, and
when, is the verdict's matter (``evidence.verdict.PATIENCE_S``).
"""

import time
from collections.abc import Container, Iterable
from typing import Any, Final, NamedTuple

import msgspec

from edgewright.controller.database import Session, col, select
from edgewright.controller.database.evidencetables import Alarm, Finding, TagReference
from edgewright.controller.database.tables import Device, Event
from edgewright.controller.events import record
from edgewright.controller.evidence.baselines import StoredReference
from edgewright.controller.evidence.verdict import Cause, Verdict
from edgewright.controller.evidence.version import VersionHealth

HARM_SIGNAL: Final = "error-rate"
ESTIMATE_SIGNAL: Final = "estimated-error-rate"
FAULT_SIGNAL: Final = "fault"
"""Of alarms that no rebuild answers."""


class Key(NamedTuple):
    """A version."""

    model: str
    version: int


class About(NamedTuple):
    """What makes a verdict the same finding as before."""

    device: str
    tag: str
    harm: bool
    fault: bool


def about(verdict: Verdict) -> About:
    """The finding that a verdict belongs to."""
    return About(verdict.device, verdict.tag, verdict.harm, verdict.cause is Cause.MODEL_FAULT)


def open_findings(session: Session, key: Key) -> dict[About, int]:
    """Numbers of a version's open findings."""
    statement = select(Finding).where(
        Finding.model == key.model, Finding.version == key.version, Finding.closed_at == 0.0
    )
    return {
        About(row.device, row.tag, row.harm, row.cause == Cause.MODEL_FAULT): row.id or 0
        for row in session.exec(statement).all()
    }


def abandoned(session: Session, watched: Container[Key]) -> list[Key]:
    """Versions with open findings that nobody watches any more and no device has."""
    running = session.exec(select(Device.active_model, Device.active_version).distinct()).all()
    told = select(Finding.model, Finding.version).where(Finding.closed_at == 0.0).distinct()
    keys = [Key(model, version) for model, version in session.exec(told).all()]
    return [key for key in keys if key not in watched and tuple(key) not in running]


def write_findings(
    session: Session, key: Key, verdicts: Iterable[Verdict], known: dict[About, int]
) -> dict[About, int]:
    """Open what is new and close what is over; returns the numbers of those that are open then."""
    now: dict[About, int] = {}
    for verdict in verdicts:
        what = about(verdict)
        if what in now:
            continue
        row = session.get(Finding, known[what]) if what in known else None
        if row is None:
            row = _new_finding(session, key, verdict)
        elif row.cause != verdict.cause:
            row.cause, row.sentence, row.remedy = verdict.cause, verdict.sentence, verdict.remedy
            row.evidence = _finite(verdict.evidence)
            session.add(row)
        now[what] = row.id or 0
    for number in (number for what, number in known.items() if what not in now):
        _close_finding(session, number)
    return now


def raise_alarm(session: Session, key: Key, verdict: Verdict, health: VersionHealth) -> int:
    """Store an alarm with its event, whatever is under way; returns its number."""
    signal = signal_of(verdict)
    sentence = f"{verdict.sentence} By chance that is seen once in {health.threshold:,.0f} windows."
    alarm = Alarm(
        model=key.model,
        version=key.version,
        raised_at=time.time(),
        signal=signal,
        sentence=sentence,
        evidence=_evidence(verdict, health),
    )
    session.add(alarm)
    record(session, "alarm.raised", sentence, model=key.model, version=key.version)
    session.flush()
    return alarm.id or 0


def signal_of(verdict: Verdict) -> str:
    """What an alarm on a verdict is named by."""
    if verdict.patience_s is None:
        return FAULT_SIGNAL
    return HARM_SIGNAL if verdict.evidence.get("harmed") else ESTIMATE_SIGNAL


def alarm_signals(session: Session, key: Key) -> list[str]:
    """Signals of a version's alarms that are open."""
    return [alarm.signal for alarm in _alarms_of(session, key) if not alarm.closed_at]


def closed_at(session: Session, key: Key) -> float:
    """When a version's newest closed alarm was closed, seconds since the epoch; 0 where there is none."""
    return max((alarm.closed_at for alarm in _alarms_of(session, key)), default=0.0)


def end_alarms(session: Session, key: Key, at: float) -> None:
    """Close a version's open alarms, because the harm is over."""
    for alarm in _alarms_of(session, key):
        if not alarm.closed_at:
            sentence = f"The alarm of {key.model} v{key.version} is closed: the harm is over."
            _close_alarm(session, alarm, at, sentence)


def open_alarms(session: Session) -> list[Alarm]:
    """Alarms that a rebuild may answer, oldest first."""
    statement = select(Alarm).where(Alarm.closed_at == 0.0, Alarm.signal != FAULT_SIGNAL)
    return list(session.exec(statement.order_by(col(Alarm.id))).all())


def stored_references(session: Session, key: Key) -> list[StoredReference]:
    """References of a version's tags that are ready."""
    statement = select(TagReference).where(
        TagReference.model == key.model, TagReference.version == key.version, TagReference.ready_at > 0.0
    )
    return [
        StoredReference(row.tag, row.frames, row.windows, row.since, row.ready_at, row.payload)
        for row in session.exec(statement).all()
    ]


def store_references(session: Session, key: Key, fresh: Iterable[StoredReference]) -> None:
    """Store references of tags; one that is there already stays as it is."""
    for one in fresh:
        if session.get(TagReference, (*key, one.tag)) is None:
            session.add(TagReference(model=key.model, version=key.version, **one._asdict()))


def close_alarms(session: Session, model: str, below_version: int) -> None:
    """Close the open alarms of versions below ``below_version`` that no connected device runs any more."""
    running = select(Device.active_version).where(col(Device.active_model) == model)
    statement = (
        select(Alarm)
        .where(col(Alarm.model) == model)
        .where(col(Alarm.version) < below_version)
        .where(col(Alarm.closed_at) == 0.0)
        .where(col(Alarm.version).not_in(running.where(col(Device.connected))))
    )
    for alarm in session.exec(statement).all():
        sentence = f"The alarm of {model} v{alarm.version} is closed: no connected device runs it any more."
        _close_alarm(session, alarm, time.time(), sentence)


def note_once(session: Session, key: Key, kind: str, sentence: str) -> None:
    """Record an event of a version, unless there is one of its kind already."""
    there = select(Event.id).where(Event.kind == kind, Event.model == key.model, Event.version == key.version)
    if session.exec(there).first() is None:
        record(session, kind, sentence, model=key.model, version=key.version)


def _alarms_of(session: Session, key: Key) -> list[Alarm]:
    statement = select(Alarm).where(Alarm.model == key.model, Alarm.version == key.version)
    return list(session.exec(statement).all())


def _close_alarm(session: Session, alarm: Alarm, at: float, sentence: str) -> None:
    alarm.closed_at = at
    session.add(alarm)
    record(session, "alarm.closed", sentence, model=alarm.model, version=alarm.version)


def _new_finding(session: Session, key: Key, verdict: Verdict) -> Finding:
    row = Finding(
        model=key.model,
        version=key.version,
        device=verdict.device,
        tag=verdict.tag,
        cause=verdict.cause,
        harm=verdict.harm,
        opened_at=time.time(),
        sentence=verdict.sentence,
        remedy=verdict.remedy,
        evidence=_finite(verdict.evidence),
    )
    session.add(row)
    session.flush()
    sentence = f"{verdict.sentence} {verdict.remedy}"
    record(session, "finding.opened", sentence, model=key.model, version=key.version, device=verdict.device)
    return row


def _close_finding(session: Session, number: int) -> None:
    row = session.get(Finding, number)
    if row is None or row.closed_at:
        return
    row.closed_at = time.time()
    session.add(row)
    sentence = f"Over: {row.sentence}"
    record(session, "finding.closed", sentence, model=row.model, version=row.version, device=row.device)


def _evidence(verdict: Verdict, health: VersionHealth) -> dict[str, Any]:
    """The numbers of an alarm: those of the version, and its verdict's."""
    said = msgspec.to_builtins(health)
    if not verdict.evidence.get("harmed") or verdict.tag:
        counts = (verdict.evidence.get("labelled", 0), verdict.evidence.get("wrong", 0))
        said = {**said, "onset_at": verdict.since, "since_onset": counts}
    return _finite(
        {
            **said,
            "cause": verdict.cause,
            "tag": verdict.tag,
            "remedy": verdict.remedy,
            "patience_s": verdict.patience_s,
        }
    )


def _finite(evidence: dict[str, Any]) -> dict[str, Any]:
    """As JSON takes it: infinite numbers become none."""
    told: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(evidence))
    return told
