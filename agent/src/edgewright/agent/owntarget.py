"""Which target this device is: chosen once, when it enrols, from the table that the controller reads too.

A device takes no artifact but those of its own target, so the target is fixed before anything is assigned.
``auto`` is therefore a word of the enrolment, not of the configuration: what it comes to stands in
``agent.toml``, and is never changed afterwards. If the machine changes, ``edgewright-agent doctor`` says that
the target does not fit any more; a person enrols the device again.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from edgewright.agent.environments import NO_ENVIRONMENTS, find_runtimes
from edgewright.agent.machine import look
from edgewright.agent.settings import AUTO, MachineSettings
from edgewright.wire.errors import EnrolmentError
from edgewright.wire.matching import Facts, fits, rank
from edgewright.wire.targets import shipped_demands

AS_FOUND: Final = MachineSettings()
"""Of a machine about which its owner says nothing."""


def own_facts(told: MachineSettings = AS_FOUND, environments: Mapping[str, str] = NO_ENVIRONMENTS) -> Facts:
    """What this device says of itself in its hello, as far as targets ask for it."""
    machine = look(told)
    return Facts(
        machine=machine.architecture,
        cpu=machine.cpu,
        runtimes=tuple(map(str, find_runtimes(environments))),
        memory_mb=machine.memory_mb,
    )


def resolve(
    target: str, told: MachineSettings = AS_FOUND, environments: Mapping[str, str] = NO_ENVIRONMENTS
) -> str:
    """The target that a device enrols with: the one that was named, or for ``auto`` the best that fits.

    Raises:
        EnrolmentError: it is ``auto``, and no shipped target fits for sure.
    """
    if target != AUTO:
        return target
    if fitting := rank(own_facts(told, environments), shipped_demands().values()):
        return fitting[0]
    raise EnrolmentError("No shipped target fits this device: `edgewright-agent target` says why.")


def describe_targets(facts: Facts) -> Iterator[str]:
    """A line on this device, and one on each shipped target: whether it fits, and why not."""
    told = [facts.machine, *facts.cpu, *([f"{facts.memory_mb} MiB"] if facts.memory_mb else [])]
    yield f"This device: {', '.join([*told, *facts.runtimes])}."
    best = rank(facts, shipped_demands().values())[:1]
    for name, target in shipped_demands().items():
        match = fits(target, facts)
        if match.reasons:
            yield f"no    {name}: {'; '.join(match.reasons)}."
        elif match.unknown:
            yield f"?     {name}: not known here: {', '.join(match.unknown)}."
        else:
            yield f"fits  {name}{', the best' if name in best else ''}: {target.summary}"
