"""A bench on an onnxruntime of another build: one session an artifact, one thread, and no silent fallback."""

from collections import Counter
from pathlib import Path
from typing import Any, Final

import onnxruntime
from racing import RefusedError, answer

_QUIET: Final = 4
"""onnxruntime's log level for what ends the process: why a load failed is in the exception."""

_CPU: Final = "CPUExecutionProvider"


class Session:
    """One artifact.

    Attributes:
        placement: number of nodes by execution provider.
    """

    def __init__(self, model: bytes, provider: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = _QUIET
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        own = {"num_of_threads": "1"} if provider == "OpenVINOExecutionProvider" else {}
        if provider not in onnxruntime.get_available_providers():
            raise RefusedError("load", f"this onnxruntime has no {provider}")
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=[(provider, own)], enable_fallback=0
            )
            nodes: Counter[str] = Counter()
            for part in self._session.get_provider_graph_assignment_info():
                nodes[part.ep_name] += len(part.get_nodes())
        except Exception as error:
            raise RefusedError("load", str(error)) from error
        self.placement = dict(nodes)
        self._outputs = [output.name for output in self._session.get_outputs()]

    def call(self, feeds: dict[str, Any]) -> dict[str, Any]:
        """Run once."""
        try:
            return dict(zip(self._outputs, self._session.run(self._outputs, feeds), strict=True))
        except Exception as error:
            raise RefusedError("run", str(error)) from error


def run(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """See ``racing.answer``."""
    return answer(request, folder, lambda model: Session(model, request["provider"]))
