"""``supervisor_pss_mb`` and ``agent_pss_mb``: what an agent holds after five minutes of work.

A real agent beside the real embedded broker, over TLS, has taken a 2 MB network and decides ten frames of
640 x 480 a second. After a warm-up of five minutes the Pss (proc(5), smaps) of each of its processes is read
every ten seconds for a minute; the figure is the median of their sum. Then a second version is committed, so
that the last good one stays warm beside it, and the same minute is read again: ``both_slots_mb``.

Other Pythons on the machine, this benchmark among them, map the same files and take a share of Pss, so the
sum flatters; ``alone_mb`` is the same with each file's pages counted once and in full, which is what a device
would show on which nothing else runs.

The peer is one Python process that opens the same network in onnxruntime and runs it ten times a second for a
minute; it is read once the agent has ended, so that the two share nothing.
"""

import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import numpy as np

from edgewright.wire.cell import Decision, Frame, Inbox
from edgewright.wire.cell import encode as encode_cell
from edgewright.wire.deployment import State
from tests.agent.agent_rig import AgentRig, ControllerHand, wait_for
from tests.benchmarks.process_memory import Memory, memory_of, memory_of_agent, mib, together
from tests.benchmarks.release import benchmark_release
from tests.benchmarks.secured_agent import secured_agent

WARM_UP_S: Final = 300.0
SAMPLES: Final = 7
EVERY_S: Final = 10.0
FRAMES_PER_S: Final = 10.0
PEER_S: Final = 60.0
SIZE: Final = (480, 640, 3)
PROMISED_AGENT_MB: Final = 90.0
PROMISED_SUPERVISOR_MB: Final = 40.0

_PEER: Final = """
import sys, time
import numpy as np
import onnxruntime as ort
session = ort.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
frame = np.zeros((1, 3, 64, 64), np.float32)
while True:
    session.run(None, {"x": frame})
    time.sleep(0.1)
"""

Sample = dict[str, Memory]


def run() -> Iterator[dict[str, object]]:
    """Measure; takes some nine minutes."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        agent, controller, _ = stack.enter_context(secured_agent(folder))
        _deploy(agent, controller, 1)
        with Cell(agent) as cell:
            began = time.monotonic()
            time.sleep(WARM_UP_S)
            warm_up_s = time.monotonic() - began
            one = _minute(lambda: memory_of_agent(agent))
        decided = cell.decided
        _deploy(agent, controller, 2)  # A line serves one cell at a time, and this is one.
        with Cell(agent):
            both = _minute(lambda: memory_of_agent(agent))
    peer = _peer()
    more = {"warm_up_s": round(warm_up_s), "frames_decided": decided, "peer_warm_up_s": round(PEER_S)}
    supervisor = [{"supervisor": sample["supervisor"]} for sample in one]
    yield _row("supervisor_pss_mb", supervisor, peer, PROMISED_SUPERVISOR_MB) | more
    yield (
        _row("agent_pss_mb", one, peer, PROMISED_AGENT_MB)
        | more
        | {
            "pss_mb": _by_kind(one, lambda memory: memory.pss),
            "anonymous_mb": _by_kind(one, lambda memory: memory.anonymous),
            "both_slots_mb": mib(statistics.median(map(_pss, both))),
            "both_slots_alone_mb": mib(statistics.median(map(together, both))),
        }
    )


class Cell:
    """Asks for decisions at a steady rate over one connection, in random pictures.

    Attributes:
        decided: frames that a model has decided.
    """

    def __init__(self, agent: AgentRig) -> None:
        self.decided = 0
        self._path = agent.folder / "cell.sock"
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="cell")

    def __enter__(self) -> "Cell":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _ask(self) -> None:
        draw = np.random.default_rng(3)
        inbox = Inbox()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.connect(str(self._path))
            while not self._stopping.wait(1 / FRAMES_PER_S):
                pixels = draw.integers(0, 256, SIZE, np.uint8).tobytes()
                line.sendall(encode_cell(Frame(item="i", deadline_ms=1000, shape=SIZE, pixels=pixels)))
                answers: list[object] = []
                while not answers:
                    answers += inbox.feed(line.recv(65536))
                self.decided += sum(isinstance(a, Decision) and a.source == "active" for a in answers)


def _deploy(agent: AgentRig, controller: ControllerHand, version: int) -> None:
    """Bring a version through its probation, with the frames that come and some more."""
    release = benchmark_release(version)
    before = controller.states().count(State.COMMITTED)
    controller.simulator.assign(
        controller.simulator.release(release.manifest, release.artifact, release.golden)
    )

    def committed() -> bool:
        return agent.decides(version) and controller.states().count(State.COMMITTED) > before

    wait_for(committed, f"the commit of version {version}")


def _minute(look: Callable[[], Sample]) -> list[Sample]:
    """What is seen every ten seconds of a minute, both ends included."""
    samples: list[Sample] = []
    while True:
        with suppress(OSError):  # A verifier may end while it is looked at; then look again.
            samples.append(look())
            if len(samples) == SAMPLES:
                return samples
            time.sleep(EVERY_S)


def _peer() -> list[Sample]:
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        file.write(benchmark_release(1).artifact)
        file.flush()
        with subprocess.Popen([sys.executable, "-c", _PEER, file.name]) as bare:
            try:
                time.sleep(PEER_S)
                return _minute(lambda: {"python": memory_of(bare.pid)})
            finally:
                bare.kill()


def _row(name: str, ours: list[Sample], peer: list[Sample], promised: float) -> dict[str, object]:
    pss, peers = [_pss(sample) for sample in ours], [_pss(sample) for sample in peer]
    return {
        "name": name,
        "value": mib(statistics.median(pss)),
        "unit": "MiB",
        "peer": "one Python process with onnxruntime and the same network",
        "peer_value": mib(statistics.median(peers)),
        "ratio": round(statistics.median(pss) / statistics.median(peers), 3),
        "promise": promised,
        "spread_mb": [mib(min(pss)), mib(max(pss))],
        "alone_mb": mib(statistics.median(map(together, ours))),
        "peer_alone_mb": mib(statistics.median(map(together, peer))),
    }


def _pss(sample: Sample) -> int:
    return sum(memory.pss for memory in sample.values())


def _by_kind(samples: list[Sample], read: Callable[[Memory], int]) -> dict[str, float]:
    """Median of each kind of process over the samples that have one; verifiers come and go."""
    kinds = {kind for sample in samples for kind in sample}
    return {
        kind: mib(statistics.median(read(sample[kind]) for sample in samples if kind in sample))
        for kind in sorted(kinds)
    }
