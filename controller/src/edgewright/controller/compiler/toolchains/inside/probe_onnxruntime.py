"""Proves onnxruntime with OpenVINO by running a tiny model there, and nowhere else.

A plain onnxruntime that was installed over it takes its place without a word, and runs on the CPU provider.
"""

from pathlib import Path
from typing import Any

import numpy as np
from bench_onnxruntime import Session


def run(_request: dict[str, Any], _folder: Path) -> dict[str, Any]:
    """Make a session and run it."""
    provider = "OpenVINOExecutionProvider"
    session = Session(Path(__file__).with_name("tiny.onnx").read_bytes(), provider)
    if set(session.placement) != {provider}:
        raise RuntimeError(f"a tiny model ran on {session.placement}, not on {provider}")
    return {"value": float(session.call({"x": np.zeros((1, 4), np.float32)})["y"].ravel()[0])}
