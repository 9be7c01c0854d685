"""``python -m tests.fuzz [--inputs N] [--engine atheris|seeded] [--only NAME[,NAME]] [--record FILE]``.

Shares the inputs out among the targets and runs one after another. ``atheris`` is guided by coverage (Linux
on x86-64 only); ``seeded`` changes real messages blindly and runs everywhere. The exit status is 1 when
something was found: an exception that is no error of the target's families, a hang, memory without bound.
"""

import argparse
import importlib.util
import sys
from importlib.metadata import version
from pathlib import Path

from tests.fuzz.runs import ENGINES, Run, record, share_out
from tests.fuzz.targets import TARGETS


def main() -> int:
    """Run what was asked for."""
    arguments = _arguments()
    wanted = [name for name in arguments.only.split(",") if name] or list(TARGETS)
    if unknown := [name for name in wanted if name not in TARGETS]:
        print(f"No target is named {', '.join(unknown)}. There are: {', '.join(TARGETS)}.", file=sys.stderr)
        return 2
    runs: list[Run] = []
    for name, inputs in share_out(wanted, arguments.inputs).items():
        run = ENGINES[arguments.engine](name, inputs)
        runs.append(run)
        print(f"{name:18} {run.inputs:>9,} inputs {run.inputs / run.seconds:>9,.0f}/s  {run.found or 'none'}")
        sys.stdout.flush()
    print(f"{'all':18} {sum(run.inputs for run in runs):>9,} inputs")
    if arguments.record:
        arguments.record.write_text(record(runs, arguments.engine, version))
    return int(any(run.found for run in runs))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="of all targets together")
    guided = importlib.util.find_spec("atheris") is not None
    parser.add_argument("--engine", choices=list(ENGINES), default="atheris" if guided else "seeded")
    parser.add_argument("--only", default="", metavar="NAME[,NAME]", help="just these targets")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write down what ran and what was found")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
