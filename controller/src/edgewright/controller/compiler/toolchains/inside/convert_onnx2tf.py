"""ONNX to TFLite by onnx2tf's direct FlatBuffer writer, ports as they are.

- onnx2tf rewrites the file that it is given; it gets one of its own.
- Inputs keep their order of axes (NCHW where the model has it): one transposition more inside, and nothing
  that a device does with a frame changes.
- Ports have plain names meanwhile, because the writer changes some characters, and get their own back.
- OpenCV is imported by one operator that decodes pictures, which no model here has.
"""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import flatbuffers
import onnx
from ai_edge_litert import schema_py_generated as schema

sys.modules.setdefault("cv2", ModuleType("cv2"))

import onnx2tf  # noqa: E402 - it imports what the line above puts in OpenCV's place


def convert(model: bytes, folder: Path) -> bytes:
    """The model as a float TFLite file.

    Args:
        model: ONNX, all sizes of its inputs fixed.
        folder: for its files.
    """
    source, written = folder / "model.onnx", folder / "converted"
    graph = onnx.load_model_from_string(model)
    # Twice the same name is an input that is an output too.
    ports = dict.fromkeys(port.name for port in (*graph.graph.input, *graph.graph.output))
    plain = {name: f"edgewright_port_{number}" for number, name in enumerate(ports)}
    _rename(graph.graph, plain)
    source.write_bytes(onnx.shape_inference.infer_shapes(graph, data_prop=True).SerializeToString())
    onnx2tf.convert(
        input_onnx_file_path=str(source),
        output_folder_path=str(written),
        keep_shape_absolutely_input_names=list(plain.values()),
        not_use_onnxsim=True,
        copy_onnx_input_output_names_to_tflite=True,
        output_signaturedefs=True,
        non_verbose=True,
        verbosity="error",
    )
    names = {new: name for name, new in plain.items()}
    return _named((written / "model_float32.tflite").read_bytes(), names)


def _rename(graph: Any, names: dict[str, str]) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for used in (node.input, node.output):
            used[:] = [names.get(name, name) for name in used]
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else [*attribute.graphs]:
                _rename(inner, names)


def _named(model: bytes, names: dict[str, str]) -> bytes:
    """The file with ports' own names, in its tensors and in its signatures."""
    content = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(model)))
    graph = content.subgraphs[0]
    ports = [graph.tensors[number] for number in (*graph.inputs, *graph.outputs)]
    for signature in content.signatureDefs or []:
        ports += [*signature.inputs, *signature.outputs]
    # An input that is an output too comes twice.
    for port in {id(port): port for port in ports}.values():
        text = port.name.decode() if isinstance(port.name, bytes) else port.name
        port.name = names.get(text, text)
    builder = flatbuffers.Builder(len(model))
    builder.Finish(content.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def run(_request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """``source.onnx`` in, ``float.tflite`` out."""
    (folder / "float.tflite").write_bytes(convert((folder / "source.onnx").read_bytes(), folder))
    return {}
