"""Which devices fit which targets, from what each device last said of itself.

The verdict itself is the wire's (``wire.matching``), so that a device and its controller cannot disagree.
Here it meets the fleet: a rollout leaves out a device whose facts contradict its target, with the reason; a
list shows which better target a device could have. A target that is not in the table is not judged, and a
device that has told nothing contradicts nothing. One that runs the model today has proven more than any fact
says: it is never left out, and named where its facts contradict.
"""

from collections.abc import Iterable, Mapping, Set
from typing import Literal, NamedTuple

from edgewright.controller.database.tables import Device
from edgewright.wire.matching import Demands, Facts, Match, fits, rank

Targets = Mapping[str, Demands]
"""By name, in the table's order."""

Answer = Literal["yes", "no", "not known"]


class Verdict(NamedTuple):
    """How a device and its target go together.

    Attributes:
        fits: whether nothing contradicts; ``not known`` where the device has not told all.
        reasons: what contradicts, one sentence each.
        better: a target further up in the table that it fits for sure, with why; empty without one.
        could: all targets that it fits for sure, best first.
    """

    fits: Answer
    reasons: tuple[str, ...]
    better: str
    could: tuple[str, ...]


class Choice(NamedTuple):
    """Devices that a rollout takes, and the reason of each that it leaves out.

    ``doubted`` has the reasons of those that it takes because they run the model, whatever they say.
    """

    taken: list[str]
    left_out: dict[str, str]
    doubted: dict[str, str]


def facts_of(device: Device) -> Facts:
    """What a device last said that it is.

    ``Device.runtime`` is no fact to judge by: it is the first of several, or, from an older controller, all
    of them in one text.
    """
    return Facts(
        machine=device.machine,
        cpu=tuple(device.cpu),
        runtimes=tuple(device.runtimes),
        memory_mb=device.memory_mb,
    )


def match_of(device: Device, targets: Targets) -> Match | None:
    """A device against its own target; None where the table has no such target."""
    target = targets.get(device.target)
    return fits(target, facts_of(device)) if target is not None else None


def judge(device: Device, targets: Targets) -> Verdict:
    """How a device and its target go together, and what else it could be."""
    match = match_of(device, targets)
    could = rank(facts_of(device), targets.values())
    answer: Answer = "not known"
    if match is not None and match.reasons:
        answer = "no"
    elif match is not None and match.sure:
        answer = "yes"
    best = could[0] if could else ""
    order = list(targets)
    above = best and (device.target not in targets or order.index(best) < order.index(device.target))
    wrong = answer == "no" and best
    return Verdict(
        answer,
        match.reasons if match else (),
        _better(targets[best], device) if above or wrong else "",
        could,
    )


def choose(devices: Iterable[Device], targets: Targets, proven: Set[str] = frozenset()) -> Choice:
    """Leave out the devices whose facts contradict their target; the order of the others is kept.

    Args:
        devices: that a rollout could take.
        targets: see ``Targets``.
        proven: ids of those that run the model today, as their target has it.
    """
    choice = Choice([], {}, {})
    for device in devices:
        match = match_of(device, targets)
        is_taken = match is None or match.ok or device.id in proven
        if is_taken:
            choice.taken.append(device.id)
        if match is not None and not match.ok:
            reasons = choice.doubted if is_taken else choice.left_out
            reasons[device.id] = f"{device.target} does not fit: {'; '.join(match.reasons)}."
    return choice


def fitting(devices: Iterable[Device], targets: Targets) -> dict[str, int]:
    """Of each target, how many devices fit it for sure."""
    counts = dict.fromkeys(targets, 0)
    for device in devices:
        for name in rank(facts_of(device), targets.values()):
            counts[name] += 1
    return counts


def _better(target: Demands, device: Device) -> str:
    has = f"its processor has {', '.join(target.cpu)}" if target.cpu else "it has what that needs"
    return f"{target.name} would fit {device.id}: {has}."
