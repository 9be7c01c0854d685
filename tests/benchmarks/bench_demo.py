"""``drift_to_fixed_s``: from the first new item on the demo's line to the rebuilt version on all its robots.

The whole demo is run, as ``make demo`` runs it, ``RUNS`` times with streams of their own. A controller, a
broker, four agents with their runners and four simulated cells share this machine. The value is the median.

The peer, Sedna, polls every 60 s for data and every 60 s for a new model, before it trains anything: that is
what its documents say. It needs Kubernetes and was not run here.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

RUNS = 3
LIMIT_S = 600
SEDNA_POLLS_S = 120.0


def run() -> Iterator[dict[str, object]]:
    """Run the demo some times; one figure."""
    told = [_told(seed) for seed in range(1, RUNS + 1)]
    fixed = [each["seconds"]["drift_to_fixed"] for each in told]
    value = statistics.median(fixed)
    yield {
        "name": "drift_to_fixed_s",
        "value": value,
        "unit": "s",
        "peer": "Sedna's two polls, as documented, without its training",
        "peer_value": SEDNA_POLLS_S,
        "ratio": round(value / SEDNA_POLLS_S, 3),
        "spread": [min(fixed), max(fixed)],
        "drift_to_alarm_s": [each["seconds"]["drift_to_alarm"] for each in told],
        "frames_dropped": sum(each["frames_dropped"] for each in told),
    }


def _told(seed: int) -> dict[str, Any]:
    """The last line of one demo."""
    command = [sys.executable, "-m", "simulators.demo", "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=True)
    line: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return line
