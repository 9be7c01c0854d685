"""What every bench does alike: loading with its memory, and a race in turns.

In another environment latency is CPU time of the whole process, because a runtime may run an inference on a
thread of its own: with one thread to run on, that is the inference's own time whatever else the machine does.
Memory is what loading and running added to the process, after free memory went back to the kernel: an
estimate from above for the first artifact of a race, because what the allocator kept free is not counted.
"""

import ctypes
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

Call = Callable[[], object]

ROUNDS: Final = 60
WARM_UP_ROUNDS: Final = 5
FEWEST_ROUNDS: Final = 9
LONGEST_RACE_S: Final = 1.0
"""A slow model is run less often, and at least ``FEWEST_ROUNDS`` times."""

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class RefusedError(Exception):
    """The runtime refuses an artifact.

    Args:
        stage: ``load`` or ``run``.
        words: why.
    """

    def __init__(self, stage: str, words: str) -> None:
        super().__init__(words)
        self.stage = stage


def answer(request: dict[str, Any], folder: Path, open_artifact: Callable[[bytes], Any]) -> dict[str, Any]:
    """Do what a bench asks: ``outputs`` of one artifact, or a ``race`` of several.

    Args:
        request: ``do``, names of the ``artifacts``' files, names of the ``feeds``.
        folder: where they lie.
        open_artifact: loads one; what it returns has ``call(feeds)`` and ``placement``.
    """
    with np.load(folder / "feeds.npz", allow_pickle=False) as held:
        feeds = {name: held[str(number)] for number, name in enumerate(request["feeds"])}
    artifacts = [(folder / name).read_bytes() for name in request["artifacts"]]
    try:
        if request["do"] == "outputs":
            return _outputs(open_artifact(artifacts[0]), feeds, folder)
        return _race([partial(open_artifact, each) for each in artifacts], feeds)
    except RefusedError as error:
        return {"refused": error.stage, "words": str(error)}


def _outputs(session: Any, feeds: dict[str, Any], folder: Path) -> dict[str, Any]:
    rows = len(next(iter(feeds.values())))
    calls = [session.call(_call(feeds, row)) for row in range(rows)]
    names = list(calls[0])
    stacked = {str(number): np.stack([call[name] for call in calls]) for number, name in enumerate(names)}
    with (folder / "outputs.npz").open("wb") as file:
        np.savez(file, **stacked)  # type: ignore[arg-type]  # its stub takes no name but its own options
    return {"outputs": names, "placements": [session.placement]}


def _call(feeds: dict[str, Any], row: int) -> dict[str, Any]:
    """One call of all; a row of scalars is no array by itself."""
    return {name: np.asarray(values[row]) for name, values in feeds.items()}


def _race(openers: list[Callable[[], Any]], feeds: dict[str, Any]) -> dict[str, Any]:
    sessions, speeds = race(openers, _call(feeds, 0), time.process_time_ns)
    told = [{"latency_us": us, "memory_mb": mb} for us, mb in speeds]
    return {"speeds": told, "placements": [session.placement for session in sessions]}


def race(
    openers: Sequence[Callable[[], Any]], first: dict[str, Any], clock_ns: Callable[[], int]
) -> tuple[list[Any], list[tuple[float, float]]]:
    """Open all sessions and run them in turns.

    Args:
        openers: one a session; what they return has ``call(feeds)``.
        first: one call's inputs by name.
        clock_ns: processor time, of the thread or of the process.

    Returns:
        The sessions, and each one's median time of a call in microseconds and memory in MiB.
    """
    sessions, memory = [], []
    for open_one in openers:
        before = _resident_bytes()
        session = open_one()
        session.call(first)
        sessions.append(session)
        memory.append(max(0, _resident_bytes() - before) / 2**20)
    times: list[list[int]] = [[] for _ in sessions]
    deadline = time.monotonic() + LONGEST_RACE_S
    for turn in range(WARM_UP_ROUNDS + ROUNDS):
        if turn >= WARM_UP_ROUNDS + FEWEST_ROUNDS and time.monotonic() > deadline:
            break
        for session, taken in zip(sessions, times, strict=True):
            start = clock_ns()
            session.call(first)
            if turn >= WARM_UP_ROUNDS:
                taken.append(clock_ns() - start)
    medians = [float(np.median(taken)) / 1000 for taken in times]
    return sessions, list(zip(medians, memory, strict=True))


def _resident_bytes() -> int:
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
