"""What devices answer, written down in the transaction that stores their report."""

import time
from collections.abc import Sequence

import msgspec

from edgewright.controller.compiler.protocol import DeviceAnswer
from edgewright.controller.database import Session, col, delete, select
from edgewright.controller.database.tables import Device
from edgewright.controller.database.versiontables import Qualification, WillingDevice
from edgewright.controller.events import record
from edgewright.controller.qualification.states import (
    TRANSITIONS,
    QualificationEvent,
    QualificationState,
    advance,
)
from edgewright.wire.qualification import Measured

SENTENCE_LETTERS = 500


def take(session: Session, device: Device, measured: Measured) -> None:
    """Write a device's answer to the candidate that it was asked for; anything else is nobody's."""
    mine = (
        select(Qualification)
        .where(col(Qualification.device) == device.id, col(Qualification.number) == measured.order)
        .where(col(Qualification.manifest_sha256) == measured.manifest_sha256)
    )
    row = session.exec(mine).first()
    event = _event(measured)
    if row is None or not measured.order or (QualificationState(row.state), event) not in TRANSITIONS:
        return
    row.state = advance(QualificationState(row.state), event)
    row.finished_at, row.error = time.time(), measured.error
    row.detail = measured.detail[:SENTENCE_LETTERS]
    row.result = {**msgspec.to_builtins(measured), "detail": row.detail}
    session.add(row)
    said = (
        f"{device.id}: {row.model} v{row.version} as {row.candidate} for {row.target} {_words(row, measured)}"
    )
    record(
        session, f"qualification.{row.state}", said, model=row.model, version=row.version, device=device.id
    )


def answers_to(session: Session, orders: Sequence[int]) -> list[DeviceAnswer]:
    """What devices have measured of these orders' candidates, good or not."""
    answered = select(Qualification).where(
        col(Qualification.order_id).in_(orders),
        col(Qualification.state).in_((QualificationState.MEASURED, QualificationState.FAILED)),
    )
    return [
        DeviceAnswer(
            candidate=row.candidate,
            manifest_sha256=row.manifest_sha256,
            device=row.device,
            order=row.number,
            ok=row.state == QualificationState.MEASURED,
            error=row.error,
            latency_p50_us=int(row.result.get("latency_p50_us", 0)),
            latency_p99_us=int(row.result.get("latency_p99_us", 0)),
            memory_mb=float(row.result.get("memory_mb", 0.0)),
            runtime=str(row.result.get("runtime", "")),
        )
        for row in session.exec(answered).all()
    ]


def note_willing(session: Session, device: str, *, willing: bool) -> None:
    """Remember whether a device takes candidates, as its newest hello says."""
    known = session.get(WillingDevice, device)
    if willing and known is None:
        session.add(WillingDevice(device=device))
    elif not willing and known is not None:
        session.exec(delete(WillingDevice).where(col(WillingDevice.device) == device))


def _event(measured: Measured) -> QualificationEvent:
    if measured.unmeasured:
        return QualificationEvent.UNABLE
    return QualificationEvent.PASSED if measured.ok else QualificationEvent.BROKE


def _words(row: Qualification, measured: Measured) -> str:
    if measured.unmeasured:
        return f"could not be measured on the device. {row.detail}"
    if not measured.ok:
        return f"failed on the device. {row.detail}"
    return (
        f"does on the device: p50 {measured.latency_p50_us} us, p99 {measured.latency_p99_us} us, "
        f"{measured.memory_mb:.0f} MiB, on {measured.runtime}."
    )
