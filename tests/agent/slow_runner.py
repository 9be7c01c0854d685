"""A runner whose model computes for a while at each run, and that may compute for two seconds unasked.

``python -m tests.agent.slow_runner SOCKET MEMORY MANIFEST ARTIFACT``; the first two are descriptors.
"""

import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgewright.agent.runner import serve as serving

RUN_S = 0.06
ALLOWED_S = 2


class SlowSession:
    """Answers zeros after ``RUN_S`` of processor time."""

    def run_into(self, inputs: NDArray[np.generic], output: NDArray[np.float32]) -> None:
        """One run."""
        del inputs
        end = time.process_time() + RUN_S
        while time.process_time() < end:
            pass
        output[...] = 0


def main() -> int:
    """Serve until the socket is closed."""
    serving._COMPUTING_S = ALLOWED_S  # type: ignore[misc]  # a minute is too long for a test
    line, memory, manifest, artifact = sys.argv[1:]
    session = SlowSession()
    return serving.serve(
        int(line),
        int(memory),
        Path(manifest),
        Path(artifact),
        1,
        lambda *_: session,  # type: ignore[arg-type]  # serving runs it and nothing else
    )


if __name__ == "__main__":
    sys.exit(main())
