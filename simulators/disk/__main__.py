"""``python -m simulators.disk``: power cuts, and what came of them, as one JSON line.

The recorder has to be preloaded; ``runs.run_apart`` does that, in as many processes as the machine has cores.
"""

import argparse
import logging
import random
import sys
import tempfile
from pathlib import Path

import msgspec

from simulators.disk.powerloss import Theatre
from simulators.disk.renewals import broken_renewals
from simulators.disk.runs import Summary, summed


def main() -> int:
    """Run one share of the cuts."""
    parser = argparse.ArgumentParser(prog="python -m simulators.disk", description=__doc__)
    parser.add_argument("--runs", type=int, default=0, help="of all shares together")
    parser.add_argument("--renewals", type=int, default=0, help="draws of each cut of an identity's renewal")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--share", type=int, default=0, help="which one")
    parser.add_argument("--of", type=int, default=1, help="how many there are")
    parser.add_argument("--deaf-to", default="", help="SYNC or SYNC_FOLDER: a disk that lies")
    given = parser.parse_args()
    logging.disable()
    with tempfile.TemporaryDirectory(dir=_in_memory()) as work:
        if given.renewals:
            broken = broken_renewals(Path(work).resolve(), given.renewals)
            sys.stdout.write(msgspec.json.encode(broken).decode() + "\n")
            return 0
        theatre = Theatre(Path(work).resolve(), deaf_to=given.deaf_to)
        summary = _play(theatre, given.runs, given.seed, given.share, given.of)
    sys.stdout.write(msgspec.json.encode(summary).decode() + "\n")
    return 0


def _play(theatre: Theatre, runs: int, seed: int, share: int, of: int) -> Summary:
    """Every persist point in turn, the rest of the runs anywhere; each run has a seed of its own."""
    points = theatre.persist_points()
    outcomes = []
    for number in range(share, runs, of):
        draw = random.Random(f"{seed} {number}")
        story, position = points[number] if number < len(points) else theatre.draw_point(draw)
        outcomes.append(theatre.run(story, position, draw))
    return summed(outcomes, len(points))


def _in_memory() -> str | None:
    """A folder whose synchronisation costs nothing: what is durable is played, not left to a disk."""
    memory = Path("/dev/shm")  # noqa: S108 - the work lies in a folder of its own below it
    return str(memory) if memory.is_dir() else None


if __name__ == "__main__":
    sys.exit(main())
