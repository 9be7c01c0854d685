"""What to order of the line next: a pure decision over what shall be and what is.

The journal says which releases are good, which slot decides and which candidate is on its way; the line has
told what it holds since it started. Comparing the two after every event, instead of remembering scripts,
makes a restart of the line, of the agent or of both the same case as everyday work.

Order of precedence: the active model first (nothing else matters while the wrong one, or none, decides), then
the candidate, then the last good model back into the free slot, warm.
"""

from typing import Literal, NamedTuple

from edgewright.agent.control import SlotName

Verb = Literal["load", "load-standby", "swap", "shadow", "skip-shadow", "unload"]


class Holding(NamedTuple):
    """A release that a slot shall hold.

    Attributes:
        deployment: number of the deployment that brought it.
        digest: its manifest's.
        proven: whether its probation is over.
    """

    deployment: int
    digest: str
    proven: bool = True


class Candidate(NamedTuple):
    """A release that waits for the line.

    Attributes:
        slot: where it goes.
        shadowed: whether it has only its swap before it.
    """

    slot: SlotName
    holding: Holding
    shadowed: bool


class Wanted(NamedTuple):
    """What shall be."""

    active: SlotName | None
    slots: dict[SlotName, Holding | None]
    candidate: Candidate | None


class Told(NamedTuple):
    """What is: the manifest's digest in each loaded slot, and the slot that decides."""

    loaded: dict[SlotName, str]
    active: SlotName | None


class Step(NamedTuple):
    """One order."""

    verb: Verb
    slot: SlotName
    holding: Holding


def other(slot: SlotName) -> SlotName:
    """The slot beside a slot."""
    return "b" if slot == "a" else "a"


def next_step(wanted: Wanted, told: Told) -> Step | None:
    """The next order to the line; None when all is as it shall be."""
    return _for_active(wanted, told) or _for_candidate(wanted, told) or _for_standby(wanted, told)


def _for_active(wanted: Wanted, told: Told) -> Step | None:
    slot = wanted.active
    holding = wanted.slots[slot] if slot else None
    if slot is None or holding is None:
        # Nothing is good: a candidate was swapped in after it was called off, or the model was stopped.
        return Step("unload", told.active, Holding(0, "")) if told.active else None
    if told.active == slot:
        return None
    if told.loaded.get(slot) != holding.digest:
        return Step("load", slot, holding)
    return Step("swap", slot, holding)


def _for_candidate(wanted: Wanted, told: Told) -> Step | None:
    if wanted.candidate is None:
        return None
    slot, holding, shadowed = wanted.candidate
    if told.loaded.get(slot) != holding.digest:
        return Step("load", slot, holding)
    if shadowed:
        return Step("swap", slot, holding)
    return Step("shadow" if told.active else "skip-shadow", slot, holding)


def _for_standby(wanted: Wanted, told: Told) -> Step | None:
    if wanted.candidate is not None:
        return None
    for slot, holding in wanted.slots.items():
        if slot == wanted.active or slot == told.active:
            continue
        if holding is not None and told.loaded.get(slot) != holding.digest:
            return Step("load-standby", slot, holding)
        if holding is None and slot in told.loaded:
            return Step("unload", slot, Holding(0, ""))
    return None
