"""ONNX graphs as bytes: reading, canonical form, unknown operators, fingerprints.

Canonical form: no documentation strings, no metadata (exporters leave absolute source paths there), no
recorded intermediate shapes, a fixed producer, and protobuf's deterministic serialisation. Two exports of the
same network therefore give the same bytes, and so the same digest.

A *fingerprint* of a tensor covers everything that determines its values: the operators, attributes and
weights between the model's input and it. Equal fingerprints in two models mean equal tensors for equal
input, whatever the tensors are called.
"""

import hashlib
from typing import Any, Final

import onnx

from edgewright.controller.errors import NotAModelError, UnknownOperatorError

PRODUCER: Final = "edgewright"
_RUNTIME_DOMAINS: Final = frozenset({"com.microsoft"})
"""Operators that onnxruntime itself brings; ``onnx`` has no list of them, so loading decides."""


def parse_graph(data: bytes) -> Any:
    """The ``onnx.ModelProto`` in the bytes.

    Raises:
        NotAModelError: they are none, or its weights lie in another file.
    """
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's DecodeError, whose package has no types
        raise NotAModelError("The file is no ONNX model.") from error
    # Protobuf reads many a foreign file as a message with a few unknown fields.
    if not model.ir_version or not model.opset_import or not model.graph.node or not model.graph.output:
        raise NotAModelError("The file holds no ONNX graph.")
    external = onnx.TensorProto.DataLocation.EXTERNAL
    if any(weight.data_location == external for weight in model.graph.initializer):
        raise NotAModelError("The model's weights lie in another file; export them into the ONNX file.")
    return model


def verify_operators(data: bytes) -> None:
    """Check that every operator belongs to ONNX or to the runtime.

    Raises:
        NotAModelError: the bytes are no model.
        UnknownOperatorError: some are unknown; the sentence names them.
    """
    model = parse_graph(data)
    own = {(function.domain, function.name) for function in model.functions}
    unknown = {
        f"{node.domain}.{node.op_type}".lstrip(".")
        for node in model.graph.node
        if not onnx.defs.has(node.op_type, node.domain)
        and node.domain not in _RUNTIME_DOMAINS
        and (node.domain, node.op_type) not in own
    }
    if unknown:
        raise UnknownOperatorError(f"The model uses unknown operators: {', '.join(sorted(unknown))}.")


def canonical_graph(data: bytes) -> bytes:
    """The canonical form of a model.

    Raises:
        NotAModelError: the bytes are no model.
    """
    model = parse_graph(data)
    model.ClearField("metadata_props")
    model.ClearField("producer_version")
    model.ClearField("model_version")
    model.ClearField("domain")
    model.ClearField("doc_string")
    model.producer_name = PRODUCER
    graph = model.graph
    graph.name = PRODUCER
    graph.ClearField("value_info")
    graph.ClearField("metadata_props")
    graph.ClearField("doc_string")
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    for node in graph.node:
        for attribute in node.attribute:
            attribute.ClearField("doc_string")
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


def read_metadata(data: bytes) -> dict[str, str]:
    """What an exporter wrote beside the graph; keys in small letters. The canonical form has none of it.

    Raises:
        NotAModelError: the bytes are no model.
    """
    return {item.key.lower(): item.value for item in parse_graph(data).metadata_props}


def fingerprints(data: bytes) -> dict[str, str]:
    """Fingerprint of each tensor of the main graph, by the tensor's name.

    Raises:
        NotAModelError: the bytes are no model.
    """
    model = parse_graph(data)
    graph = model.graph
    opsets = sorted(f"{item.domain}={item.version}" for item in model.opset_import)
    known: dict[str, str] = {"": ""}
    for value in graph.input:
        known[value.name] = _digest("input", value.type.SerializeToString(deterministic=True).hex())
    for weight in graph.initializer:
        array = onnx.numpy_helper.to_array(weight)
        known[weight.name] = _digest("weight", str(array.dtype), str(array.shape), array.tobytes().hex())
    # ONNX requires nodes in topological order, so one pass is enough.
    for node in graph.node:
        attributes = sorted(item.SerializeToString(deterministic=True).hex() for item in node.attribute)
        inputs = [known.get(name, name) for name in node.input]
        if any(item.HasField("g") or item.graphs for item in node.attribute):
            # A subgraph reads outer tensors by name, so it may depend on all that came before.
            inputs += sorted(known.values())
        for i, name in enumerate(node.output):
            known[name] = _digest("node", *opsets, node.domain, node.op_type, str(i), *attributes, *inputs)
    del known[""]
    return known


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
