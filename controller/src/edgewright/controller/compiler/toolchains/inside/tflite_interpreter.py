"""The one ``Interpreter`` of LiteRT and tflite-runtime, under whichever name this environment has it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Detail = dict[str, Any]


def package() -> Any:
    """The module with ``Interpreter`` and ``OpResolverType``."""
    try:
        from ai_edge_litert import interpreter
    except ModuleNotFoundError:
        from tflite_runtime import interpreter
    return interpreter


def open_interpreter(model: bytes, delegate: bool) -> Any:
    """A loaded model on one thread, with the packages' own delegate, XNNPACK, or with no delegate."""
    module = package()
    options: dict[str, Any] = {"model_content": model, "num_threads": 1}
    if not delegate:
        options["experimental_op_resolver_type"] = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return module.Interpreter(**options)


def ports(interpreter: Any) -> tuple[dict[str, Detail], dict[str, Detail]]:
    """Inputs and outputs by name: by their tensors' names, and by the signature's where the file has one.

    A converter keeps a signature's names, and may rename tensors.
    """
    inputs = {each["name"]: each for each in interpreter.get_input_details()}
    outputs = {each["name"]: each for each in interpreter.get_output_details()}
    signatures = interpreter.get_signature_list()
    if len(signatures) == 1:
        runner = interpreter.get_signature_runner(next(iter(signatures)))
        inputs |= runner.get_input_details()
        outputs |= runner.get_output_details()
    return inputs, outputs


def given(interpreter: Any, inputs: dict[str, Detail], names: list[str]) -> dict[str, Detail]:
    """The inputs by the caller's names: by name where all are known, else in order."""
    if set(names) <= set(inputs):
        return inputs
    details = interpreter.get_input_details()
    if len(names) != len(details):
        raise ValueError(f"the model has {len(details)} inputs, not {len(names)}")
    return dict(zip(names, details, strict=True))


def is_scaled(detail: Detail) -> bool:
    """Whether a tensor of integers stands for real numbers."""
    return bool(detail["quantization"][0]) and np.issubdtype(detail["dtype"], np.integer)


def to_stored(values: NDArray[Any], detail: Detail) -> NDArray[Any]:
    """Values as the tensor stores them; what has its element type is taken as stored already."""
    dtype = np.dtype(detail["dtype"])
    if values.dtype == dtype:
        return values
    if not is_scaled(detail):
        return values.astype(dtype)
    scale, zero_point = detail["quantization"]
    limits = np.iinfo(detail["dtype"])
    nearest = np.rint(values / np.float32(scale)) + zero_point
    stored: NDArray[Any] = np.clip(nearest, limits.min, limits.max).astype(dtype)
    return stored


def to_real(stored: NDArray[Any], detail: Detail) -> NDArray[Any]:
    """Real numbers behind stored ones."""
    if not is_scaled(detail):
        return stored
    scale, zero_point = detail["quantization"]
    real: NDArray[Any] = (stored.astype(np.float32) - zero_point) * np.float32(scale)
    return real
