"""Real processes killed with SIGKILL at random moments: no brick, hardly a byte twice, nothing told twice."""

from pathlib import Path
from typing import Final

import pytest

from tests.system.kill_runs import run_devices

RUNS: Final = 20
DEVICES: Final = 2
MOST_WASTE_CHUNKS: Final = 2.0
"""The chunk that was being written, and what was on its way behind it."""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_no_kill_makes_a_brick(tmp_path: Path) -> None:
    """In 20 runs, whoever is killed in whatever state, the device decides right and reaches its version."""
    tallies = run_devices(tmp_path, RUNS, DEVICES, seed=2)
    for tally in tallies:
        print(tally)
    assert [tally.bricks for tally in tallies] == [[]] * DEVICES
    assert sum(tally.runs for tally in tallies) == RUNS
    assert len(set[object]().union(*(tally.states for tally in tallies))) >= 8
    assert max(waste for tally in tallies for waste in tally.waste) <= MOST_WASTE_CHUNKS
    assert all(tally.sources["active"] > 0 for tally in tallies)
