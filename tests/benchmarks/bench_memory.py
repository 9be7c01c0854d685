"""``supervisor_rss_mb`` and ``agent_rss_mb``: the memory of an agent with a 2 MB network.

A real agent takes a signed release from a real broker, commits it and decides frames; then its processes'
``/proc/<pid>/smaps`` are read. The supervisor's figure is its resident set (Rss).

The agent's figure is what supervisor, line and runner keep resident together: the anonymous pages of each,
and each file's pages once. On a device, where nobody else maps these files, that is the sum of the processes'
Pss. Here other Pythons run beside it (this benchmark is one) and take a share of Pss, so that sum would
flatter; it stands in ``pss_sum_mb``. The sum of Rss counts shared libraries several times; it stands in
``rss_sum_mb``. After an update the last good model stays warm in a second runner: ``both_slots_mb``.

The peer is this Python with nothing imported.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.agent.agent_rig import AgentRig, ControllerHand, running_agent, wait_for
from tests.benchmarks.release import benchmark_release
from tests.contract.brokers import running

FRAMES = 200
_PEER = "python with nothing imported"
_MAPPING = re.compile(r"[0-9a-f]+-[0-9a-f]+ \S+ (\S+) (\S+ \d+) *(.*)")


class Memory(NamedTuple):
    """Resident memory of one process in KiB.

    Attributes:
        rss, pss: resident and proportional set size.
        anonymous: pages that are of no file.
        files: pages of files, by file and offset.
    """

    rss: int
    pss: int
    anonymous: int
    files: dict[str, int]


def run() -> Iterator[dict[str, object]]:
    """Measure; one dictionary for each figure."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(running("nats", folder / "broker"))
        agent, controller = stack.enter_context(running_agent(folder / "agent", broker))
        _deploy(agent, controller, 1)
        one = _agent(agent)
        _deploy(agent, controller, 2)
        both = _agent(agent)
    bare = _bare_python()
    yield _row("supervisor_rss_mb", one["supervisor"].rss, bare.rss)
    yield _row("agent_rss_mb", _together(one), _together({"python": bare})) | {
        "rss_sum_mb": _mib(sum(memory.rss for memory in one.values())),
        "pss_sum_mb": _mib(sum(memory.pss for memory in one.values())),
        "both_slots_mb": _mib(_together(both)),
        "anonymous_mb": {name: _mib(memory.anonymous) for name, memory in one.items()},
    }


def _row(name: str, kib: int, peer_kib: int) -> dict[str, object]:
    return {
        "name": name,
        "value": _mib(kib),
        "unit": "MiB",
        "peer": _PEER,
        "peer_value": _mib(peer_kib),
        "ratio": round(kib / peer_kib, 3),
    }


def _mib(kib: int) -> float:
    return round(kib / 1024, 1)


def _together(processes: dict[str, Memory]) -> int:
    """KiB that the processes keep resident together: of each file the most that one of them has of it."""
    files: dict[str, int] = {}
    for memory in processes.values():
        for file, kib in memory.files.items():
            files[file] = max(files.get(file, 0), kib)
    return sum(memory.anonymous for memory in processes.values()) + sum(files.values())


def _deploy(agent: AgentRig, controller: ControllerHand, version: int) -> None:
    """Bring a version into the active slot and let it decide frames."""
    release = benchmark_release(version)
    path = controller.simulator.release(release.manifest, release.artifact, release.golden)
    controller.simulator.assign(path)
    wait_for(lambda: agent.decides(version), f"a decision of version {version}")
    for i in range(FRAMES):
        agent.ask(i % 256)


def _agent(agent: AgentRig) -> dict[str, Memory]:
    """Memory of the agent's processes by their kind."""
    if agent.process is None:
        raise RuntimeError("The agent does not run.")
    processes = {"supervisor": _memory(agent.process.pid)}
    for pid in agent.children():
        arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        kind = next(word for word in arguments if word.startswith("edgewright.agent.")).rpartition(".")[2]
        processes[kind if kind not in processes else f"second {kind}"] = _memory(pid)
    return processes


def _memory(pid: int) -> Memory:
    totals = {"Rss": 0, "Pss": 0, "Anonymous": 0}
    files: dict[str, int] = {}
    file = ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if mapping := _MAPPING.match(line):
            file = " ".join(mapping.groups())
            continue
        name, _, rest = line.partition(":")
        if name in totals:
            kib = int(rest.split()[0])
            totals[name] += kib
            files[file] = files.get(file, 0) + {"Rss": kib, "Pss": 0, "Anonymous": -kib}[name]
    return Memory(totals["Rss"], totals["Pss"], totals["Anonymous"], files)


def _bare_python() -> Memory:
    command = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as bare:
        if bare.stdout is None:
            raise RuntimeError("Python does not answer.")
        bare.stdout.readline()
        memory = _memory(bare.pid)
        bare.communicate(b"\n")
    return memory
