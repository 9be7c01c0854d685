"""A runtime that lives in a toolchain's environment: each question is asked to a process of its own there.

The artifact and the calls travel as files, the answer comes back the same way; nothing stays between two
questions, so an artifact that crashes the runtime takes one answer with it and is refused with a sentence.

No silent fallback: of nodes that the runtime placed, the target's provider has to run the share that the
target demands, as a device will demand it (``RuntimeRange.placed``).
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from edgewright.controller.compiler.benches.seam import Speed
from edgewright.controller.compiler.subject import Feeds, Outputs, take_rows
from edgewright.controller.compiler.targets import Target
from edgewright.controller.compiler.toolchains.places import require
from edgewright.controller.compiler.toolchains.running import (
    INSIDE,
    read_arrays,
    run_script,
    write_arrays,
)
from edgewright.controller.errors import InputShapeError, ToolchainFailedError, UnknownOperatorError

LIMIT_S: Final = 300.0

_SCRIPTS: Final[Mapping[str, Path]] = {
    "onnxruntime": INSIDE / "bench_onnxruntime.py",
    "litert": INSIDE / "bench_tflite.py",
    "tflite-runtime": INSIDE / "bench_tflite.py",
}
_ANSWERS: Final = "outputs.npz"
_PREFIX: Final = "edgewright-bench-"


class ChildBench:
    """See ``Bench``.

    Args:
        target: whose runtime.

    Raises:
        ToolchainMissingError: the environment with this runtime is not installed.
    """

    def __init__(self, target: Target) -> None:
        self._place = require(target.environment)
        self._runtime = target.runtime

    @property
    def runtime(self) -> str:
        """See ``Bench``."""
        return f"{self._runtime.name} {self._place.version} {self._runtime.provider}"

    def outputs(self, artifact: bytes, feeds: Feeds) -> Outputs:
        """See ``Bench``."""
        with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder:
            answer = self._ask("outputs", [artifact], feeds, Path(folder))
            return read_arrays(Path(folder) / _ANSWERS, answer["outputs"])

    def race(self, artifacts: Sequence[bytes], feeds: Feeds) -> tuple[Speed, ...]:
        """See ``Bench``."""
        with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder:
            answer = self._ask("race", artifacts, take_rows(feeds, [0]), Path(folder))
        return tuple(Speed(each["latency_us"], each["memory_mb"]) for each in answer["speeds"])

    def __enter__(self) -> "ChildBench":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Processes end with the questions that started them."""

    def _ask(self, what: str, artifacts: Sequence[bytes], feeds: Feeds, folder: Path) -> dict[str, Any]:
        files = [f"artifact-{number}" for number in range(len(artifacts))]
        for name, artifact in zip(files, artifacts, strict=True):
            (folder / name).write_bytes(artifact)
        request = {
            "do": what,
            "artifacts": files,
            "feeds": write_arrays(folder / "feeds.npz", feeds),
            "provider": self._runtime.provider,
        }
        outcome = run_script(self._place.python, _SCRIPTS[self._runtime.name], request, folder, LIMIT_S)
        if outcome.crashed:
            raise UnknownOperatorError(f"{self.runtime} crashes on the model: {outcome.words}.")
        if outcome.result is None:
            raise ToolchainFailedError(f"{self.runtime} gave no answer: {outcome.words}.")
        self._verify(outcome.result)
        return outcome.result

    def _verify(self, answer: dict[str, Any]) -> None:
        if "refused" in answer:
            words = str(answer["words"]).rstrip(".")
            if answer["refused"] == "load":
                raise UnknownOperatorError(f"{self.runtime} cannot load the model: {words}.")
            raise InputShapeError(f"{self.runtime} cannot run the model: {words}.")
        for placement in answer["placements"]:
            nodes, taken = sum(placement.values()), placement.get(self._runtime.provider, 0)
            if not taken or taken < self._runtime.placed * nodes:
                raise UnknownOperatorError(
                    f"{self.runtime} would run {taken} of the model's {nodes} nodes, and leave the others "
                    f"elsewhere; the target demands {self._runtime.placed:.0%} of them."
                )
