"""What is going on, in one sentence and a handful of steps: from an alarm to the fix.

The steps are always the same six, so that a person learns to read them; each is done, under way, failed or
still to come, and says how long after the one before it it happened.
"""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from edgewright.controller.database.evidencetables import Alarm, Rebuild
from edgewright.controller.database.tables import Rollout
from edgewright.controller.web.activity import Recent
from edgewright.controller.web.charts import Reference
from edgewright.controller.web.fleet import FleetCounts
from edgewright.controller.web.words import Tone, percent, plural

AFTERGLOW_S: Final = 900
"""How long a story that has ended stays on the page."""


class Step(msgspec.Struct, frozen=True):
    """One step; ``at`` is 0 while it has not begun, ``took`` are the seconds since the step before."""

    label: str
    state: Literal["done", "now", "todo", "failed"]
    at: float
    took: float | None
    note: str = ""


class Headline(msgspec.Struct, frozen=True):
    """The first sentence of the page and what stands below it.

    Attributes:
        detail: figures of the last minute.
        evidence: the numbers behind an alarm.
        command: what to do next where something is missing.
    """

    tone: Tone
    sentence: str
    detail: str
    evidence: str = ""
    command: str = ""


def steps_of(alarm: Alarm | None, rebuild: Rebuild | None, rollout: Rollout | None) -> tuple[Step, ...]:
    """The six steps after an alarm; nothing without one."""
    if alarm is None:
        return ()
    gave_up = rebuild is not None and bool(rebuild.finished_at) and not rebuild.new_version
    stopped = rollout is not None and rollout.state == "stopped"
    fixed = alarm.closed_at or (rollout.finished_at if rollout and rollout.state == "finished" else 0.0)
    candidate = f"v{rebuild.new_version}" if rebuild and rebuild.new_version else ""
    plan: list[tuple[str, float, bool, str]] = [
        ("Alarm", alarm.raised_at, False, f"v{alarm.version}"),
        ("Rebuild queued", rebuild.queued_at if rebuild else 0.0, False, ""),
        ("Building", rebuild.started_at if rebuild else 0.0, gave_up, rebuild.rung if rebuild else ""),
        ("Rollout", rollout.created_at if rollout else 0.0, stopped, candidate),
        ("Fixed", fixed, False, ""),
    ]
    return _timed(plan)


def _timed(plan: Sequence[tuple[str, float, bool, str]]) -> tuple[Step, ...]:
    steps: list[Step] = []
    before = 0.0
    reached = max(i for i, (_, at, _, _) in enumerate(plan) if at)
    for i, (label, at, failed, note) in enumerate(plan):
        last = i == len(plan) - 1
        if failed:
            state: Literal["done", "now", "todo", "failed"] = "failed"
        elif not at:
            state = "todo"
        else:
            state = "now" if i == reached and not last else "done"
        steps.append(Step(label, state, at, at - before if at and before else None, note))
        before = at or before
    return tuple(steps)


def is_current(alarm: Alarm | None, now: float) -> bool:
    """Whether an alarm's story belongs on the page."""
    return alarm is not None and (not alarm.closed_at or now - alarm.closed_at < AFTERGLOW_S)


def headline(
    counts: FleetCounts,
    model: str,
    alarm: Alarm | None,
    rollout: Rollout | None,
    progress: tuple[int, int],
    figures: Recent,
    reference: Reference | None,
) -> Headline:
    """The sentence that matters most now; ``progress``: how many of the rollout's devices run it, of all."""
    detail = _detail(figures, reference)
    if not counts.total:
        return Headline("quiet", "No robot is enrolled yet.", "", command="edgewright token")
    if not model:
        waits = (
            f"{plural(counts.total, 'robot')} {'waits' if counts.total == 1 else 'wait'} for a first model."
        )
        return Headline("quiet", waits, "", command="edgewright push models/garment-packing --rollout")
    open_alarm = alarm if alarm is not None and not alarm.closed_at else None
    evidence = open_alarm.sentence if open_alarm else ""
    if rollout is not None and rollout.state in ("running", "paused"):
        through, total = progress
        fixes = open_alarm is not None and rollout.version > open_alarm.version
        what = (
            f"the fix, {rollout.model} v{rollout.version}" if fixes else f"{rollout.model} v{rollout.version}"
        )
        verb = "Rolling out" if rollout.state == "running" else "Paused: rolling out"
        sentence = f"{verb} {what}: {through} of {plural(total, 'robot')} run it."
        return Headline("move" if rollout.state == "running" else "warn", sentence, detail, evidence)
    if open_alarm is not None:
        sentence = f"{open_alarm.model} v{open_alarm.version} packs more items wrong than it promised."
        return Headline("bad", sentence, detail, evidence)
    return _calm(counts, model, detail)


def _calm(counts: FleetCounts, model: str, detail: str) -> Headline:
    if counts.connected < counts.total:
        names = ", ".join(counts.away[:3]) + (" and others" if len(counts.away) > 3 else "")
        sentence = f"{counts.connected} of {plural(counts.total, 'robot')} are connected."
        return Headline("warn", sentence, f"Not connected: {names}. {detail}".strip())
    running = sorted(counts.versions)
    if not running:
        return Headline("quiet", f"{plural(counts.total, 'robot')} connected, none runs {model} yet.", detail)
    if len(running) == 1 and counts.versions[running[0]] == counts.total:
        who = f"All {counts.total} robots run" if counts.total > 1 else f"{counts.first} runs"
        return Headline("good", f"{who} {model} v{running[0]}.", detail)
    names = ", ".join(f"v{version}" for version in running)
    return Headline("good", f"The robots run {model} {names}.", detail)


def _detail(figures: Recent, reference: Reference | None) -> str:
    if figures.mispack is None:
        return ""
    items = plural(figures.labelled, "scanned item")
    said = f"{percent(figures.mispack)} of {items} mispacked in the last minute"
    return f"{said}, {percent(reference.mispack)} expected." if reference else f"{said}."
