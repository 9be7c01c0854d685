"""From trained weights to the committed ONNX file: stable names, no paths, honest confidences.

The graph's values are named after what they are (`layer1` .. `layer7`, `embedding`, `logits`), so that a
rebuild and a patch find the same names in every version, and nothing of the machine that trained it stays
in the file.
"""

import io
from pathlib import Path

import numpy as np
import onnx
import torch
from network import GarmentNet

OPSET = 17
TEMPERATURES = np.geomspace(0.3, 3.0, 91)


def bake_temperature(net: GarmentNet, logits: torch.Tensor, classes: torch.Tensor) -> float:
    """Divide the head by the temperature of least log loss on held-out logits (Guo et al., ICML 2017)."""
    losses = [float(torch.nn.functional.cross_entropy(logits / t, classes)) for t in TEMPERATURES]
    temperature = float(TEMPERATURES[int(np.argmin(losses))])
    with torch.no_grad():
        net.head.weight /= temperature
        net.head.bias /= temperature
    return temperature


def export(net: GarmentNet, path: Path, image_px: int) -> None:
    """Write the network as ONNX with a free batch size."""
    buffer = io.BytesIO()
    torch.onnx.export(
        net.eval(),
        (torch.zeros(1, 3, image_px, image_px),),
        buffer,
        dynamo=False,
        input_names=["image"],
        output_names=["logits"],
        opset_version=OPSET,
        dynamic_axes={"image": {0: "n"}, "logits": {0: "n"}},
    )
    model = onnx.load_model_from_string(buffer.getvalue())
    _rename(model)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _rename(model: onnx.ModelProto) -> None:
    """Name values and weights by their place in the network; drop what only describes the export."""
    names: dict[str, str] = {}
    layer = 0
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            layer += 1
            stem = "head" if node.op_type == "Gemm" else f"layer{layer}"
            names |= {node.input[1]: f"{stem}.weight", node.input[2]: f"{stem}.bias"}
        names |= {output: _value_name(node.op_type, layer) for output in node.output if output != "logits"}
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        node.name = node.output[0]
        node.doc_string = ""
    for stored in model.graph.initializer:
        stored.name = names.get(stored.name, stored.name)
    del model.graph.value_info[:], model.metadata_props[:]
    model.graph.name = "garment-packing"
    model.producer_name = model.producer_version = model.doc_string = ""


def _value_name(operator: str, layer: int) -> str:
    fixed = {"GlobalAveragePool": "pooled", "Flatten": "embedding", "Conv": f"layer{layer}_sum"}
    return fixed.get(operator, f"layer{layer}")
