"""What a person settles after a look: an alarm that needs no answer, a device that is no copy after all."""

import time

from edgewright.controller.database.engine import Database
from edgewright.controller.database.evidencetables import Alarm
from edgewright.controller.database.tables import Device
from edgewright.controller.errors import UnknownAlarmError, UnknownDeviceError
from edgewright.controller.events import record


def alarm_model(db: Database, number: int) -> str:
    """The model that an alarm is about.

    Raises:
        UnknownAlarmError: there is no such alarm.
    """
    with db.reading() as session:
        alarm = session.get(Alarm, number)
    if alarm is None:
        raise UnknownAlarmError(f"There is no alarm {number}.")
    return alarm.model


def close_alarm(db: Database, number: int, reason: str = "") -> None:
    """Close an alarm; its version raises no other.

    Raises:
        UnknownAlarmError: there is no such alarm, or it is closed.
    """
    with db.session() as session:
        alarm = session.get(Alarm, number)
        if alarm is None or alarm.closed_at:
            raise UnknownAlarmError(f"There is no open alarm {number}.")
        alarm.closed_at = time.time()
        session.add(alarm)
        said = f"Alarm {number} of {alarm.model} v{alarm.version} was closed by hand"
        sentence = f"{said}: {reason}." if reason else f"{said}."
        record(session, "alarm.closed", sentence, model=alarm.model, version=alarm.version)


def trust_device(db: Database, device: str, reason: str = "") -> None:
    """Take a suspicion away.

    Raises:
        UnknownDeviceError: there is no such device, or nothing speaks against it.
    """
    with db.session() as session:
        row = session.get(Device, device)
        if row is None or not row.suspicion:
            raise UnknownDeviceError(f"There is no suspicious device {device!r}.")
        said = f"{device} is trusted again although {row.suspicion[:1].lower()}{row.suspicion[1:]}"
        row.suspicion = ""
        session.add(row)
        record(session, "device.trusted", f"{said} {reason}".strip(), device=device)
