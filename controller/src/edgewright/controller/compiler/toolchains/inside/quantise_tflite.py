"""Quantised forms of a float TFLite file by AI Edge Quantizer.

Its own calibration averages each tensor's extremes over the examples, so that rare large values, which are
what decides in a logit, are cut off. Here a range is the smallest and the largest value that was seen.
"""

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer import quantizer, recipe
from ai_edge_quantizer.calibrator import Calibrator
from ai_edge_quantizer.utils.qsv_utils import min_max_update

SIGNATURE = "serving_default"
RECIPES = {
    "static": recipe.static_wi8_ai8,
    "dynamic": recipe.dynamic_wi8_afp32,
    "weights": recipe.weight_only_wi8_afp32,
    "int16": recipe.static_wi8_ai16,
}
"""int8 weights per channel in all of them; activations int8, float with a scale of each run, float, int16."""


def quantise(model: bytes, form: str, examples: list[dict[str, Any]]) -> bytes:
    """One form of the model.

    Args:
        model: a float TFLite file.
        form: a key of ``RECIPES``.
        examples: inputs by name; used where activations are quantised.
    """
    model, signature, names = signed(model)
    worker = quantizer.Quantizer(bytearray(model))
    worker.load_quantization_recipe(RECIPES[form]())
    if not worker.need_calibration:
        return bytes(worker.quantize(enable_progress_report=False).quantized_model)
    calibrator = Calibrator(model, num_threads=1, qsv_update_func=min_max_update)
    named = [{names.get(name, name): values for name, values in each.items()} for each in examples]
    calibrator.calibrate({signature: named}, worker._recipe_manager)  # noqa: SLF001 - its own calibrate averages
    ranges = calibrator.get_model_qsvs()
    return bytes(worker.quantize(ranges, enable_progress_report=False).quantized_model)


def signed(model: bytes) -> tuple[bytes, str, dict[str, str]]:
    """The file with a signature, which is how examples find their inputs; older converters wrote none.

    Returns:
        The file, the signature's key, and the signature's names of inputs by those of their tensors.
    """
    content = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(model)))
    graph = content.subgraphs[0]
    if not content.signatureDefs:
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = SIGNATURE, 0
        signature.inputs = [_port(graph, number) for number in graph.inputs]
        signature.outputs = [_port(graph, number) for number in graph.outputs]
        content.signatureDefs = [signature]
        builder = flatbuffers.Builder(len(model))
        builder.Finish(content.Pack(builder), b"TFL3")
        return signed(bytes(builder.Output()))
    signature = content.signatureDefs[0]
    names = {_text(graph.tensors[port.tensorIndex].name): _text(port.name) for port in signature.inputs}
    return model, _text(signature.signatureKey), names


def _port(graph: Any, number: int) -> Any:
    port = schema.TensorMapT()
    port.name, port.tensorIndex = graph.tensors[number].name, number
    return port


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def run(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """``form``, names of the ``feeds`` and ``float.tflite`` in, ``quantised.tflite`` out."""
    with np.load(folder / "feeds.npz", allow_pickle=False) as held:
        feeds = {name: held[str(number)] for number, name in enumerate(request["feeds"])}
    rows = len(next(iter(feeds.values())))
    examples = [{name: np.asarray(values[row]) for name, values in feeds.items()} for row in range(rows)]
    model = (folder / "float.tflite").read_bytes()
    (folder / "quantised.tflite").write_bytes(quantise(model, request["form"], examples))
    return {}
