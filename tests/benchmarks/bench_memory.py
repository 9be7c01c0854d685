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

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.agent.agent_rig import AgentRig, ControllerHand, running_agent, wait_for
from tests.benchmarks.process_memory import Memory, memory_of, memory_of_agent, mib, together
from tests.benchmarks.release import benchmark_release
from tests.contract.brokers import running

FRAMES = 200
_PEER = "python with nothing imported"


def run() -> Iterator[dict[str, object]]:
    """Measure; one dictionary for each figure."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(running("nats", folder / "broker"))
        agent, controller = stack.enter_context(running_agent(folder / "agent", broker))
        _deploy(agent, controller, 1)
        one = memory_of_agent(agent)
        _deploy(agent, controller, 2)
        both = memory_of_agent(agent)
    bare = _bare_python()
    yield _row("supervisor_rss_mb", one["supervisor"].rss, bare.rss)
    yield _row("agent_rss_mb", together(one), together({"python": bare})) | {
        "rss_sum_mb": mib(sum(memory.rss for memory in one.values())),
        "pss_sum_mb": mib(sum(memory.pss for memory in one.values())),
        "both_slots_mb": mib(together(both)),
        "anonymous_mb": {name: mib(memory.anonymous) for name, memory in one.items()},
    }


def _row(name: str, kib: int, peer_kib: int) -> dict[str, object]:
    return {
        "name": name,
        "value": mib(kib),
        "unit": "MiB",
        "peer": _PEER,
        "peer_value": mib(peer_kib),
        "ratio": round(kib / peer_kib, 3),
    }


def _deploy(agent: AgentRig, controller: ControllerHand, version: int) -> None:
    """Bring a version into the active slot and let it decide frames."""
    release = benchmark_release(version)
    path = controller.simulator.release(release.manifest, release.artifact, release.golden)
    controller.simulator.assign(path)
    wait_for(lambda: agent.decides(version), f"a decision of version {version}")
    for i in range(FRAMES):
        agent.ask(i % 256)


def _bare_python() -> Memory:
    command = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as bare:
        if bare.stdout is None:
            raise RuntimeError("Python does not answer.")
        bare.stdout.readline()
        memory = memory_of(bare.pid)
        bare.communicate(b"\n")
    return memory
