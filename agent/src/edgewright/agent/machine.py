"""What this machine is: architecture, processor features, memory, as its hello tells them.

The words are those of ``/proc/cpuinfo`` (arch/x86/include/asm/cpufeatures.h and the ELF hwcaps of Linux). A
feature counts if every core has it: a thread runs where the scheduler puts it. Nothing here is measured, and
where a file cannot be read the fact is left empty, which means that it is not known.
"""

import platform
import re
import sys
from pathlib import Path
from typing import Final

import msgspec

from edgewright.agent.settings import MachineSettings
from edgewright.wire.handshake import CPU_FEATURES

_MIB: Final = 1024 * 1024

_WORDS: Final = {
    "sse4": {"sse4_1"},
    "avx2": {"avx2"},
    "avx512f": {"avx512f"},
    "vnni": {"avx512_vnni", "avx_vnni"},
    "amx": {"amx_int8"},
    "neon": {"neon", "asimd"},
    "dotprod": {"asimddp"},
    "i8mm": {"i8mm"},
}
"""The kernel's words for each feature; one of them is enough."""

_FLAGS: Final = re.compile(r"^(?:flags|Features)\s*:(.*)$", re.MULTILINE)
_TOTAL: Final = re.compile(r"^MemTotal:\s*(\d+) kB$", re.MULTILINE)

_32_BIT: Final = {"aarch64": "armv7l", "x86_64": "i686"}
"""What a 64-bit kernel's 32-bit programs run on; uname(2) tells them the kernel's own."""


class Machine(msgspec.Struct, frozen=True):
    """What a hello says of the machine; what is empty or 0 is not known."""

    architecture: str = ""
    cpu: tuple[str, ...] = ()
    memory_mb: int = 0


def look(told: MachineSettings, root: Path = Path("/")) -> Machine:
    """This machine, as far as its owner has not said what it is.

    Args:
        told: the owner's words.
        root: where ``proc`` and ``sys`` are.
    """
    return Machine(
        told.architecture or architecture(),
        told.cpu or features(_read(root / "proc/cpuinfo")),
        told.memory_mb or memory_mb(root),
    )


def architecture() -> str:
    """Of the processor, as the programs of this system see it."""
    machine = platform.machine()
    return machine if sys.maxsize > 2**32 else _32_BIT.get(machine, machine)


def features(cpuinfo: str) -> tuple[str, ...]:
    r"""Features that all cores have, by their names on the wire.

    >>> features("processor : 0\n" "flags : fpu avx2 avx_vnni")
    ('avx2', 'vnni')
    """
    cores = [set(line.split()) for line in _FLAGS.findall(cpuinfo)]
    return tuple(name for name in CPU_FEATURES if cores and all(core & _WORDS[name] for core in cores))


def memory_mb(root: Path = Path("/")) -> int:
    """Memory of the machine, or of this process's control group where that is less, MiB."""
    total = _TOTAL.search(_read(root / "proc/meminfo"))
    limits = [int(total[1]) * 1024] if total else []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, place = (*line.split(":", 2), "", "")[:3]
        if not controllers:  # control groups v2 (cgroups(7))
            limits += _limits(root / "sys/fs/cgroup", place, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits(root / "sys/fs/cgroup/memory", place, "memory.limit_in_bytes")
    return min(limits, default=0) // _MIB


def _limits(mount: Path, place: str, name: str) -> list[int]:
    """Limits of a control group and of all that it is in; in a container only some of them can be seen."""
    inside = mount.joinpath(*Path(place).parts[1:])
    groups = [inside, *inside.parents]
    found = [_read(group / name).strip() for group in groups if group.is_relative_to(mount)]
    return [int(limit) for limit in found if limit.isdecimal()]


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
