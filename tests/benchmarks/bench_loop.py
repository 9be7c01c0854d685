"""``loop_fires_of_20`` and ``alarm_to_queued_s``: drift, alarm, rebuild, rollout, twenty times in a row.

Each turn new goods come to the line that no version knows. The loop has fired when a version that knows them
is on every robot, by itself, in one controller process. Twice the monitor is started anew in between, as
after a restart. After each turn the line runs on, and no alarm may be open then.

The peer, Sedna, looks for news every 60 s, and its second hot update never comes (its issue 381): its figures
are what its documents and its issue say; it needs Kubernetes and was not run here.
"""

import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.loop_plant import LoopPlant, Turn

TURNS = 20
RESTARTED_AFTER = (7, 14)
SETTLE_S = 2.0
RULES = (
    ('ladder = ["lazy", "centroids"]', 'ladder = ["centroids"]\nmost_per_day = 50'),
    ("minimum_samples = 60", "minimum_samples = 120"),
    ("unaudited_margin = 0.0", "unaudited_margin = 0.05"),
)
"""One rung, because others are the tests' matter; as many a day as turns; the default margin."""
SEDNA_POLL_S = 60.0


def run() -> Iterator[dict[str, object]]:
    """Turn the loop; two figures."""
    with tempfile.TemporaryDirectory() as folder:
        turns = list(fire(Path(folder), TURNS))
    waited = [turn.alarm_to_queued_s for turn in turns]
    fixed = [turn.drift_to_fixed_s for turn in turns]
    yield {
        "name": "loop_fires_of_20",
        "value": len(turns),
        "unit": "turns",
        "peer": "Sedna, as its issue 381 says",
        "peer_value": 1,
        "ratio": len(turns) / 1,
        "turn_s_median": round(statistics.median(fixed), 2),
        "turn_s_first": round(fixed[0], 2),
        "turn_s_last": round(fixed[-1], 2),
        "turn_s_max": round(max(fixed), 2),
    }
    yield {
        "name": "alarm_to_queued_s",
        "value": round(statistics.median(waited), 4),
        "unit": "s",
        "peer": "Sedna's poll, as documented",
        "peer_value": SEDNA_POLL_S,
        "ratio": round(statistics.median(waited) / SEDNA_POLL_S, 6),
        "max": round(max(waited), 4),
    }


def fire(folder: Path, turns: int) -> Iterator[Turn]:
    """Turn the loop; ends at the first turn that does not come to its end, and says what happened."""
    plant = LoopPlant(folder, *RULES)
    with plant.running():
        plant.settle(SETTLE_S)
        for number in range(1, turns + 1):
            try:
                turn = plant.turn()
                assert plant.settle(SETTLE_S) == 0, "An alarm is open though every robot has the fix."
            except AssertionError as error:
                print(f"turn {number}: {error}", file=sys.stderr)
                return
            if number in RESTARTED_AFTER:
                plant.restart_monitor()
            print(f"turn {number}: {turn}", file=sys.stderr)
            yield turn
