"""Proves PyTorch's ONNX exporter by exporting a tiny program."""

from pathlib import Path
from typing import Any

import torch


def run(_request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Export it."""
    program = torch.export.export(torch.nn.Linear(4, 2), (torch.zeros(1, 4),))
    torch.onnx.export(program, f=str(folder / "tiny.onnx"), dynamo=True)
    return {"length": (folder / "tiny.onnx").stat().st_size}
