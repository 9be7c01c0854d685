"""Runs of targets: how inputs are shared out, the two engines, and the record of a run."""

import os
import platform
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from tests.fuzz.mutation import change
from tests.fuzz.target import feed
from tests.fuzz.targets import TARGETS
from tests.house.sources import ROOT

_DONE: Final = re.compile(rb"Done (\d+) in \d+ second")
_EXCEPTION: Final = re.compile(rb"Uncaught Python exception: ===\n(.+)")
_FUZZER: Final = re.compile(rb"ERROR: libFuzzer: (.+)")
"""A hang, memory without bound, or a crash of native code."""

_SEED: Final = 1


class Run(NamedTuple):
    """What one target did.

    Attributes:
        inputs: that were really parsed.
        seconds: of wall time, the start of the process included.
        found: the exception or the hang that ended it; empty for a clean run.
    """

    target: str
    inputs: int
    seconds: float
    found: str


def share_out(names: Sequence[str], inputs: int) -> dict[str, int]:
    """Inputs by target, by weight; each gets at least one and together they get no fewer than asked."""
    total = sum(TARGETS[name].weight for name in names)
    return {name: -(-inputs * TARGETS[name].weight // total) for name in names}


def run_guided(name: str, inputs: int) -> Run:
    """Fuzz a target under atheris, in a child process."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.guided", name, str(inputs)],
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        capture_output=True,
        check=False,
    )
    seconds = time.perf_counter() - started
    output = done.stdout + done.stderr
    counted = _DONE.search(output)
    found = ""
    # The status alone tells nothing: after the last input libFuzzer's alarm may still end the process.
    named = _EXCEPTION.search(output) or _FUZZER.search(output)
    if named or counted is None:
        sys.stderr.buffer.write(output[-4000:])
        found = named[1].decode(errors="replace") if named else f"ended with status {done.returncode}"
    return Run(name, int(counted[1]) if counted else 0, seconds, found)


def run_seeded(name: str, inputs: int) -> Run:
    """Fuzz a target with blindly changed messages, in this process; always the same ones."""
    target = TARGETS[name]
    made, rng = target.prepare(), random.Random(_SEED)
    started = time.perf_counter()
    for number in range(inputs):
        data = change(rng.choice(made.seeds), rng, rng.randint(1, 6), made.seeds)
        try:
            feed(made, target, data)
        except Exception as error:  # noqa: BLE001 - whatever is no refusal is the finding
            said = f"{type(error).__name__}: {error} on {data[:200]!r}"
            return Run(name, number + 1, time.perf_counter() - started, said)
    return Run(name, inputs, time.perf_counter() - started, "")


ENGINES: Final[Mapping[str, Callable[[str, int], Run]]] = {"atheris": run_guided, "seeded": run_seeded}


def record(runs: Sequence[Run], engine: str, version: Callable[[str], str]) -> str:
    """A page about a run."""
    parts = [*(("atheris",) if engine == "atheris" else ()), "msgspec", "tuf", "cryptography"]
    versions = ", ".join(f"{part} {version(part)}" for part in parts)
    rows = "\n".join(
        f"| `{run.target}` | {run.inputs:,} | {run.inputs / run.seconds:,.0f} | {run.found or 'none'} |"
        for run in runs
    )
    return (
        "# The recorded run\n\n"
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, engine {engine}.\n"
        f"Python {platform.python_version()}, {versions}.\n\n"
        f"{sum(run.inputs for run in runs):,} inputs in {sum(run.seconds for run in runs):,.0f} s.\n\n"
        f"Made by `python -m tests.fuzz --engine {engine} --inputs N --record tests/fuzz/RECORD.md`.\n\n"
        "| target | inputs | inputs/s, start included | found |\n|---|---|---|---|\n"
        f"{rows}\n"
    )
