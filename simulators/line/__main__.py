"""`python -m simulators.line --socket PATH --seed 1 --robot r1`: one cell; see `cell`."""

import argparse
import asyncio
from pathlib import Path

import cv2

from simulators.line.cell import Cell
from simulators.line.goods import load_goods
from simulators.line.world import CellSettings, World


def main() -> None:
    """Run one cell."""
    parser = argparse.ArgumentParser(prog="python -m simulators.line", description="Run one packing cell.")
    parser.add_argument("--socket", type=Path, required=True, help="the line's cell socket")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--robot", required=True, help="name of the robot; begins its items' ids")
    parser.add_argument("--rate", type=float, default=20.0, help="items a second")
    parser.add_argument("--scanner-share", type=float, default=0.5, help="part of the items that is scanned")
    parser.add_argument("--scanner-delay", type=float, default=1.0, help="seconds, on average")
    parser.add_argument("--deadline-ms", type=float, default=400.0, help="time for a decision")
    given = parser.parse_args()
    # The frames are small, and several cells share the machine with what they test.
    cv2.setNumThreads(1)
    settings = CellSettings(
        robot=given.robot,
        seed=given.seed,
        rate_hz=given.rate,
        scanner_share=given.scanner_share,
        scanner_delay_s=given.scanner_delay,
        deadline_ms=given.deadline_ms,
    )
    world = World(load_goods(), settings)
    asyncio.run(Cell(world, given.robot, given.rate, given.socket).run())


if __name__ == "__main__":
    main()
