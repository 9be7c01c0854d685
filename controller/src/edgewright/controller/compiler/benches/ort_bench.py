"""onnxruntime of the controller's own environment, in the build's own process.

Latency is CPU time of the one thread that runs the inference, so it is the inference's own whatever else the
machine does. Memory is what loading and running added to this process: an estimate from above for the first
artifact of a race, because what the allocator kept free is not counted.
"""

import ctypes
import os
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final

import numpy as np

from edgewright.controller.compiler.benches.seam import Speed
from edgewright.controller.compiler.ort import VERSION, Session
from edgewright.controller.compiler.subject import Feeds, Outputs

ROUNDS: Final = 60
WARM_UP_ROUNDS: Final = 5
LONGEST_RACE_S: Final = 1.0
"""A slow model is run less often, and at least ``FEWEST_ROUNDS`` times."""

FEWEST_ROUNDS: Final = 9
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class OrtBench:
    """See ``Bench``.

    Args:
        provider: execution provider.
        batches: see ``Subject.batches``.
    """

    def __init__(self, provider: str, *, batches: bool = False) -> None:
        self._provider, self._batches = provider, batches

    @property
    def runtime(self) -> str:
        """See ``Bench``."""
        return f"onnxruntime {VERSION} {self._provider}"

    def outputs(self, artifact: bytes, feeds: Feeds) -> Outputs:
        """See ``Bench``."""
        return Session(artifact, self._provider).run_calls(feeds, batches=self._batches)

    def race(self, artifacts: Sequence[bytes], feeds: Feeds) -> tuple[Speed, ...]:
        """See ``Bench``."""
        first = {name: values[0, ...] for name, values in feeds.items()}
        sessions, memory = [], []
        for artifact in artifacts:
            before = _resident_bytes()
            session = Session(artifact, self._provider)
            session.call(first)
            sessions.append(session)
            memory.append(max(0, _resident_bytes() - before) / 2**20)
        times: list[list[int]] = [[] for _ in sessions]
        deadline = time.monotonic() + LONGEST_RACE_S
        for turn in range(WARM_UP_ROUNDS + ROUNDS):
            if turn >= WARM_UP_ROUNDS + FEWEST_ROUNDS and time.monotonic() > deadline:
                break
            for session, taken in zip(sessions, times, strict=True):
                start = time.thread_time_ns()
                session.call(first)
                if turn >= WARM_UP_ROUNDS:
                    taken.append(time.thread_time_ns() - start)
        medians = [float(np.median(taken)) / 1000 for taken in times]
        return tuple(Speed(*pair) for pair in zip(medians, memory, strict=True))

    def __enter__(self) -> "OrtBench":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Sessions end with the calls that opened them."""


def _resident_bytes() -> int:
    """Resident memory of this process after free memory went back to the kernel."""
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - procfs, read once
        return int(file.read().split()[1]) * _PAGE_BYTES
