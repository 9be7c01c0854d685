"""An exported PyTorch program (.pt2) as ONNX, in the environment of the toolchain ``torch``."""

from pathlib import Path
from typing import Any

import torch


def run(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write ``request["to"]`` from ``request["source"]``; both are names in ``folder``, or absolute."""
    program = torch.export.load(folder / request["source"])
    converted = torch.onnx.export(program, dynamo=True, verbose=False)
    converted.save(folder / request["to"], external_data=False)
    return {"torch": torch.__version__}
