"""Asking for a rebuild, and moving its row: the only places that write ``Rebuild`` rows.

At most one rebuild of a model is under way. Whoever asks for a second one gets the first one's number; an
alarm that is told twice gets the number it got before. Where a person asks while an automatic one waits for
its turn, that one becomes theirs and waits no longer.
"""

import time
from enum import StrEnum
from typing import Any

import msgspec

from edgewright.controller.database import Session, col, func, select
from edgewright.controller.database.evidencetables import Rebuild
from edgewright.controller.database.tables import Device, ModelVersion
from edgewright.controller.errors import UnknownModelError
from edgewright.controller.events import record
from edgewright.controller.rebuild.states import IN_FLIGHT, TRANSITIONS, RebuildState, advance

_EVENT_OF_STATE = {
    RebuildState.COLLECTING: "rebuild.started",
    RebuildState.BUILDING: "rebuild.candidate",
    RebuildState.DONE: "rebuild.finished",
    RebuildState.FAILED: "rebuild.failed",
    RebuildState.REFUSED: "rebuild.failed",
    RebuildState.CANCELLED: "rebuild.failed",
}


class Trigger(StrEnum):
    """What asks for a rebuild; a row's ``trigger``."""

    HARM = "harm"
    SCHEDULE = "schedule"
    DATA = "data"
    PERSON = "person"
    API = "api"
    RECIPE = "recipe"


class Asked(msgspec.Struct, frozen=True):
    """Who asks for a rebuild, and why.

    Attributes:
        trigger: what asks.
        asked_by: who asks; empty where nobody does.
        alarm: the alarm that asks, 0 for none.
        again: the alarm has had a rebuild that led nowhere, and asks for another one.
        from_version: version to start from; 0 for the one that most devices run.
    """

    trigger: Trigger
    asked_by: str = ""
    alarm: int = 0
    again: bool = False
    from_version: int = 0


def queue_rebuild(session: Session, model: str, cause: str, asked: Asked) -> Rebuild:
    """The rebuild that answers this call: one that is there already, or a new one in state queued.

    Args:
        session: a writing session, so that two calls cannot both find nothing.
        model: its name.
        cause: one sentence.
        asked: by what, and by whom.

    Raises:
        UnknownModelError: the model has no version that is ready.
    """
    same = select(Rebuild).where(col(Rebuild.alarm) == asked.alarm).where(col(Rebuild.alarm) != 0)
    under_way = select(Rebuild).where(col(Rebuild.model) == model).where(col(Rebuild.state).in_(IN_FLIGHT))
    for statement in (under_way,) if asked.again else (same, under_way):
        found = session.exec(statement).first()
        if found is not None:
            return _hurried(session, found, asked)
    rebuild = Rebuild(
        model=model,
        from_version=asked.from_version or version_to_start_from(session, model),
        cause=cause,
        alarm=asked.alarm,
        state=RebuildState.QUEUED,
        queued_at=time.time(),
        trigger=asked.trigger,
        asked_by=asked.asked_by,
    )
    session.add(rebuild)
    session.flush()
    by = f" by {asked.asked_by}" if asked.asked_by else ""
    sentence = f"Rebuild {rebuild.id} of {model} v{rebuild.from_version} is queued{by}: {cause}"
    record(session, "rebuild.queued", sentence, model=model, version=rebuild.from_version)
    return rebuild


def move(session: Session, rebuild: Rebuild, to: RebuildState, sentence: str, **changes: Any) -> None:
    """Move a rebuild by the table, with changes of its row, and record the event that the state is worth.

    Raises:
        ValueError: the table does not allow it; nothing is changed.
    """
    before = RebuildState(rebuild.state)
    rebuild.state = advance(before, to)
    rebuild.detail = sentence
    for name, value in changes.items():
        setattr(rebuild, name, value)
    if to is RebuildState.COLLECTING:
        rebuild.started_at = time.time()
    if not TRANSITIONS[to]:
        rebuild.finished_at = time.time()
    session.add(rebuild)
    kind = _EVENT_OF_STATE.get(to)
    if kind is not None and to is not before:
        about = rebuild.new_version or rebuild.from_version
        record(session, kind, f"Rebuild {rebuild.id}: {sentence}", model=rebuild.model, version=about)


def version_to_start_from(session: Session, model: str) -> int:
    """The ready version that most connected devices run, else the newest that is ready.

    A version that a rollout's gate has stopped is newer than what runs, and no base for the next one.

    Raises:
        UnknownModelError: the model has no version that is ready.
    """
    ready = (
        select(ModelVersion.version)
        .where(col(ModelVersion.model) == model)
        .where(col(ModelVersion.state) == "ready")
    )
    running = (
        select(Device.active_version)
        .where(col(Device.active_model) == model, col(Device.connected))
        .where(col(Device.active_version).in_(ready))
        .group_by(col(Device.active_version))
        .order_by(func.count().desc(), col(Device.active_version).desc())
    )
    found = (
        session.exec(running).first()
        or session.exec(ready.order_by(col(ModelVersion.version).desc())).first()
    )
    if found is None:
        raise UnknownModelError(f"{model} has no version that is ready.")
    return found


def _hurried(session: Session, found: Rebuild, asked: Asked) -> Rebuild:
    """A rebuild that waits for its turn becomes a person's who asks for one: it waits no longer."""
    waits = found.state == RebuildState.QUEUED and found.trigger != Trigger.PERSON
    if waits and asked.trigger is Trigger.PERSON:
        found.trigger, found.asked_by = Trigger.PERSON, asked.asked_by
        session.add(found)
    return found
