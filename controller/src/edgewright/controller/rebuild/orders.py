"""Asking for a rebuild, approving and cancelling it, and moving its row: what writes ``Rebuild`` rows.

At most one rebuild of a model is under way. Whoever asks for a second one gets the first one's number; an
alarm that is told twice gets the number it got before. Where a person asks while an automatic one waits for
its turn, that one becomes theirs and waits no longer. Harm takes over what waits for another reason than
harm or a person in the same way, and what is under way from the version that it is about answers its alarm:
should that lead nowhere, the alarm asks again (``asking``).
"""

import time
from collections.abc import Callable
from typing import Any

from edgewright.controller import registry
from edgewright.controller.database import MOST_NUMBER, Session, col, func, select
from edgewright.controller.database.evidencetables import Rebuild
from edgewright.controller.database.tables import Device, ModelVersion
from edgewright.controller.errors import RebuildStateError, UnknownModelError
from edgewright.controller.events import record
from edgewright.controller.rebuild.policy import DAY_S, Past
from edgewright.controller.rebuild.states import IN_FLIGHT, TRANSITIONS, RebuildState, advance
from edgewright.controller.rebuild.trigger import Asked, Trigger

URGENCY = {Trigger.HARM: 1, Trigger.PERSON: 2}
"""Who takes over a rebuild that waits for its turn: a person from all, harm from what is not urgent."""

