"""Questions 3, 4 and 5: what changed and where, which devices differ, what was done.

A change is told by the monitor's findings first, because they come with evidence and a time; what the newest
windows look like beside testing stands below them and proves nothing. A device differs where the monitor says
so, or where its error rate lies above the others' with a confidence that allows for having looked at all of
them (Bonferroni: the interval of each of ``n`` devices has an ``alpha`` of 5 % over ``n``).
"""

from collections.abc import Sequence
from typing import Any, Final

from edgewright.controller.evidence.confidence_sequence import Interval
from edgewright.controller.health.answer import QUESTIONS, Answer, Detail, Dot, Key
from edgewright.controller.health.facts import Change, Facts, Robot, Signal
from edgewright.controller.health.performance import OUTPUTS, amount, is_beyond
from edgewright.controller.web.words import age, clock, day, duration, percent, plural

ALPHA: Final = 0.05
MOST_CHECKED: Final = 64
"""Devices whose interval is computed: those with the highest error rates; an interval takes 0.2 ms."""
MOST_DOTS: Final = 120
"""More dots of one kind than this nobody reads; of devices that do not stand out, every second or third."""
MOST_DETAILS: Final = 12
NAMED: Final = 3
DAY_S: Final = 86400.0

INPUTS: Final = ("brightness", "contrast", "sharpness", "saturation")


def changes(facts: Facts) -> Answer:
    """Question 3."""
    found = facts.open_changes
    noticed = [signal for signal in facts.signals if is_beyond(signal)]
    if found:
        return _found(facts, found)
    if facts.weighed is not None and facts.weighed.changed:
        return _answer(
            Key.CHANGES,
            facts.weighed.change_sentence,
            tone="warn",
            certainty=f"By chance once in {facts.weighed.threshold:,.0f} windows.",
            details=_looks(facts),
        )
    if not facts.frames:
        return _unknown(
            Key.CHANGES, f"Not known, because no window of v{facts.version} came in the last day."
        )
    if not any(sum(signal.then) for signal in facts.signals):
        return _unknown(
            Key.CHANGES,
            f"Not known, because there is nothing of testing to compare v{facts.version} with; a new build "
            "of it makes a reference profile.",
        )
    if noticed:
        names = ", ".join(OUTPUTS.get(signal.name, signal.name) for signal in noticed)
        said = f"Nothing that evidence shows, but the newest windows look otherwise than testing: {names}."
    else:
        said = (
            f"Nothing: pictures and decisions of the newest {plural(facts.frames, 'frame')} look as they "
            "did in testing."
        )
    return _answer(
        Key.CHANGES,
        said,
        tone="quiet" if noticed else "good",
        certainty=f"The monitor has no finding; counted in {facts.counted}.",
        details=_looks(facts),
    )


def _found(facts: Facts, found: Sequence[Change]) -> Answer:
    first = found[0]
    more = f" And {plural(len(found) - 1, 'more finding')} below." if len(found) > 1 else ""
    where = _where(first)
    return _answer(
        Key.CHANGES,
        f"{first.sentence} It is {where}, since {_since(first.since, facts.now)}.{more}",
        tone="bad" if first.harm else "warn",
        certainty=f"A finding of the monitor: {first.cause}.",
        numbers={"findings": float(len(found)), "harmful": float(sum(c.harm for c in found))},
        since=first.since,
        details=(*(_of_change(change) for change in found[1:MOST_DETAILS]), *_looks(facts)),
    )


def _where(change: Change) -> str:
    if change.device:
        return f"on {change.device} only"
    return f"with {change.tag} only" if change.tag else "on all devices"


def _since(at: float, now: float) -> str:
    """A moment as people say it, and how long ago.

    >>> _since(0.0, 5.0)
    'a time that is not known'
    """
    if not at:
        return "a time that is not known"
    when = clock(at) if now - at < DAY_S else day(at)
    return f"{when} ({age(at, now)})"


def _of_change(change: Change) -> Detail:
    href = f"/devices/{change.device}" if change.device else ""
    return Detail(f"{change.sentence} {change.remedy}", "bad" if change.harm else "warn", change.since, href)


