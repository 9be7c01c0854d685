"""A runner whose runtime goes wrong: ``python -m simulators.faulty_runner FAULT ... serve ...``.

Everything but the runtime is the real runner: its process, socket, shared memory, limits and serving loop.
The runtime computes a frame's brightness as the tests' tiny models do, and goes wrong on bright frames.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgewright.agent.runner.__main__ import parser
from edgewright.agent.runner.ownprocess import die_with_parent
from edgewright.agent.runner.runtimes import Info, Quantisation, Session
from edgewright.agent.runner.serve import serve
from edgewright.wire.manifest import Manifest

BRIGHT: Final = 0.7
"""Mean of an input, 0 to 1."""

LEAK_BYTES: Final = 8 * 1024 * 1024
BURST_BYTES: Final = 4 * 1024 * 1024 * 1024
SLOW_S: Final = 0.3


class FaultySession:
    """A runtime that answers until a frame is bright.

    Args:
        fault: ``crash``, ``hang``, ``leak`` (some memory a frame), ``burst`` (all of it at once) or ``slow``.
    """

    def __init__(self, fault: str) -> None:
        self._fault = fault
        self._leaked: list[NDArray[np.uint8]] = []

    @property
    def input_quantisation(self) -> Quantisation:
        """That of float32."""
        return Quantisation()

    def run_into(self, inputs: NDArray[np.float32], output: NDArray[np.float32]) -> None:
        """Classify by brightness, or go wrong."""
        mean = float(inputs.mean())
        if mean > BRIGHT:
            self._go_wrong()
        output[...] = (8 - 20 * mean, 2, 20 * mean - 12)

    def info(self) -> Info:
        """No runtime that exists."""
        return Info("simulated", "0", "CPUExecutionProvider")

    def placement(self) -> dict[str, int]:
        """Everything on the processor."""
        return {"CPUExecutionProvider": 1}

    def _go_wrong(self) -> None:
        match self._fault:
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "hang":
                time.sleep(3600)
            case "slow":
                time.sleep(SLOW_S)
            case "leak":
                self._leaked.append(np.ones(LEAK_BYTES, np.uint8))
            case "burst":
                self._leaked.append(np.ones(BURST_BYTES, np.uint8))


def main(arguments: Sequence[str]) -> int:
    """Serve with the fault that the first argument names."""
    fault, *words = arguments
    given = parser().parse_args(words[words.index("serve") :])
    die_with_parent()

    def load(_artifact: Path | bytes, _manifest: Manifest, _threads: int) -> Session:
        return FaultySession(fault)

    return serve(given.fd, given.shm_fd, given.manifest, given.artifact, given.threads, load)


def write_interpreter(path: Path, fault: str) -> Path:
    """Write what ``[runtime] environments`` may name as a Python, and what is this runner then."""
    root = Path(__file__).parents[1]
    command = f'exec "{sys.executable}" -m simulators.faulty_runner {fault} "$@"'
    path.write_text(f'#!/bin/sh\ncd "{root}" && {command}\n')
    path.chmod(0o700)
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
