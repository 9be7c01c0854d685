"""From facts to the seven answers: ``answer(facts) -> Health``, a pure function."""

from typing import Literal

from edgewright.controller.health.answer import Answer, Health, Key
from edgewright.controller.health.facts import Facts
from edgewright.controller.health.performance import bounds, cost, performance, witnesses
from edgewright.controller.health.situation import changes, devices, done
from edgewright.controller.health.steps import next_step
from edgewright.controller.web.words import Tone

Status = Literal["healthy", "harm", "unknown"]

_TONES: dict[Status, Tone] = {"healthy": "good", "harm": "bad", "unknown": "quiet"}


def answer(facts: Facts) -> Health:
    """The seven answers, in their order, and the whole in one sentence."""
    of_devices, dots = devices(facts)
    answers = (
        performance(facts),
        bounds(facts),
        changes(facts),
        of_devices,
        done(facts),
        cost(facts),
        next_step(facts),
    )
    status = _status(facts, answers)
    return Health(
        model=facts.model,
        version=facts.version,
        at=facts.now,
        status=status,
        sentence=_sentence(facts, status, _performance(answers)),
        tone=_TONES[status],
        answers=answers,
        witnesses=witnesses(facts),
        signals=facts.signals,
        classes=facts.classes,
        dots=dots,
        windows=facts.windows,
        promised=facts.promise.error_rate if facts.promise else None,
        harm_rate=facts.promise.harm_rate if facts.promise else None,
    )


def _status(facts: Facts, answers: tuple[Answer, ...]) -> Status:
    if facts.harmed:
        return "harm"
    return "healthy" if _performance(answers).tone == "good" else "unknown"


def _performance(answers: tuple[Answer, ...]) -> Answer:
    return next(answer for answer in answers if answer.key is Key.PERFORMANCE)


def _sentence(facts: Facts, status: Status, first: Answer) -> str:
    name = f"{facts.model} v{facts.version}"
    if status == "unknown":
        return _undecided(name, first)
    if status == "healthy":
        return f"{name} does well, as far as evidence shows."
    if facts.is_at_fault:
        return f"{name} does harm."
    places = [c.device or f"{c.tag} goods" for c in facts.open_changes if c.harm]
    others = " and others" if len(places) > 1 else ""
    where = f"on {places[0]}" if facts.open_changes[0].device else f"with {places[0]}"
    return f"{name} does harm {where}{others}, and well elsewhere."


def _undecided(name: str, first: Answer) -> str:
    if not first.known:
        return f"Whether {name} does well is not known."
    if first.tone == "bad":
        return f"The labels of now speak against {name}; the monitor has raised no alarm yet."
    return f"No harm of {name} is shown; that it does well is not shown either."
