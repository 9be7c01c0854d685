"""Which devices fit which targets, from what each device last said of itself.

The verdict itself is the wire's (``wire.matching``), so that a device and its controller cannot disagree.
Here it meets the fleet: a rollout leaves out a device whose facts contradict its target, with the reason; a
list shows which better target a device could have. A target that is not in the table is not judged, and a
device that has told nothing contradicts nothing.
"""

from collections.abc import Iterable, Mapping
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
    """Devices that a rollout takes, and the reason of each that it leaves out."""

    taken: list[str]
    left_out: dict[str, str]


def facts_of(device: Device) -> Facts:
    """What a device last said that it is."""
    return Facts(
        machine=device.machine,
        cpu=tuple(device.cpu),
        runtimes=tuple(device.runtimes) or ((device.runtime,) if device.runtime else ()),
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


def choose(devices: Iterable[Device], targets: Targets) -> Choice:
    """Leave out the devices whose facts contradict their target; the order of the others is kept."""
    taken: list[str] = []
    left_out: dict[str, str] = {}
    for device in devices:
        match = match_of(device, targets)
        if match is None or match.ok:
            taken.append(device.id)
        else:
            left_out[device.id] = f"{device.target} does not fit: {'; '.join(match.reasons)}."
    return Choice(taken, left_out)


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
