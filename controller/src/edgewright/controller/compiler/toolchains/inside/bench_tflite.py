"""A bench on LiteRT or tflite-runtime: one interpreter an artifact, one thread.

A delegate replaces the operators that it takes by one node of its own behind all others, and the operators
stay listed; what its outputs are computed from, back to its inputs, is what it took. Operators that it left
run on the built-in kernels: that is seen here, and judged by whoever asked.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
from racing import RefusedError, answer
from tflite_interpreter import given, is_scaled, open_interpreter, ports, to_real, to_stored

DELEGATE: Final = "XNNPACK"
KERNELS: Final = "CPU"


class _Session:
    """One artifact.

    Attributes:
        placement: number of operators by what runs them.
    """

    def __init__(self, model: bytes, provider: str) -> None:
        try:
            self._interpreter = open_interpreter(model, delegate=provider == DELEGATE)
            operators = len(self._interpreter._get_ops_details())  # noqa: SLF001 - there is no public way
            self._interpreter.allocate_tensors()
            nodes = self._interpreter._get_ops_details()  # noqa: SLF001 - as above
            self.placement = _placement(nodes, operators)
            self._inputs, self._outputs = ports(self._interpreter)
        except Exception as error:
            raise RefusedError("load", str(error)) from error

    def zeros(self) -> dict[str, Any]:
        """Feeds of zeros."""
        return {name: np.zeros(each["shape"], each["dtype"]) for name, each in self._inputs.items()}

    def call(self, feeds: dict[str, Any]) -> dict[str, Any]:
        """Run once. Outputs are real numbers, unless the caller speaks the model's own integers."""
        try:
            inputs = given(self._interpreter, self._inputs, list(feeds))
            for name, values in feeds.items():
                self._interpreter.set_tensor(inputs[name]["index"], to_stored(values, inputs[name]))
            self._interpreter.invoke()
            stored = {
                name: self._interpreter.get_tensor(each["index"]) for name, each in self._outputs.items()
            }
        except Exception as error:
            raise RefusedError("run", str(error)) from error
        if any(
            is_scaled(inputs[name]) and values.dtype == inputs[name]["dtype"]
            for name, values in feeds.items()
        ):
            return stored
        return {name: to_real(values, self._outputs[name]) for name, values in stored.items()}


def _placement(nodes: list[dict[str, Any]], operators: int) -> dict[str, int]:
    maker = {tensor: index for index in range(operators) for tensor in map(int, nodes[index]["outputs"])}
    taken: set[int] = set()
    for delegate in nodes[operators:]:
        outside = set(map(int, delegate["inputs"]))
        asked = [int(tensor) for tensor in delegate["outputs"]]
        while asked:
            tensor = asked.pop()
            index = maker.get(tensor)
            if tensor in outside or index is None or index in taken:
                continue
            taken.add(index)
            asked += map(int, nodes[index]["inputs"])
    return {KERNELS: operators - len(taken), DELEGATE: len(taken)}


def run(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """See ``racing.answer``."""
    return answer(request, folder, lambda model: _Session(model, request["provider"]))


def smallest_run(model: bytes) -> float:
    """Make an interpreter and run it on zeros; the first number of what comes out."""
    session = _Session(model, DELEGATE)
    return float(next(iter(session.call(session.zeros()).values())).ravel()[0])
