"""A Keras model (.keras) as ONNX, in the environment of the toolchain ``keras``: Keras on PyTorch."""

import os
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

# Keras reads its backend at import.
import keras
import numpy as np
import torch


def run(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write ``request["to"]`` from ``request["source"]``; both are names in ``folder``, or absolute.

    ``request["shapes"]`` has inputs' sizes by name; open sizes of others become 1. Layers with Python code of
    their own are refused by Keras (``safe_mode``).
    """
    model = keras.saving.load_model(folder / request["source"], compile=False, safe_mode=True)
    model.trainable = False
    example = tuple(
        torch.from_numpy(np.zeros(_sizes(tensor, request["shapes"]), tensor.dtype)) for tensor in model.inputs
    )
    given = example if len(example) == 1 else (list(example),)
    converted = torch.onnx.export(
        model.eval(),
        given,
        dynamo=True,
        verbose=False,
        input_names=[tensor.name for tensor in model.inputs],
        output_names=[_plain(tensor.name, number) for number, tensor in enumerate(model.outputs)],
    )
    converted.save(folder / request["to"], external_data=False)
    return {"keras": keras.__version__, "torch": torch.__version__}


def _sizes(tensor: Any, shapes: dict[str, list[int]]) -> list[int]:
    return shapes.get(tensor.name) or [size or 1 for size in tensor.shape]


def _plain(name: str, number: int) -> str:
    """An output's name; Keras calls most of them alike."""
    return name if not name.startswith("keras_tensor") else f"output_{number}"