def _looks(facts: Facts) -> tuple[Detail, ...]:
    """What the newest windows look like beside testing, and which class comes more often."""
    compared = [signal for signal in facts.signals if signal.side == "input" and signal.moved is not None]
    lines = [_of_signal(signal) for signal in compared]
    grown = max(facts.classes, key=lambda part: part.now - (part.then or 0.0), default=None)
    if grown is not None and grown.then is not None and grown.now - grown.then > 0.0:
        said = f"{grown.label} is {percent(grown.now)} of the decisions, {percent(grown.then)} in testing"
        lines.append(Detail(f"Of the classes {said}, which is the largest rise."))
    return tuple(lines)


def _of_signal(signal: Signal) -> Detail:
    now, then = signal.typical
    return Detail(
        f"{signal.name.capitalize()}: {amount(signal, now)} now, {amount(signal, then)} in testing; "
        f"{percent(signal.moved)} of the frames lie elsewhere.",
        "warn" if is_beyond(signal) else "quiet",
    )


def devices(facts: Facts) -> tuple[Answer, tuple[Dot, ...]]:
    """Question 4, and its picture."""
    dots = _dots(facts)
    if not facts.fleet.on_version:
        return _unknown(
            Key.DEVICES, f"Not known, because no device runs v{facts.version}; a rollout brings it to some."
        ), dots
    if facts.fleet.on_version == 1 and len(facts.robots) <= 1:
        who = facts.robots[0].id if facts.robots else "one device"
        return _answer(
            Key.DEVICES, f"None can differ: only {who} runs v{facts.version}, and it has no siblings."
        ), dots
    if not facts.robots:
        span = duration(facts.span_s)
        return _unknown(
            Key.DEVICES,
            f"Not known, because none of {plural(facts.fleet.on_version, 'device')} sent a window in the "
            f"last {span}.",
        ), dots
    return _of_devices(facts, dots), dots


def _of_devices(facts: Facts, dots: Sequence[Dot]) -> Answer:
    apart = [dot for dot in dots if dot.differs]
    told = {change.device: change for change in facts.open_changes if change.device}
    labelled = sum(robot.labels.labelled for robot in facts.robots)
    away = facts.fleet.on_version - facts.fleet.connected
    said = _apart(facts, apart, told) if apart else _alike(facts, labelled)
    if away:
        said += f" {plural(away, 'device')} of {facts.fleet.on_version} cannot be asked: not connected."
    details = [_of_dot(dot, told.get(dot.device)) for dot in apart[:MOST_DETAILS]]
    harmful = any(told[dot.device].harm for dot in apart if dot.device in told)
    return _answer(
        Key.DEVICES,
        said,
        tone="bad" if harmful else "warn" if apart or away else "good",
        certainty=_how_compared(facts, labelled),
        numbers={
            "devices": float(facts.fleet.on_version),
            "compared": float(len(facts.robots)),
            "differing": float(len(apart)),
        },
        since=min((told[dot.device].since for dot in apart if dot.device in told), default=0.0),
        details=tuple(details),
    )


def _how_compared(facts: Facts, labelled: int) -> str:
    if not labelled:
        return "Without labels only the monitor's findings tell devices apart."
    return (
        f"Each device against the others over the last {duration(facts.span_s)}, from "
        f"{plural(labelled, 'label')}; wrong once in twenty such looks, for all devices together."
    )


def _apart(facts: Facts, apart: Sequence[Dot], told: dict[str, Change]) -> str:
    names = ", ".join(dot.device for dot in apart[:NAMED]) + (" and others" if len(apart) > NAMED else "")
    verb = "differs" if len(apart) == 1 else "differ"
    first = apart[0]
    others = [r for r in facts.robots if r.id != first.device]
    weight, wrong = _sums(others)
    if first.rate is not None and weight:
        return (
            f"{names} {verb}: {percent(first.rate)} of {first.device}'s labelled decisions were wrong, "
            f"{percent(wrong / weight)} of the others'."
        )
    change = told.get(first.device)
    return f"{names} {verb}. {change.sentence if change else ''}".strip()


def _alike(facts: Facts, labelled: int) -> str:
    if labelled:
        rates = [rate for r in facts.robots if (rate := r.labels.rate) is not None]
        spread = f"their error rates lie from {percent(min(rates))} to {percent(max(rates))}"
    else:
        means = [r.confidence for r in facts.robots if r.confidence is not None]
        spread = "nothing of theirs is labelled"
        if means:
            spread += f", and their mean confidence lies from {percent(min(means))} to {percent(max(means))}"
    return f"None of {plural(len(facts.robots), 'device')} stands out: {spread}."


