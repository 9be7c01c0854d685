"""What an agent finds out about its machine, from the files of other machines."""

from pathlib import Path

import pytest

from edgewright.agent.machine import Machine, features, look, memory_mb
from edgewright.agent.settings import MachineSettings
from edgewright.wire.handshake import CPU_FEATURES

XEON = "flags\t\t: fpu sse4_1 sse4_2 avx avx2 avx512f avx512_vnni amx_bf16 amx_tile amx_int8\n"
ALDER_LAKE = "flags\t\t: fpu sse4_1 sse4_2 avx avx2 avx_vnni\n"
CELERON = "flags\t\t: fpu ssse3 sse4_1 sse4_2\n"
CORTEX_A76 = "Features\t: fp asimd evtstrm aes crc32 atomics asimdhp asimdrdm lrcpc dcpop asimddp\n"
CORTEX_A53 = "Features\t: fp asimd evtstrm aes crc32\n"
NEOVERSE_V1 = "Features\t: fp asimd asimddp sve i8mm bf16\n"
CORTEX_A7 = "Features\t: half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva\n"
ARM_11 = "Features\t: half thumb fastmult vfp edsp java tls\n"

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("cpuinfo", "found"),
    [
        (XEON, ("sse4", "avx2", "avx512f", "vnni", "amx")),
        (ALDER_LAKE, ("sse4", "avx2", "vnni")),
        (CELERON, ("sse4",)),
        (CORTEX_A76, ("neon", "dotprod")),
        (CORTEX_A53 * 4 + CORTEX_A76 * 2, ("neon",)),
        (NEOVERSE_V1, ("neon", "dotprod", "i8mm")),
        (CORTEX_A7, ("neon",)),
        (ARM_11, ()),
        ("", ()),
    ],
)
def test_features_are_those_that_every_core_has(cpuinfo: str, found: tuple[str, ...]) -> None:
    """The kernel's words become the wire's, of a board with two kinds of cores the ones that both have."""
    assert features(f"processor\t: 0\n{cpuinfo}\nmodel name : flags of nothing\n") == found
    assert set(found) <= set(CPU_FEATURES)


def test_memory_is_that_of_the_control_group(tmp_path: Path) -> None:
    """The smallest limit of a control group, or of one around it, counts, in either version of them."""
    _write(tmp_path / "proc/meminfo", "MemTotal:        8000000 kB\nMemFree: 1 kB\n")
    assert memory_mb(tmp_path) == 8000000 // 1024
    _write(tmp_path / "proc/self/cgroup", "0::/site.slice/agent.service\n")
    group = tmp_path / "sys/fs/cgroup/site.slice"
    _write(group / "memory.max", f"{900 * MIB}\n")
    _write(group / "agent.service/memory.max", "max\n")
    assert memory_mb(tmp_path) == 900
    _write(tmp_path / "proc/self/cgroup", "3:cpu,memory:/board\n0::/\n")
    _write(tmp_path / "sys/fs/cgroup/memory/board/memory.limit_in_bytes", f"{300 * MIB}\n")
    assert memory_mb(tmp_path) == 300


def test_a_machine_that_hides_itself_tells_nothing(tmp_path: Path) -> None:
    """Without its files a machine has no features and no memory that anybody knows of."""
    found = look(MachineSettings(), tmp_path)
    assert (found.cpu, found.memory_mb) == ((), 0)
    assert found.architecture


def test_the_owner_says_what_the_machine_is(tmp_path: Path) -> None:
    """What stands in the configuration goes before what is found."""
    _write(tmp_path / "proc/cpuinfo", XEON)
    told = MachineSettings(architecture="aarch64", cpu=("neon",), memory_mb=512)
    assert look(told, tmp_path) == Machine("aarch64", ("neon",), 512)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
