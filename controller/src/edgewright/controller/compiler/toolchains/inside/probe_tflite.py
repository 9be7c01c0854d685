"""Proves LiteRT or tflite-runtime by running a tiny model: with a wrong numpy the import alone succeeds."""

from pathlib import Path
from typing import Any

from bench_tflite import smallest_run


def run(_request: dict[str, Any], _folder: Path) -> dict[str, Any]:
    """Make an interpreter and run it."""
    return {"value": smallest_run(Path(__file__).with_name("tiny.tflite").read_bytes())}
