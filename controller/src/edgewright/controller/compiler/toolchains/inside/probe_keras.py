"""Proves Keras and its ONNX export by exporting a tiny model on the PyTorch backend."""

import os
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

# Keras reads its backend at import.
import keras


def run(_request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Export it."""
    model = keras.Sequential([keras.Input((4,), batch_size=1), keras.layers.Dense(2)])
    # Its export wants a model that has been called.
    model(keras.ops.zeros((1, 4)))
    model.export(str(folder / "tiny.onnx"), format="onnx", verbose=False)
    return {"length": (folder / "tiny.onnx").stat().st_size}
