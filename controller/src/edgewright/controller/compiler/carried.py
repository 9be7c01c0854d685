"""The licence that a model's file carries with it, in the metadata that its exporter wrote.

ONNX files are read. A TFLite file's metadata is a table of its own that hardly anybody fills, and exported
programs carry none, so there what ``model.toml`` states is all there is.
"""

from pathlib import Path

from edgewright.controller.compiler.graph import read_metadata
from edgewright.controller.compiler.licences import METADATA_KEYS
from edgewright.controller.errors import NotAModelError


def carried_licence(path: Path) -> str:
    """What the file says of its licence, as it was written; empty where it says nothing.

    What is no ONNX file says nothing here; that it is no model, whoever reads it as one tells.
    """
    if path.suffix != ".onnx":
        return ""
    try:
        metadata = read_metadata(path.read_bytes())
    except (NotAModelError, OSError):
        return ""
    return next((metadata[key] for key in METADATA_KEYS if metadata.get(key)), "")
