"""Proves onnx2tf by converting a tiny model."""

from pathlib import Path
from typing import Any

from convert_onnx2tf import convert


def run(_request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Convert it."""
    model = Path(__file__).with_name("tiny.onnx").read_bytes()
    return {"length": len(convert(model, folder))}
