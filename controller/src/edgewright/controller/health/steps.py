"""Question 7: the next step, looked up in a literal table from the situation that facts are in.

``situation_of`` takes the first row of ``_SITUATIONS`` that holds, so that what is under way comes before
what could be started, and harm before what is only not known. Each situation has one step, with the command
that does it or the page where it is done.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Final, NamedTuple

from edgewright.controller.evidence.verdict import Cause
from edgewright.controller.health.answer import QUESTIONS, Answer, Key
from edgewright.controller.health.facts import Change, Facts
from edgewright.controller.rebuild.states import IN_FLIGHT, RebuildState
from edgewright.controller.web.words import Tone


class Situation(StrEnum):
    """Where a version stands, as far as the next step goes."""

    APPROVAL = "approval"
    ROLLOUT_PAUSED = "rollout-paused"
    ROLLING_OUT = "rolling-out"
    REBUILDING = "rebuilding"
    MODEL_FAULT = "model-fault"
    MODEL_FAULT_FIRST = "model-fault-first"
    OPTICS = "optics"
    ONE_ROBOT = "one-robot"
    HARM = "harm"
    HARM_NO_RECIPE = "harm-no-recipe"
    NOT_RUNNING = "not-running"
    NO_REFERENCE = "no-reference"
    AWAY = "away"
    NO_WINDOWS = "no-windows"
    NO_LABELS = "no-labels"
    BENIGN = "benign"
    FINE = "fine"


class Step(NamedTuple):
    """A step: what to do and why; texts are filled in with the names of the facts."""

    tone: Tone
    sentence: str
    command: str = ""
    href: str = ""
    link: str = ""


STEPS: Final[dict[Situation, Step]] = {
    Situation.APPROVAL: Step(
        "warn",
        "Look at v{new_version} and let it go: rebuild {rebuild} waits for a person's approval.",
        "edgewright rebuild approve {rebuild}",
        "/rebuilds/{rebuild}",
        "Open the rebuild",
    ),
    Situation.ROLLOUT_PAUSED: Step(
        "warn",
        "Look why rollout {rollout} of v{rollout_version} is paused, and resume or abort it.",
        "edgewright rollout resume {rollout}",
        "/rollouts/{rollout}",
        "Open the rollout",
    ),
    Situation.ROLLING_OUT: Step(
        "move",
        "Wait: rollout {rollout} brings v{rollout_version} to the devices; its gates stop what is worse.",
        "edgewright rollout show {rollout}",
        "/rollouts/{rollout}",
        "Open the rollout",
    ),
    Situation.REBUILDING: Step(
        "move",
        "Wait: rebuild {rebuild} is {rebuild_state}, and its gates refuse what is no better.",
        "edgewright rebuild show {rebuild}",
        "/rebuilds/{rebuild}",
        "Open the rebuild",
    ),
    Situation.MODEL_FAULT: Step(
        "bad",
        "Bring v{before} back: v{version} is at fault, not what it sees.",
        "edgewright rollout rollback {rollout}",
        "/rollouts/{rollout}",
        "Open the rollout",
    ),
    Situation.MODEL_FAULT_FIRST: Step(
        "bad",
        "Push a better version: v{version} is at fault, not what it sees, and there is none before it.",
        "edgewright push PATH --rollout",
        "/models/{model}",
        "Open the model",
    ),
    Situation.OPTICS: Step(
        "bad",
        "Clean the lens and check lamp and focus{on_device}; the pictures themselves changed.",
        "",
        "{device_href}",
        "Open {where}",
    ),
    Situation.ONE_ROBOT: Step(
        "bad",
        "Look at {device}: its lens, lamp, camera mount and what labels its items. The others do well.",
        "edgewright device {device}",
        "{device_href}",
        "Open {where}",
    ),
    Situation.HARM: Step(
        "bad",
        "Rebuild it from labelled frames of now.",
        "edgewright rebuild start {model}",
        "/models/{model}#evidence",
        "Ask for a rebuild",
    ),
    Situation.HARM_NO_RECIPE: Step(
        "bad",
        "Train a new version on frames of now and push it: its model.toml has no `[rebuild] recipe`, so "
        "nothing here can make one.",
        "edgewright push PATH --rollout",
        "/models/{model}",
        "Open the model",
    ),
    Situation.NOT_RUNNING: Step(
        "quiet",
        "Roll it out; no device runs v{version}.",
        "edgewright rollout create {model}@{version}",
        "/models/{model}",
        "Open the model",
    ),
    Situation.NO_REFERENCE: Step(
        "quiet",
        "Build it again with this edgewright: v{version} has no reference profile to be held against.",
        "edgewright push PATH",
        "/models/{model}",
        "Open the model",
    ),
    Situation.AWAY: Step(
        "warn",
        "Look why the devices that run it are not connected; nothing is heard of v{version} meanwhile.",
        "edgewright devices",
        "/",
        "Open the fleet",
    ),
    Situation.NO_WINDOWS: Step(
        "warn",
        "Look whether the line runs: no window of v{version} came in the last hour.",
        "edgewright devices",
        "/",
        "Open the fleet",
    ),
    Situation.NO_LABELS: Step(
        "quiet",
        "Let somebody label a few random frames, or have the line tell which items were right; without "
        "labels nobody sees when the truth itself changes.",
        "",
        "/models/{model}/label",
        "Label frames",
    ),
    Situation.BENIGN: Step(
        "good",
        "Nothing has to be done: something changed, and it does no harm.",
    ),
    Situation.FINE: Step("good", "Nothing has to be done."),
}
"""The one step of each situation."""

_CAUSES: Final[dict[str, Situation]] = {
    Cause.OPTICS: Situation.OPTICS,
    Cause.MODEL_FAULT: Situation.MODEL_FAULT,
    Cause.ONE_ROBOT: Situation.ONE_ROBOT,
}
"""Situation of a harmful finding by its cause; the others are answered by a rebuild."""


def _harmful(facts: Facts) -> Change | None:
    """The finding that the next step answers: about all first, then the others."""
    found = [change for change in facts.open_changes if change.harm]
    return min(found, key=lambda change: bool(change.device or change.tag), default=None)


def _is_caused(facts: Facts, situation: Situation) -> bool:
    found = _harmful(facts)
    return found is not None and _CAUSES.get(found.cause) is situation


_SITUATIONS: Final[tuple[tuple[Situation, Callable[[Facts], bool]], ...]] = (
    (Situation.APPROVAL, lambda f: f.action.rebuild_state == RebuildState.WAITING_APPROVAL),
    (Situation.ROLLOUT_PAUSED, lambda f: f.action.rollout_state == "paused"),
    (Situation.ROLLING_OUT, lambda f: f.action.rollout_state == "running"),
    (Situation.REBUILDING, lambda f: f.action.rebuild_state in IN_FLIGHT),
    (Situation.MODEL_FAULT, lambda f: _is_caused(f, Situation.MODEL_FAULT) and bool(f.before)),
    (Situation.MODEL_FAULT_FIRST, lambda f: _is_caused(f, Situation.MODEL_FAULT)),
    (Situation.OPTICS, lambda f: _is_caused(f, Situation.OPTICS)),
    (Situation.ONE_ROBOT, lambda f: _is_caused(f, Situation.ONE_ROBOT)),
    (Situation.HARM, lambda f: f.harmed and f.can_rebuild),
    (Situation.HARM_NO_RECIPE, lambda f: f.harmed),
    (Situation.NOT_RUNNING, lambda f: not f.fleet.on_version),
    (Situation.NO_REFERENCE, lambda f: f.promise is None),
    (Situation.AWAY, lambda f: not f.fleet.connected),
    (Situation.NO_WINDOWS, lambda f: f.frames_an_hour is None),
    (Situation.NO_LABELS, lambda f: not f.labels and not f.audits),
    (Situation.BENIGN, lambda f: bool(f.open_changes)),
    (Situation.FINE, lambda _: True),
)


def situation_of(facts: Facts) -> Situation:
    """The first situation that holds."""
    return next(situation for situation, holds in _SITUATIONS if holds(facts))


def next_step(facts: Facts) -> Answer:
    """Question 7."""
    step = STEPS[situation_of(facts)]
    names = _names(facts)
    return Answer(
        key=Key.NEXT,
        question=QUESTIONS[Key.NEXT],
        sentence=step.sentence.format_map(names),
        tone=step.tone,
        command=step.command.format_map(names),
        href=step.href.format_map(names),
        link=step.link.format_map(names),
    )


def _names(facts: Facts) -> dict[str, object]:
    action, found = facts.action, _harmful(facts)
    device = found.device if found else ""
    return {
        "model": facts.model,
        "version": facts.version,
        "before": facts.before,
        "rebuild": action.rebuild,
        "rebuild_state": action.rebuild_state,
        "new_version": action.new_version,
        "rollout": action.rollout,
        "rollout_version": action.rollout_version,
        "device": device,
        "device_href": f"/devices/{device}" if device else "/",
        "where": device or "the fleet",
        "on_device": f" of {device}" if device else " of all devices",
    }
