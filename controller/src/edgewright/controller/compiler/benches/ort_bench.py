"""onnxruntime of the controller's own environment, in the build's own process.

Latency is CPU time of the one thread that runs the inference, so it is the inference's own whatever else the
machine does; the race itself is that of ``toolchains.inside.racing``.
"""

import time
from collections.abc import Sequence
from functools import partial
from types import TracebackType

from edgewright.controller.compiler.benches.seam import Speed
from edgewright.controller.compiler.ort import VERSION, Session
from edgewright.controller.compiler.subject import Feeds, Outputs
from edgewright.controller.compiler.toolchains.inside.racing import race


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
        openers = [partial(Session, artifact, self._provider) for artifact in artifacts]
        _sessions, speeds = race(openers, first, time.thread_time_ns)
        return tuple(Speed(*pair) for pair in speeds)

    def __enter__(self) -> "OrtBench":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Sessions end with the calls that opened them."""
