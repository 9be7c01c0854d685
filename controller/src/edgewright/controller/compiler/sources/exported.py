"""Keras models and exported PyTorch programs as sources: a toolchain writes them as ONNX first.

Both run code of large frameworks, so they run in the toolchains' own environments (``toolchains``), never in
the controller's. A file of either kind can hold more than numbers: convert only what you would run.
"""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgewright.controller.errors import ToolchainFailedError
from edgewright.controller.model_tensors import InputPart

_INSIDE: Final = Path(__file__).parent / "inside"

ONNX_MAKERS: Final[dict[str, tuple[str, Path]]] = {
    ".pt2": ("torch", _INSIDE / "export_torch.py"),
    ".keras": ("keras", _INSIDE / "export_keras.py"),
}
"""Toolchain and script by the file's suffix."""


def export_onnx(path: Path, inputs: Sequence[InputPart]) -> bytes:
    """The model in a file of another framework, as ONNX.

    Args:
        path: the file.
        inputs: what model.toml says of inputs; Keras takes open sizes from there.

    Raises:
        ToolchainMissingError: the toolchain that reads it is not installed.
        ToolchainFailedError: it ended without a model.
    """
    from edgewright.controller.compiler.toolchains.running import run_in

    toolchain, script = ONNX_MAKERS[path.suffix]
    with tempfile.TemporaryDirectory(prefix="edgewright-export-") as place:
        folder = Path(place)
        source = f"source{path.suffix}"
        shutil.copyfile(path, folder / source)
        shapes = {part.name: list(part.shape) for part in inputs}
        run_in(toolchain, script, {"source": source, "to": "model.onnx", "shapes": shapes}, folder)
        try:
            return (folder / "model.onnx").read_bytes()
        except OSError as error:
            raise ToolchainFailedError(f"The toolchain {toolchain} wrote no model.") from error
