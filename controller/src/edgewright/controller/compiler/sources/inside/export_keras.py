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

    ``request["shapes"]`` has the inputs' sizes in their order; where it is empty, open sizes become 1. Layers
    with Python code of their own are refused by Keras (``safe_mode``).
    """
    model = keras.saving.load_model(folder / request["source"], compile=False, safe_mode=True)
    model.trainable = False
    shapes = request["shapes"] or [[size or 1 for size in tensor.shape] for tensor in model.inputs]
    example = tuple(
        torch.from_numpy(np.zeros(shape, keras.backend.standardize_dtype(tensor.dtype)))
        for shape, tensor in zip(shapes, model.inputs, strict=True)
    )
    given = example if len(example) == 1 else (list(example),)
    names = [tensor.name for tensor in model.inputs]
    converted = torch.onnx.export(
        model.eval(),
        given,
        dynamo=True,
        verbose=False,
        input_names=names,
        output_names=list(model.output_names),
    )
    converted.save(folder / request["to"], external_data=False)
    return {"keras": keras.__version__, "torch": torch.__version__}
