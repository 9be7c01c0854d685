"""Whom a rollout that has finished takes in afterwards, as functions on a database session.

There are two kinds. A device that has no assignment joins late. One that the rollout left out may fit again:
somebody has read the reason and upgraded its runtime. It is taken in too, unless it has been given something
else since. Who joins late and does not fit is left out, with an event that names it.

A model's newest rollout decides, once it has finished. Where that went to a part of the fleet only, the one
that made the champion stands behind it: it takes the devices that the newer one's selector does not.
"""

from typing import Final

from edgewright.controller import registry
from edgewright.controller.aliases import CHAMPION
from edgewright.controller.database import Session, col, func, or_, select
from edgewright.controller.database.tables import Assignment, Device, ModelVersion, Rollout
from edgewright.controller.database.versiontables import Alias, LeftOut
from edgewright.controller.events import record
from edgewright.controller.matching import Choice, Targets, choose
from edgewright.controller.rollouts.policy import RolloutState
from edgewright.controller.rollouts.service import matching_devices, proven

LEFT_OUT: Final = "rollout.left_out"
TAKEN_BACK: Final = "rollout.taken_back"


def open_to_joiners(session: Session) -> list[int]:
    """Rollouts that take devices in now; of each model the newest first.

    A stopped rollout says nothing about the one that the fleet finished before it. One under way is waited
    for: else its version would pass by a device that joins meanwhile.
    """
    kept = select(func.max(Rollout.id)).where(col(Rollout.state) != RolloutState.STOPPED)
    newest = session.exec(kept.group_by(col(Rollout.model))).all()
    numbers: list[int] = []
    for number in newest:
        rollout = session.get(Rollout, number)
        if rollout is not None and rollout.state == RolloutState.FINISHED:
            behind = _of_champion(session, rollout.model)
            found = [r for r in (rollout, behind) if r is not None and not _is_withdrawn(session, r)]
            numbers += dict.fromkeys(r.id or 0 for r in found)
    if session.exec(select(Device.id).where(col(Device.id).not_in(select(Assignment.device)))).first():
        return numbers
    with_left_out = set(session.exec(select(LeftOut.rollout).where(col(LeftOut.rollout).in_(numbers))))
    return [number for number in numbers if number in with_left_out]


def candidates(session: Session, rollout: Rollout) -> list[Device]:
    """Devices that the rollout would have taken and that are without what it brings."""
    assigned = select(Assignment.device)
    left_out = select(LeftOut.device).where(col(LeftOut.rollout) == rollout.id)
    condition = or_(col(Device.id).not_in(assigned), col(Device.id).in_(left_out))
    found = matching_devices(session, rollout.model, rollout.version, rollout.selector, condition)
    # What was given to a device since the rollout, it shall not lose.
    has = select(Assignment.device, Assignment.model, Assignment.rollout)
    has = has.where(col(Assignment.device).in_(left_out))
    later = {d for d, model, at in session.exec(has) if model != rollout.model or at > (rollout.id or 0)}
    return [device for device in found if device.id not in later]


def joining(session: Session, rollout: Rollout, devices: list[Device], targets: Targets) -> Choice:
    """Of the candidates those that are taken in, and those that are newly left out."""
    chosen = choose(devices, targets, proven(session, rollout.model, devices))
    known = set(session.exec(select(LeftOut.device).where(col(LeftOut.rollout) == rollout.id)))
    return chosen._replace(left_out={d: why for d, why in chosen.left_out.items() if d not in known})


def tell_left_out(session: Session, rollout: Rollout, left_out: dict[str, str]) -> None:
    """Record who joined late and gets nothing, and why."""
    for device, reason in left_out.items():
        sentence = f"{device} joined and gets no {rollout.model}: {reason}"
        _record(session, LEFT_OUT, sentence, rollout, device)


def tell_taken_back(session: Session, rollout: Rollout, device: str) -> None:
    """Record that a device that was left out is taken in."""
    sentence = f"{device} was left out and fits now: it gets {rollout.model} v{rollout.version}."
    _record(session, TAKEN_BACK, sentence, rollout, device)


def _record(session: Session, kind: str, sentence: str, rollout: Rollout, device: str) -> None:
    record(
        session,
        kind,
        sentence,
        model=rollout.model,
        version=rollout.version,
        device=device,
        rollout=rollout.id or 0,
    )


def _of_champion(session: Session, model: str) -> Rollout | None:
    """The newest rollout that finished with the champion."""
    champion = session.get(Alias, (model, CHAMPION))
    if champion is None:
        return None
    found = select(Rollout).where(col(Rollout.model) == model, col(Rollout.version) == champion.version)
    found = found.where(col(Rollout.state) == RolloutState.FINISHED)
    return session.exec(found.order_by(col(Rollout.id).desc())).first()


def _is_withdrawn(session: Session, rollout: Rollout) -> bool:
    row = session.get(ModelVersion, (rollout.model, rollout.version))
    return row is not None and row.state == registry.WITHDRAWN
