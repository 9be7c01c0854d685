"""The compiler's peers: what else quantises an ONNX file, each with the settings of its documentation.

- *onnxruntime, defaults*: ``quant_pre_process``, then ``quantize_static`` with nothing but a reader of the
  calls: QDQ, int8 activations and weights, per tensor.
- *onnxruntime, per channel*: the same with ``per_channel=True``, which its documentation advises where
  accuracy drops.
- *onnxruntime, dynamic*: ``quantize_dynamic``, which it recommends for recurrent networks and transformers;
  asked for those only.
- *NNCF* and *Olive* run in environments of their own below ``.peers``, made when first needed, by hash.

All get the same fixed-shape model and the calls of the compiler. A peer that cannot is a row with a reason.
"""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    quant_pre_process,
    quantize_dynamic,
    quantize_static,
)

from edgewright.controller.compiler.subject import Feeds, rows_of
from tests.benchmarks.peer_environments import PeerError, last_line, python_of

LONGEST_S: Final = 900
"""For one model; the largest took a tenth of that."""

STATIC: Final = "onnxruntime, defaults"
PER_CHANNEL: Final = "onnxruntime, per channel"
DYNAMIC: Final = "onnxruntime, dynamic"
CHILDREN: Final = {"NNCF": "nncf", "Olive": "olive"}


class Calls(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """One call after another, then None."""

    def __init__(self, feeds: Feeds) -> None:
        self._rows: Iterator[dict[str, NDArray[Any]]] = (
            {name: values[i, ...] for name, values in feeds.items()} for i in range(rows_of(feeds))
        )

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """The next call."""
        return next(self._rows, None)


def peers_of(model: bytes) -> tuple[str, ...]:
    """The peers that are asked for a model."""
    recurrent = any(word in model for word in (b"LSTM", b"GRU", b"LayerNormalization"))
    return (STATIC, PER_CHANNEL, *((DYNAMIC,) if recurrent else ()), *CHILDREN)


def quantise(peer: str, model: bytes, calibration: Feeds) -> bytes:
    """The peer's artifact.

    Raises:
        PeerError: it gave none.
    """
    with tempfile.TemporaryDirectory(prefix="edgewright-peer-") as folder:
        source, result = Path(folder, "model.onnx"), Path(folder, "quantised.onnx")
        source.write_bytes(model)
        if peer in CHILDREN:
            _run_child(CHILDREN[peer], source, calibration, result)
        else:
            _run_onnxruntime(peer, source, calibration, result)
        return result.read_bytes()


def _run_onnxruntime(peer: str, source: Path, calibration: Feeds, result: Path) -> None:
    prepared = source.with_name("prepared.onnx")
    try:
        if peer == DYNAMIC:
            quantize_dynamic(source, result)
            return
        # Symbolic shapes need a package that onnxruntime does not ask for; all shapes are fixed here.
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        settings = {"per_channel": True} if peer == PER_CHANNEL else {}
        quantize_static(prepared, result, Calls(calibration), **settings)
    except Exception as error:  # a peer may fail in any way; that is its result
        raise PeerError(last_line(f"{type(error).__name__}: {error}")) from error


def _run_child(name: str, source: Path, calibration: Feeds, result: Path) -> None:
    python = python_of(name)
    calls = source.with_name("calls.npz")
    with calls.open("wb") as file:
        np.savez(file, allow_pickle=False, **calibration)
    script = Path(__file__).with_name("peers") / f"quantise_with_{name}.py"
    command = [python, script, source, calls, result]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise PeerError(f"gave nothing within {LONGEST_S} s") from error
    if done.returncode or not result.is_file():
        raise PeerError(last_line(done.stderr))
