"""``power_loss_kill_runs``, ``power_loss_kill_bricks`` and ``power_loss_kill_waste_chunks``: real SIGKILLs.

200 runs on two devices side by side: a real agent behind a real broker takes one version after the other, and
in each run all its processes, or one of them, are killed with SIGKILL at a random moment of a state of the
deployment; three in ten are killed again while they recover. A brick is a run after which anything did not
hold: no verified model decided, an answer was wrong, the assigned version was not reached, the database was
not whole, or a number of the outbox was given twice.

Waste is counted on the wire, at 1.5 MB/s: bytes of chunks that passed to the device more often than once in a
run, in chunks of 128 KiB. What was on its way is part of it, unlike in ``power_loss_waste_chunks``.

A part on trial that is killed (the qualification, a candidate's runner) may end its deployment by name, as a
crash of its own would; the version is then assigned again, and the rows say how often.
"""

import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edgewright.wire.deployment import State
from tests.system.kill_runs import Tally, run_devices

RUNS: Final = 200
DEVICES: Final = 2
SEED: Final = 5


def run() -> Iterator[dict[str, object]]:
    """Kill."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tallies = run_devices(Path(folder), RUNS, DEVICES, SEED)
    yield from _rows(tallies, time.monotonic() - began)


def _rows(tallies: list[Tally], wall_s: float) -> Iterator[dict[str, object]]:
    kills = sum((tally.kills for tally in tallies), Counter[tuple[State | None, str]]())
    states = Counter[str]()
    victims = Counter[str]()
    for (state, victim), count in kills.items():
        states[state or "before"] += count
        victims[victim] += count
    waste = sorted(value for tally in tallies for value in tally.waste)
    bricks = [brick for tally in tallies for brick in tally.bricks]
    seconds = [value for tally in tallies for value in tally.seconds]
    common = {"peer": None, "peer_value": None, "ratio": None}
    yield {
        "name": "power_loss_kill_runs",
        "value": sum(tally.runs for tally in tallies),
        "unit": "runs",
        **common,
        "killed_in_state": dict(states.most_common()),
        "states_not_hit": sorted(state for state in State if state not in states),
        "killed": dict(victims.most_common()),
        "assigned_again": dict(sum((tally.assigned_again for tally in tallies), Counter[str]())),
        "run_s_median": round(statistics.median(seconds), 2),
        "run_s_longest": round(max(seconds), 2),
        "wall_s": round(wall_s, 1),
    }
    yield {
        "name": "power_loss_kill_bricks",
        "value": len(bricks),
        "unit": "runs",
        **common,
        "bricks": bricks,
        "decisions": dict(sum((tally.sources for tally in tallies), Counter[str]())),
    }
    yield {
        "name": "power_loss_kill_waste_chunks",
        "value": round(waste[-1], 3),
        "unit": "chunks",
        **common,
        "runs": len(waste),
        "median": round(statistics.median(waste), 3),
        "p95": round(waste[len(waste) * 95 // 100], 3),
        "runs_above_one": sum(value > 1 for value in waste),
    }
