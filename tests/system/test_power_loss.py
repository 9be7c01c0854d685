"""The power goes anywhere in a device's life, and it lives on with what its real parts made durable."""

import pytest

from simulators.disk.recording import compiler
from simulators.disk.runs import renew_apart, run_apart

RUNS = 650
"""A few more than the stories have persist points, so that the power goes at each of them."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(compiler() is None, reason="the recorder is built by a C compiler (gcc, libc6-dev)"),
]


def test_no_power_cut_makes_a_brick() -> None:
    """Cut at every persist point, and again while it recovers, the device decides with a whole model, takes
    back nothing that it had written down, and reaches its version; a cut costs at most one chunk.
    """
    summary = run_apart(RUNS, seed=1)
    assert summary.runs == RUNS >= summary.points
    assert summary.bricks == 0, summary.worst
    assert summary.waste <= 1, summary.worst


def test_a_renewal_leaves_an_identity() -> None:
    """Cut anywhere in the renewal of its certificate, a device has the old identity or the new one, whole."""
    assert renew_apart(40) == []


@pytest.mark.parametrize("kind", ["SYNC", "SYNC_FOLDER"])
def test_a_disk_that_does_not_synchronise_makes_bricks(kind: str) -> None:
    """On a disk that ignores what the agent synchronises devices are lost, and the simulation sees it."""
    assert run_apart(60, seed=2, deaf_to=kind).bricks > 0
