"""The seam between the gates and inference runtimes: what a bench has to do.

A bench is one runtime of one exact version with one provider. onnxruntime of the controller's own environment
runs in the build's process; every other one runs in a child of the environment that has it, so that two
runtimes that cannot share a process are both real. Foreign exceptions do not pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from edgewright.controller.compiler.subject import Feeds, Outputs


@dataclass(frozen=True)
class Speed:
    """One artifact in a race.

    Attributes:
        latency_us: median CPU time of one inference on one thread, microseconds.
        memory_mb: resident memory that loading and running it added to the process, MiB.
    """

    latency_us: float
    memory_mb: float


class Bench(Protocol):
    """A runtime that can be asked; use it as a context manager."""

    @property
    def runtime(self) -> str:
        """Name, version and provider, for example ``onnxruntime 1.31.1 CPUExecutionProvider``."""

    def outputs(self, artifact: bytes, feeds: Feeds) -> Outputs:
        """All outputs of an artifact for each call of ``feeds``.

        Raises:
            UnknownOperatorError: the runtime cannot load it.
            InputShapeError: the runtime cannot run it.
        """

    def race(self, artifacts: Sequence[bytes], feeds: Feeds) -> tuple[Speed, ...]:
        """Run artifacts in turns with the first call of ``feeds``, so that what slows one slows all.

        Raises:
            UnknownOperatorError: the runtime cannot load one.
            InputShapeError: the runtime cannot run one.
        """

    def __enter__(self) -> "Bench": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
