"""Whether a device is what a target asks for: facts against demands, with nothing else looked at.

Facts are what a device says of itself in its hello. They are hints: a device that says nothing of itself, as
an older agent, contradicts no target, and one that says something wrong deceives a list and a rollout's
choice, and nothing that is signed. What runs is proven on the device, and that is the last word.

A match has reasons, each a sentence, where facts contradict the target; and it names what was not told.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from edgewright.wire.manifest import RuntimeRange
from edgewright.wire.versions import is_within

_SAME_MACHINE: Final = {"amd64": "x86_64", "arm64": "aarch64", "armv8l": "armv7l"}
"""Other names of the same architectures; armv8l is a 64-bit processor under 32-bit programs."""

_EVERYWHERE: Final = frozenset({"CPU", "CPUExecutionProvider"})
"""Providers that every runtime brings."""


class Demands(msgspec.Struct, frozen=True, kw_only=True):
    """What a target asks of a device; the controller's targets have more, which only a build needs.

    Attributes:
        name: what devices enrol with.
        summary: one sentence for lists and the documentation.
        machine: processor architecture, as ``platform.machine()`` spells it.
        cpu: processor features that it needs, of ``handshake.CPU_FEATURES``.
        runtime: what runs the artifact: a runtime, the versions it may have, the execution provider or
            delegate.
        memory_mb: limit beside the model's own, MiB; 0 for none.
    """

    name: str = ""
    summary: str
    machine: str
    cpu: tuple[str, ...] = ()
    runtime: RuntimeRange
    memory_mb: float = 0.0


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a device says that it is, as ``Hello`` has it; what is empty or 0 is not known."""

    machine: str = ""
    cpu: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    memory_mb: int = 0


class Match(msgspec.Struct, frozen=True):
    """Whether a device fits a target.

    Attributes:
        reasons: sentences, one for each demand that the facts contradict.
        unknown: demands about which the device has said nothing.
    """

    reasons: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Nothing that is known contradicts the target."""
        return not self.reasons

    @property
    def sure(self) -> bool:
        """All that the target demands is known, and is there."""
        return not self.reasons and not self.unknown


def fits(target: Demands, facts: Facts) -> Match:
    """Hold a device's facts against a target's demands; never raises, whatever the device has said."""
    reasons, unknown = [], []
    for demand, reason in _look(target, facts):
        if reason is None:
            unknown.append(demand)
        elif reason:
            reasons.append(reason)
    return Match(tuple(reasons), tuple(unknown))


def rank(facts: Facts, targets: Iterable[Demands]) -> tuple[str, ...]:
    """Names of the targets that a device fits for sure, in the table's order, which is best first."""
    return tuple(target.name for target in targets if fits(target, facts).sure)


def _look(target: Demands, facts: Facts) -> Iterator[tuple[str, str | None]]:
    """Each demand with what contradicts it: nothing, a sentence, or None where the fact is not known."""
    here = machine_name(facts.machine)
    if not here:
        yield "processor", None
    elif here != machine_name(target.machine):
        yield "processor", f"its processor is {_short(here)}, and the target is for {target.machine}"
    if target.cpu:
        lacking = [feature for feature in target.cpu if feature not in facts.cpu]
        said = f"its processor lacks {', '.join(lacking)}" if lacking else ""
        yield "processor features", said if facts.cpu else None
    yield "runtime", _runtime(target.runtime, facts.runtimes)
    if target.memory_mb > 0:
        little = 0 < facts.memory_mb < target.memory_mb
        said = f"it has {facts.memory_mb} MiB of memory, and the target needs {target.memory_mb:g}"
        yield "memory", (said if little else "") if facts.memory_mb > 0 else None


def _runtime(needed: RuntimeRange, told: tuple[str, ...]) -> str | None:
    """What keeps each of a device's runtimes from being the one that is needed; see ``_look``."""
    wanted = f"{needed.name} {needed.minimum} to below {needed.below}"
    said: list[str | None] = []
    for text in told:
        name, version, provider = [*text.split(maxsplit=2), "", "", ""][:3]
        if name == needed.name:
            said.append(_one_runtime(needed, version, provider, wanted))
    if "" in said:
        return ""
    if not told or None in said:
        return None
    return said[-1] if said else f"it has no {wanted}"


def _one_runtime(needed: RuntimeRange, version: str, provider: str, wanted: str) -> str | None:
    everywhere = needed.provider in _EVERYWHERE
    if provider and provider != needed.provider and not everywhere:
        return f"its {needed.name} has no {needed.provider}"
    within = is_within(version, needed.minimum, needed.below)
    if within is False:
        return f"its {needed.name} is {_short(version)}, and the target needs {wanted}"
    return "" if within and (provider or everywhere) else None


def machine_name(machine: str) -> str:
    """One name of an architecture.

    >>> machine_name("AMD64"), machine_name("riscv64")
    ('x86_64', 'riscv64')
    """
    return _SAME_MACHINE.get(machine.lower(), machine)


def _short(text: str) -> str:
    """A device's own words, as far as they fit into a sentence."""
    return repr(text[:40])[1:-1] or "nothing"
