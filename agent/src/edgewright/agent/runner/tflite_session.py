"""A TensorFlow Lite interpreter behind the seam: what LiteRT and tflite-runtime have in common.

The two packages bring the same ``Interpreter`` under two names; each adapter hands its own over. A model with
integer inputs or outputs is fed and read through its own scales.

Where nodes run: a delegate replaces the operators that it takes by one node of its own behind all others, and
the operators stay listed. So what a delegate took is found again in the graph: everything that its outputs
are computed from, back to its inputs. The rest runs on the built-in kernels, ``CPU``. Limits:

- A delegate's node does not say whose it is. Both packages apply one by themselves, XNNPACK; no other is
  ever loaded here, so it is XNNPACK's.
- Only the main graph is read. Operators that call other graphs (``IF``, ``WHILE``) are never XNNPACK's, so a
  model that has such graphs is not placed in full.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgewright.agent.runner.runtimes import Info, Quantisation, verify_shape
from edgewright.wire.errors import PlacementError, RunnerOutputError, RunnerShapeError, RuntimeLoadError
from edgewright.wire.manifest import Manifest

DELEGATE: Final = "XNNPACK"
KERNELS: Final = "CPU"
"""The built-in kernels, without any delegate."""

Operator = dict[str, Any]
"""``op_name``, and ``inputs`` and ``outputs`` as numbers of tensors, as the interpreter lists it."""


class Package(NamedTuple):
    """One of the two packages.

    Attributes:
        runtime: its name in manifests.
        version: the installed one.
        interpreter: its ``Interpreter``; takes ``num_threads`` and where the model is.
        without_delegates: its resolver of the built-in kernels alone.
    """

    runtime: str
    version: str
    interpreter: Callable[..., Any]
    without_delegates: Any


def load_tflite(
    package: Package, artifact: Path | bytes, manifest: Manifest, threads: int
) -> "TfliteSession":
    """Load a TFLite file or its bytes.

    Raises:
        PlacementError: neither delegate nor kernels are what the manifest names.
        RuntimeLoadError: see ``Runtime.load``.
    """
    options: dict[str, Any] = {"num_threads": threads}
    match manifest.runtime.provider:
        case "XNNPACK":
            pass
        case "CPU":
            options["experimental_op_resolver_type"] = package.without_delegates
        case other:
            raise PlacementError(f"{package.runtime} has no delegate {other} on this device.")
    source = "model_content" if isinstance(artifact, bytes) else "model_path"
    options[source] = artifact if isinstance(artifact, bytes) else str(artifact)
    try:
        interpreter = package.interpreter(**options)
        operators = len(_operators(interpreter))
        interpreter.allocate_tensors()
    # The interpreter raises ValueError, RuntimeError and what its C++ layer makes up.
    except Exception as error:
        said = _first_line(error)
        if isinstance(artifact, Path):
            said = said.replace(str(artifact), artifact.name)
        raise RuntimeLoadError(f"{package.runtime} cannot load the artifact: {said}.") from error
    return TfliteSession(package, interpreter, operators, manifest)


class TfliteSession:
    """One TFLite model with one input; the manifest's output is found by name, or is the only one."""

    def __init__(self, package: Package, interpreter: Any, operators: int, manifest: Manifest) -> None:
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        named = [detail for detail in outputs if detail["name"] == manifest.output.name]
        if len(inputs) != 1 or (len(outputs) != 1 and len(named) != 1):
            raise RuntimeLoadError(f"The model has no single output named {manifest.output.name!r}.")
        self._package, self._interpreter = package, interpreter
        self._placement = read_placement(_operators(interpreter), operators)
        self._input, self._output = inputs[0], (named or outputs)[0]
        verify_shape("input", tuple(map(int, self._input["shape"])), manifest.input.shape)
        verify_shape("output", tuple(map(int, self._output["shape"])), manifest.output.shape)

    @property
    def input_quantisation(self) -> Quantisation:
        """How the model stores its input."""
        return _quantisation(self._input)

    def run_into(self, inputs: NDArray[np.float32], output: NDArray[np.float32]) -> None:
        """Run once.

        Raises:
            RunnerOutputError: the interpreter could not run the model.
            RunnerShapeError: the output has another shape than the manifest's.
        """
        try:
            self._interpreter.set_tensor(self._input["index"], _stored(inputs, self._input))
            self._interpreter.invoke()
            stored = self._interpreter.get_tensor(self._output["index"])
        # See load_tflite.
        except Exception as error:
            raise RunnerOutputError(
                f"{self._package.runtime} cannot run the model: {_first_line(error)}."
            ) from error
        if stored.shape != output.shape:
            raise RunnerShapeError(f"The model's output has the shape {stored.shape}, not {output.shape}.")
        scale, zero_point = _quantisation(self._output)
        output[...] = (stored.astype(np.float32) - zero_point) * np.float32(scale)

    def info(self) -> Info:
        """Runtime, version, and what most of the model runs on."""
        provider = max(self._placement, key=self._placement.__getitem__, default=KERNELS)
        return Info(self._package.runtime, self._package.version, provider)

    def placement(self) -> dict[str, int]:
        """Number of operators by what runs them."""
        return dict(self._placement)


def read_placement(nodes: Sequence[Operator], operators: int) -> dict[str, int]:
    """Number of operators by what runs them.

    Args:
        nodes: as the interpreter lists them once its tensors are allocated.
        operators: how many of them, at the front, are the model's own; what follows are delegates.

    >>> read_placement([
    ...     {"inputs": [0], "outputs": [1]}, {"inputs": [1], "outputs": [2]}, {"inputs": [1], "outputs": [2]},
    ... ], 2)
    {'CPU': 1, 'XNNPACK': 1}
    """
    maker = {tensor: index for index in range(operators) for tensor in map(int, nodes[index]["outputs"])}
    taken: set[int] = set()
    for delegate in nodes[operators:]:
        given = set(map(int, delegate["inputs"]))
        asked = [int(tensor) for tensor in delegate["outputs"]]
        while asked:
            tensor = asked.pop()
            index = maker.get(tensor)
            if tensor in given or index is None or index in taken:
                continue
            taken.add(index)
            asked += map(int, nodes[index]["inputs"])
    placed = {KERNELS: operators - len(taken), DELEGATE: len(taken)}
    return {name: count for name, count in placed.items() if count}


def _operators(interpreter: Any) -> list[Operator]:
    # Neither package has a public way to list operators; the converter's own tools use this one.
    found: list[Operator] = interpreter._get_ops_details()  # noqa: SLF001 - see the line above
    return found


def _quantisation(detail: dict[str, Any]) -> Quantisation:
    scale, zero_point = detail["quantization"]
    return Quantisation(float(scale), int(zero_point)) if scale else Quantisation()


def _stored(real: NDArray[np.float32], detail: dict[str, Any]) -> NDArray[Any]:
    dtype = np.dtype(detail["dtype"])
    if dtype == np.float32:
        return real
    scale, zero_point = _quantisation(detail)
    limits = np.iinfo(dtype)
    nearest = np.rint(real / np.float32(scale)) + zero_point
    stored: NDArray[Any] = np.clip(nearest, limits.min, limits.max).astype(dtype)
    return stored


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200].rstrip(".") if text else type(error).__name__
