"""What devices tell: reports move the device and its rollouts, losses become rows, and both become events.

Reports come in any order: after an outage those of errors first, and the newest first. ``Report.ordinal``
says which of two happened later, so an older one that comes later is an event and moves nothing.
"""

from datetime import UTC, datetime
from typing import Final

from edgewright.controller.database import Session, col, select, update
from edgewright.controller.database.tables import Device, Loss, RolloutDevice
from edgewright.controller.events import record
from edgewright.controller.ingest.bounds import may_tell
from edgewright.controller.ingest.rows import event_of
from edgewright.controller.qualification.results import take
from edgewright.wire import messages
from edgewright.wire.deployment import State

RUNNING_STATES: Final = frozenset({State.PROBATION, State.COMMITTED})

FURTHEST_S: Final = 4e9
"""Seconds since the epoch: the year 2096."""

LATE_S: Final = 60.0
"""A report that is so much older than the connection that brings it says when it happened."""


class Told:
    """Writes what devices tell, in a session's transaction."""

    def __init__(self, session: Session, now: float) -> None:
        self._session, self._now = session, now

    def event(self, device: Device, kind: str, sentence: str, model: str = "", version: int = 0) -> None:
        """Record an event of a device, unless it has had too many today."""
        if may_tell(device, self._now):
            record(self._session, kind, sentence, model=model, version=version, device=device.id)

    def begin_again(self, device: Device) -> None:
        """The device has another outbox, whose ordinals begin again."""
        device.told_state = device.told_error = 0
        self._session.exec(update(RolloutDevice).where(col(RolloutDevice.device) == device.id).values(told=0))

    def report(self, device: Device, report: messages.Report) -> None:
        """A report: an event, and the news of what it is about if nothing newer was told."""
        version = report.release.version if report.release else 0
        model = report.release.model if report.release else ""
        if report.measured is None and (event := event_of(report)) is not None:
            kind, sentence = event
            self.event(device, kind, sentence + _late(device, report), model, version)
        if report.measured is not None:
            take(self._session, device, report.measured)
        if report.stream != device.stream:
            return  # of an outbox that was replaced
        if report.error and _is_newer(report, device.told_error):
            device.told_error = report.ordinal
            device.error, device.error_name, device.detail = report.error, report.name, report.detail
        if report.state is not None:
            if _is_newer(report, device.told_state):
                self._move(device, report, model, version)
            self._rollout_progress(report)

    def loss(self, device: Device, lost: messages.Lost) -> None:
        """What a device has given up; a filler of a number that was acknowledged before tells nothing."""
        if not lost.messages:
            return
        self._session.add(
            Loss(
                device=device.id,
                stream=lost.stream,
                seq=lost.seq,
                at=self._now,
                what=lost.what,
                since=_dated(lost.since),
                until=_dated(lost.until),
                messages=lost.messages,
                frames=lost.frames,
                why=lost.why,
            )
        )
        many = f"{lost.messages} {lost.what}{'s' if lost.messages > 1 else ''}"
        span = f"between {_clock(lost.since)} and {_clock(lost.until)}"
        self.event(device, "device.event", f"{device.id} gave up {many} {span}: {lost.why}")

    def missing(self, device: Device, hello: messages.Hello, count: int) -> None:
        """Numbers that a device holds no more and that never came here."""
        why = "They were acknowledged, and are not here: this controller was restored from a backup."
        self._session.merge(
            Loss(
                device=device.id,
                stream=hello.stream,
                seq=hello.oldest - 1,
                at=self._now,
                what="message",
                since=0.0,
                until=0.0,
                messages=count,
                frames=0,
                why=why,
            )
        )
        self.event(device, "device.event", f"{count} messages of {device.id} are missing. {why}")

    def _move(self, device: Device, report: messages.Report, model: str, version: int) -> None:
        assert report.state is not None, "whoever calls has looked"
        device.told_state, device.state = report.ordinal, report.state
        device.assignment_version = max(device.assignment_version, report.assignment_version)
        if report.state in RUNNING_STATES:
            if device.active_version not in (0, version):
                device.standby_version = device.active_version
            device.active_model, device.active_version = model, version
        if report.state is State.COMMITTED and _is_newer(report, device.told_error):
            device.told_error = report.ordinal
            device.error, device.error_name, device.detail = 0, "", ""

    def _rollout_progress(self, report: messages.Report) -> None:
        rows = self._session.exec(
            select(RolloutDevice)
            .where(col(RolloutDevice.device) == report.device)
            .where(col(RolloutDevice.assignment_version) == report.assignment_version)
            .where(col(RolloutDevice.assignment_version) > 0)
        )
        for row in rows:
            row.fetched_bytes = max(row.fetched_bytes, report.fetched_bytes)
            if _is_newer(report, row.told):
                row.told = report.ordinal
                row.state, row.updated_at = str(report.state), self._now
                row.error, row.name, row.detail = report.error, report.name, report.detail
                row.swap_gap_us = report.swap_gap_us or row.swap_gap_us
            else:
                row.swap_gap_us = row.swap_gap_us or report.swap_gap_us
            self._session.add(row)


def _is_newer(report: messages.Report, told: int) -> bool:
    """Whether a report tells something newer; devices of protocol 2 tell in order."""
    return not report.ordinal or report.ordinal > told


def _late(device: Device, report: messages.Report) -> str:
    """When a report happened, where that was long before the connection; both by the device's clock."""
    if report.sent_at >= device.greeted_at - LATE_S:
        return ""
    return f" It happened at {_clock(report.sent_at)} by the device's clock, and was told later."


def _clock(seconds: float) -> str:
    """Date and time, UTC; what no calendar has is 1970.

    >>> _clock(0.0), _clock(1e300)
    ('1970-01-01 00:00', '1970-01-01 00:00')
    """
    return datetime.fromtimestamp(_dated(seconds), UTC).strftime("%Y-%m-%d %H:%M")


def _dated(seconds: float) -> float:
    """A time that every calendar has; a device may tell any number."""
    return seconds if 0 <= seconds < FURTHEST_S else 0.0
