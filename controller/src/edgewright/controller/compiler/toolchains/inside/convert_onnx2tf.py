"""ONNX to TFLite by onnx2tf's direct FlatBuffer writer, ports as they are.

- onnx2tf rewrites the file that it is given; it gets one of its own.
- Inputs keep their order of axes (NCHW where the model has it): one transposition more inside, and nothing
  that a device does with a frame changes.
- Open sizes are pinned before: with an open batch axis the file computes its paddings at run time, and a
  delegate leaves those to the built-in kernels.
- OpenCV is imported by one operator that decodes pictures, which no model here has.
"""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx

sys.modules.setdefault("cv2", ModuleType("cv2"))

import onnx2tf  # noqa: E402 - it imports what the line above puts in OpenCV's place


def convert(model: bytes, shapes: dict[str, list[int]], folder: Path) -> bytes:
    """The model as a float TFLite file.

    Args:
        model: ONNX.
        shapes: sizes of its inputs, all of them fixed.
        folder: for its files.
    """
    source, written = folder / "model.onnx", folder / "converted"
    source.write_bytes(_pinned(model, shapes).SerializeToString())
    onnx2tf.convert(
        input_onnx_file_path=str(source),
        output_folder_path=str(written),
        keep_shape_absolutely_input_names=list(shapes),
        not_use_onnxsim=True,
        copy_onnx_input_output_names_to_tflite=True,
        output_signaturedefs=True,
        non_verbose=True,
        verbosity="error",
    )
    return (written / "model_float32.tflite").read_bytes()


def _pinned(model: bytes, shapes: dict[str, list[int]]) -> Any:
    """The model with the given sizes and with every other size worked out from them."""
    graph = onnx.load_model_from_string(model)
    for port in graph.graph.input:
        for size, fixed in zip(port.type.tensor_type.shape.dim, shapes.get(port.name, []), strict=False):
            size.dim_value = fixed
    del graph.graph.value_info[:]
    for port in graph.graph.output:
        port.type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(graph, data_prop=True)


def run(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """``shapes`` and ``source.onnx`` in, ``float.tflite`` out."""
    (folder / "float.tflite").write_bytes(
        convert((folder / "source.onnx").read_bytes(), request["shapes"], folder)
    )
    return {}