def _of_dot(dot: Dot, change: Change | None) -> Detail:
    href = f"/devices/{dot.device}"
    if change is not None:
        return Detail(
            f"{change.sentence} {change.remedy}", "bad" if change.harm else "warn", change.since, href
        )
    said = f"{dot.device}: {percent(dot.rate)} of {plural(dot.labelled, 'label')} wrong, at least"
    return Detail(f"{said} {percent(dot.low)}.", "warn", 0.0, href)


def _dots(facts: Facts) -> tuple[Dot, ...]:
    """The devices of the picture: those that differ, then a fair choice of the others by error rate."""
    robots = sorted(facts.robots, key=_rank)
    weight, wrong = _sums(robots)
    named = {change.device for change in facts.open_changes if change.device}
    dots = []
    for i, robot in enumerate(robots):
        interval = _interval(robot, len(robots)) if i < MOST_CHECKED else None
        its_weight, its_wrong = robot.labels.sums
        rest = (wrong - its_wrong) / (weight - its_weight) if weight > its_weight else None
        above = interval is not None and rest is not None and interval.low > rest + facts.drift.harm_tolerance
        dots.append(_dot(robot, interval, above or robot.id in named))
    apart, others = [dot for dot in dots if dot.differs], [dot for dot in dots if not dot.differs]
    every = max(-(-len(others) // MOST_DOTS), 1)
    return (*apart[:MOST_DOTS], *others[::every])


def _sums(robots: Sequence[Robot]) -> tuple[float, float]:
    """Weight of all labels of some devices, and of the wrong ones."""
    sums = [robot.labels.sums for robot in robots]
    return sum(weight for weight, _ in sums), sum(wrong for _, wrong in sums)


def _rank(robot: Robot) -> tuple[float, str]:
    rate = robot.labels.rate
    return (1.0 if rate is None else -rate, robot.id)


def _interval(robot: Robot, robots: int) -> Interval | None:
    return robot.labels.interval(ALPHA / robots) if robot.labels.labelled else None


def _dot(robot: Robot, interval: Interval | None, differs: bool) -> Dot:
    rate = robot.labels.rate
    low, high = (interval.low, interval.high) if interval else (rate or 0.0, rate or 0.0)
    return Dot(robot.id, rate, low, high, robot.labels.labelled, robot.confidence, differs)


def done(facts: Facts) -> Answer:
    """Question 5."""
    details = tuple(Detail(d.sentence, d.tone, d.at, d.href) for d in facts.deeds[:MOST_DETAILS])
    return _answer(
        Key.DONE,
        _story(facts),
        since=facts.action.raised_at,
        details=details,
        tone="move" if facts.action.rebuild_state and not facts.action.new_version else "quiet",
    )


def _story(facts: Facts) -> str:
    action = facts.action
    if not action.alarm and not action.rebuild:
        if action.rollout:
            return f"No alarm was raised and nothing was rebuilt. {_rollout(facts)}"
        return "Nothing: no alarm was raised, nothing was rebuilt, and it was never rolled out."
    said = []
    if action.alarm:
        ended = (
            f" and closed {duration(action.closed_at - action.raised_at)} later" if action.closed_at else ""
        )
        when = _since(action.raised_at, facts.now)
        said.append(f"Alarm {action.alarm} about v{action.alarm_version} was raised {when}{ended}.")
    if action.rebuild:
        made = f" and made v{action.new_version}" if action.new_version else ""
        said.append(f"Rebuild {action.rebuild} is {action.rebuild_state}{made}.")
    else:
        said.append("No rebuild was started.")
    if action.rollout:
        said.append(_rollout(facts))
    return " ".join(said)


def _rollout(facts: Facts) -> str:
    action = facts.action
    said = f"Rollout {action.rollout} of v{action.rollout_version} is {action.rollout_state}"
    if not action.rollout_total:
        return f"{said}."
    return f"{said}: {action.rollout_done} of {plural(action.rollout_total, 'device')} took it."


def _answer(key: Key, sentence: str, **more: Any) -> Answer:
    return Answer(key=key, question=QUESTIONS[key], sentence=sentence, **more)


def _unknown(key: Key, sentence: str) -> Answer:
    return Answer(key=key, question=QUESTIONS[key], sentence=sentence, known=False)
