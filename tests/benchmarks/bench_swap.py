"""``swap_frames_dropped``, ``swap_gap_ms``, ``swap_p99_ratio``: 50 swaps at 30 frames a second, with kills.

A real agent takes one signed release after the other from a real broker while a cell sends frames at a steady
rate. During each swap one process is killed with SIGKILL at a random moment: a runner, or the supervisor,
which is started again at once, as a service manager would.

``swap_frames_dropped`` counts frames without a decision and frames with two; its row tells how many got the
declared fallback: a runner that is killed while the other slot takes a candidate in has no stand-in.
``swap_gap_ms`` is what the device reports: how long no model stood ready. ``swap_p99_ratio`` is the 99th
percentile of the cell's latency around the swaps over that of the same agent without any, its peer.
"""

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from time import monotonic, sleep

from tests.agent.agent_rig import running_agent, wait_for
from tests.agent.swap_rig import FRAMES_PER_S, NEAR_S, SwapRun, Victim
from tests.contract.brokers import running

SWAPS = 50
STEADY_S = 30.0
SEED = 11
KILL_WITHIN_S = 2.0
VICTIMS: tuple[Victim, ...] = ("runner", "supervisor")


def run() -> Iterator[dict[str, object]]:
    """Measure; one dictionary for each figure."""
    random = Random(SEED)
    with (
        tempfile.TemporaryDirectory() as name,
        running("nats", Path(name) / "broker") as broker,
        running_agent(Path(name) / "agent", broker) as (agent, controller),
    ):
        controller.simulator.assign(controller.release(1))
        wait_for(lambda: agent.decides(1), "a decision of version 1")
        swaps = SwapRun(agent, controller, SEED)
        swaps.cell.start()
        sleep(STEADY_S)
        steady_until = monotonic()
        for number in range(SWAPS):
            swaps.swap(number + 2, random.choice(VICTIMS), KILL_WITHIN_S)
        sleep(NEAR_S)
        swaps.cell.stop()
    yield from _rows(swaps, steady_until)


def _rows(swaps: SwapRun, steady_until: float) -> Iterator[dict[str, object]]:
    cell = swaps.cell
    steady = cell.latencies_ms(steady_until - STEADY_S, steady_until)
    during = [latency for at in swaps.swapped_at for latency in cell.latencies_ms(at - NEAR_S, at + NEAR_S)]
    gaps = [gap / 1000 for gap in swaps.gaps_us]
    sources = [answers[0].decision.source for answers in cell.answers.values()]
    yield {
        "name": "swap_frames_dropped",
        "value": len(cell.unanswered) + len(cell.answered_twice),
        "unit": "frames",
        "frames": len(cell.sent),
        "frames_per_s": FRAMES_PER_S,
        "swaps": len(swaps.swapped_at),
        "answered_twice": len(cell.answered_twice),
        "by_source": {source: sources.count(source) for source in ("active", "standby", "fallback")},
        "killed": {victim: swaps.killed.count(victim) for victim in VICTIMS},
    }
    yield {
        "name": "swap_gap_ms",
        "value": round(statistics.median(gaps), 3),
        "unit": "ms",
        "p99": round(_p99(gaps), 3),
        "max": round(max(gaps), 3),
        "reported": len(gaps),
    }
    yield {
        "name": "swap_p99_ratio",
        "value": round(_p99(during) / _p99(steady), 3),
        "unit": "",
        "peer": "the same agent without a swap",
        "p99_ms": round(_p99(during), 2),
        "peer_value": round(_p99(steady), 2),
        "median_ms": round(statistics.median(during), 2),
        "peer_median_ms": round(statistics.median(steady), 2),
        "longest_ms": round(max(during), 2),
    }


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[len(values) * 99 // 100]
