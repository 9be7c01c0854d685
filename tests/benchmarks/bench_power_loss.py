"""``power_loss_runs``, ``power_loss_bricks``, ``power_loss_waste_chunks``: what power cuts leave of a device.

Ten thousand runs of ``simulators.disk``, in two processes: a cut at every persist point of every story, and
anywhere, seeded; three in ten devices lose their power again while they recover. A brick is a run in which
anything did not hold: no start, another model than the journal's or a damaged one, something written down and
taken back, or an assigned version that was not reached. Waste counts chunks that had been written to the
store before one cut and came again after it; chunks that were on their way in memory, at most a window, are
no part of it.

There is no peer: nothing like it runs on another agent's storage.
"""

import time
from collections.abc import Iterator
from typing import Final

from simulators.disk.runs import run_apart

RUNS: Final = 10_000
SEED: Final = 1


def run() -> Iterator[dict[str, object]]:
    """Cut the power."""
    started = time.monotonic()
    summary = run_apart(RUNS, SEED)
    rows = {
        "power_loss_runs": (summary.runs, "runs"),
        "power_loss_bricks": (summary.bricks, "runs"),
        "power_loss_waste_chunks": (summary.waste, "chunks"),
    }
    for name, (value, unit) in rows.items():
        yield {
            "name": name,
            "value": value,
            "unit": unit,
            "peer": None,
            "peer_value": None,
            "ratio": None,
            "persist_points": summary.points,
            "cuts": summary.cuts,
            "wall_s": round(time.monotonic() - started, 1),
            "worst": [f"{one.story} {one.position} {one.style}: {one.broken}" for one in summary.worst],
        }
