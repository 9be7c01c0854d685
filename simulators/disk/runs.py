"""Many power cuts, side by side in processes that preload the recorder."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from simulators.disk.powerloss import Outcome
from simulators.disk.recording import build, preloading

ROOT: Final = Path(__file__).resolve().parents[2]
SHOWN: Final = 10
"""Broken runs that are told in full."""


class Summary(msgspec.Struct, frozen=True):
    """What came of many runs.

    Attributes:
        runs: how many.
        points: persist points that the stories have; each was cut where there were as many runs.
        cuts: how often the power went.
        bricks: runs in which something did not hold.
        waste: most chunks that one cut made a device write again.
        worst: runs to look at.
    """

    runs: int
    points: int
    cuts: int
    bricks: int
    waste: int
    worst: tuple[Outcome, ...]


def summed(outcomes: Sequence[Outcome], points: int) -> Summary:
    """The summary of single runs."""
    broken = [outcome for outcome in outcomes if outcome.broken]
    wasteful = sorted(outcomes, key=lambda outcome: outcome.waste, reverse=True)
    waste = wasteful[0].waste if wasteful else 0
    worst = broken[:SHOWN] or [outcome for outcome in wasteful[:SHOWN] if outcome.waste > 1]
    cuts = sum(outcome.cuts for outcome in outcomes)
    return Summary(len(outcomes), points, cuts, len(broken), waste, tuple(worst))


def run_apart(runs: int, seed: int, processes: int = 2, deaf_to: str = "") -> Summary:
    """Cut the power so often, in processes of their own; see ``Theatre`` for ``deaf_to``.

    Raises:
        RuntimeError: there is no C compiler, or a process ended early.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = preloading(build(Path(folder)))
        command = [sys.executable, "-m", "simulators.disk", "--runs", str(runs), "--seed", str(seed)]
        command += ["--deaf-to", deaf_to]
        shares = [
            subprocess.Popen(
                [*command, "--share", str(share), "--of", str(processes)],
                env=environment,
                cwd=ROOT,
                stdout=subprocess.PIPE,
            )
            for share in range(processes)
        ]
        said = [process.communicate()[0] for process in shares]
    if any(process.returncode for process in shares):
        raise RuntimeError("A process of the power cuts ended early; its standard error says why.")
    return _together([msgspec.json.decode(line, type=Summary) for line in said])


def renew_apart(draws: int) -> list[str]:
    """Cut the power anywhere in an identity's renewal, in a process of its own; what did not hold.

    Raises:
        RuntimeError: there is no C compiler.
    """
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "simulators.disk", "--renewals", str(draws)],
            env=preloading(build(Path(folder))),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            check=True,
        )
    return msgspec.json.decode(done.stdout, type=list[str])


def _together(shares: Sequence[Summary]) -> Summary:
    worst = sorted((one for share in shares for one in share.worst), key=lambda one: not one.broken)
    return Summary(
        sum(share.runs for share in shares),
        max(share.points for share in shares),
        sum(share.cuts for share in shares),
        sum(share.bricks for share in shares),
        max(share.waste for share in shares),
        tuple(worst[:SHOWN]),
    )
