"""Asking for a rebuild, and moving its row: the only places that write ``Rebuild`` rows.

At most one rebuild of a model is under way. Whoever asks for a second one gets the first one's number; an
alarm that is told twice gets the number it got before.
"""

import time
from typing import Any

from edgewright.controller.database import Session, col, select
from edgewright.controller.database.evidencetables import Rebuild
from edgewright.controller.database.tables import ModelVersion
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


def queue_rebuild(session: Session, model: str, cause: str, alarm: int = 0, from_version: int = 0) -> Rebuild:
    """The rebuild that answers this call: one that is there already, or a new one in state queued.

    Args:
        session: a writing session, so that two calls cannot both find nothing.
        model: its name.
        cause: one sentence.
        alarm: the alarm that asks, 0 for a person.
        from_version: version to start from; 0 for the newest that is ready.

    Raises:
        UnknownModelError: the model has no version that is ready.
    """
    same = select(Rebuild).where(col(Rebuild.alarm) == alarm).where(col(Rebuild.alarm) != 0)
    under_way = select(Rebuild).where(col(Rebuild.model) == model).where(col(Rebuild.state).in_(IN_FLIGHT))
    for statement in (same, under_way):
        found = session.exec(statement).first()
        if found is not None:
            return found
    rebuild = Rebuild(
        model=model,
        from_version=from_version or _newest_ready(session, model),
        cause=cause,
        alarm=alarm,
        state=RebuildState.QUEUED,
        queued_at=time.time(),
    )
    session.add(rebuild)
    session.flush()
    sentence = f"Rebuild {rebuild.id} of {model} v{rebuild.from_version} is queued: {cause}"
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


def _newest_ready(session: Session, model: str) -> int:
    statement = (
        select(ModelVersion.version)
        .where(col(ModelVersion.model) == model)
        .where(col(ModelVersion.state) == "ready")
        .order_by(col(ModelVersion.version).desc())
    )
    newest = session.exec(statement).first()
    if newest is None:
        raise UnknownModelError(f"{model} has no version that is ready.")
    return newest