_EVENT_OF_STATE = {
    RebuildState.COLLECTING: "rebuild.started",
    RebuildState.BUILDING: "rebuild.candidate",
    RebuildState.WAITING_APPROVAL: "rebuild.waiting",
    RebuildState.DONE: "rebuild.finished",
    RebuildState.FAILED: "rebuild.failed",
    RebuildState.REFUSED: "rebuild.failed",
    RebuildState.CANCELLED: "rebuild.failed",
}


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
            return _taken_over(session, found, asked)
    rebuild = Rebuild(
        gates={"running": _most_run(session, model)},
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


def find_rebuild(session: Session, number: int) -> Rebuild:
    """One rebuild.

    Raises:
        RebuildStateError: there is none of this number.
    """
    row = session.get(Rebuild, number) if 0 < number <= MOST_NUMBER else None
    if row is None:
        raise RebuildStateError(f"There is no rebuild {number}.")
    return row


def past_of(session: Session, model: str, trigger: str, now: float) -> Past:
    """What there was of a model's rebuilds before now that counts for one of a trigger.

    Harm has a day's budget of its own: what clocks and programs ask for cannot spend it.
    """
    last = session.exec(select(func.max(Rebuild.finished_at)).where(col(Rebuild.model) == model)).one()
    counted = col(Rebuild.trigger) == Trigger.HARM
    if trigger != Trigger.HARM:
        counted = col(Rebuild.trigger) != Trigger.PERSON
    today = select(Rebuild.started_at).where(col(Rebuild.model) == model, counted)
    begun = session.exec(today.where(col(Rebuild.started_at) > now - DAY_S)).all()
    return Past(last or 0.0, tuple(begun))


def approve(session: Session, number: int, by: str) -> Rebuild:
    """Let a rebuild that waits for a person go to the line.

    Args:
        session: a writing session.
        number: of the rebuild.
        by: who approves.

    Raises:
        RebuildStateError: there is none, it does not wait, or the line runs a newer version by now.
    """
    row = find_rebuild(session, number)
    if row.state != RebuildState.WAITING_APPROVAL:
        raise RebuildStateError(f"Rebuild {number} is {row.state}; it does not wait for approval.")
    verify_base(session, row)
    changes = {"approved_by": by, "approved_at": time.time()}
    move(session, row, RebuildState.SIGNING, f"v{row.new_version} was approved by {by}.", **changes)
    record(
        session,
        "rebuild.approved",
        f"Rebuild {number}: {row.detail}",
        model=row.model,
        version=row.new_version,
    )
    return row


def cancel(session: Session, number: int, why: str) -> Rebuild:
    """End a rebuild that has not gone to the line; its version is taken out of circulation.

    Args:
        session: a writing session.
        number: of the rebuild.
        why: in a sentence.

    Raises:
        RebuildStateError: there is none, it is rolling out, or it has ended.
    """
    row = find_rebuild(session, number)
    if RebuildState.CANCELLED not in TRANSITIONS[RebuildState(row.state)]:
        raise RebuildStateError(f"Rebuild {number} is {row.state}; only its rollout can be ended now.")
    return _end_for_good(session, row, RebuildState.CANCELLED, why)


def expired(session: Session, hours_of: Callable[[Rebuild], float], now: float) -> list[int]:
    """Give up rebuilds that have waited for approval longer than their model says; returns their numbers.

    They fail: cancelled is what a person has decided, and an alarm asks again only where nobody has.

    Args:
        session: a writing session.
        hours_of: how long a rebuild may wait, hours.
        now: seconds since the epoch.
    """
    waiting = select(Rebuild).where(col(Rebuild.state) == RebuildState.WAITING_APPROVAL)
    ended = []
    for row in session.exec(waiting).all():
        hours = hours_of(row)
        if now >= row.gates.get("waits_since", 0.0) + hours * 3600.0:
            why = f"nobody approved v{row.new_version} within {hours:g} hours."
            _end_for_good(session, row, RebuildState.FAILED, why)
            ended.append(row.id or 0)
    return ended


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


def verify_base(session: Session, row: Rebuild) -> None:
    """Refuse to go on with a rebuild when people have brought a newer version to the line meanwhile.

    What it makes was held against an older one, and would be rolled out over theirs.

    Raises:
        RebuildStateError: most connected devices run a newer version than when it was asked for.
    """
    running = _most_run(session, row.model)
    if running > max(row.from_version, row.gates.get("running", 0)) and running != row.new_version:
        raise RebuildStateError(
            f"v{running} runs meanwhile; rebuild {row.id} began with v{row.from_version}."
        )


def version_to_start_from(session: Session, model: str) -> int:
    """The ready version that most connected devices run, else the newest that is ready.

    A version that a rollout's gate has stopped is newer than what runs, and no base for the next one.

    Raises:
        UnknownModelError: the model has no version that is ready.
    """
    newest = _ready(model).order_by(col(ModelVersion.version).desc())
    found = _most_run(session, model) or session.exec(newest).first()
    if found is None:
        raise UnknownModelError(f"{model} has no version that is ready.")
    return found


def _ready(model: str) -> Any:
    """Numbers of a model's versions that are ready, as a statement."""
    of_model = select(ModelVersion.version).where(col(ModelVersion.model) == model)
    return of_model.where(col(ModelVersion.state) == registry.READY)


def _most_run(session: Session, model: str) -> int:
    """The ready version that most connected devices run; 0 for none."""
    running = (
        select(Device.active_version)
        .where(col(Device.active_model) == model, col(Device.connected))
        .where(col(Device.active_version).in_(_ready(model)))
        .group_by(col(Device.active_version))
        .order_by(func.count().desc(), col(Device.active_version).desc())
    )
    return session.exec(running).first() or 0


def _end_for_good(session: Session, row: Rebuild, to: RebuildState, why: str) -> Rebuild:
    move(session, row, to, why)
    if row.new_version:
        registry.withdraw(session, row.model, row.new_version, why)
    return row


def _taken_over(session: Session, found: Rebuild, asked: Asked) -> Rebuild:
    """A rebuild that is under way answers who asks for another one; see the module's text."""
    if asked.alarm and not found.alarm and found.from_version == asked.from_version:
        found.alarm = asked.alarm
    is_more_urgent = URGENCY.get(asked.trigger, 0) > URGENCY.get(Trigger(found.trigger or Trigger.API), 0)
    if found.state == RebuildState.QUEUED and is_more_urgent:
        found.trigger, found.asked_by = asked.trigger, asked.asked_by
    session.add(found)
    return found
