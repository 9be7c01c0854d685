"""A model for the line that ends in a Softmax: the device has its own."""

from pathlib import Path

import msgspec
import onnx
import pytest
from onnx import TensorProto, helper

from edgewright.controller.blobs import BlobStore
from edgewright.controller.compiler.build import build_version
from edgewright.controller.compiler.known import known_build
from edgewright.controller.compiler.protocol import BuildRequest, BuildResult
from edgewright.controller.compiler.sources.softmax import PROBABILITIES, TAKEN_OFF, take_off_softmax
from edgewright.wire.manifest import Manifest, decode_manifest
from tests.controller.small_model import fitted_network, spec, write_folder

SPEC = msgspec.structs.replace(spec(), targets=("x86_64-ort-cpu-fp32",))


def _ending_in(nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    """The small network, whose logits ``raw`` other operators turn into ``logits``."""
    model = onnx.load_model_from_string(fitted_network(SPEC.model.labels))
    model.graph.node[-1].output[0] = "raw"
    model.graph.node.extend(nodes)
    return model


def _build(folder: Path, model: onnx.ModelProto) -> tuple[BuildResult, Manifest, str]:
    onnx.save(model, write_folder(folder / "model", SPEC) / SPEC.model.file)
    blobs = BlobStore(folder / "blobs")
    result = build_version(_request(folder))
    card = blobs.read(result.card_sha256).decode()
    return result, decode_manifest(blobs.read(result.built[0].sha256)), card


def _request(folder: Path) -> BuildRequest:
    model, blobs, cache = (str(folder / name) for name in ("model", "blobs", "compiled"))
    return BuildRequest(folder=model, blobs=blobs, version=1, release_counter=1, cache=cache)


def test_a_final_softmax_is_taken_off(tmp_path: Path) -> None:
    """The artifact, its golden vectors and its temperature are those of the network exported without it."""
    bare = _build(tmp_path / "bare", onnx.load_model_from_string(fitted_network(SPEC.model.labels)))
    softmax = helper.make_node("Softmax", ["raw"], ["logits"], axis=1)
    result, manifest, card = _build(tmp_path / "softmax", _ending_in([softmax]))
    assert TAKEN_OFF in card
    assert not result.warnings
    assert manifest.artifact == bare[1].artifact
    assert manifest.golden == bare[1].golden
    assert manifest.temperature == bare[1].temperature


def test_probabilities_of_another_making_are_told(tmp_path: Path) -> None:
    """Where no Softmax can be taken off, a warning says so before a rollout, from the cache too."""
    nodes = [
        helper.make_node("Softmax", ["raw"], ["chances"], axis=-1),
        helper.make_node("Relu", ["chances"], ["logits"]),
    ]
    result, _, card = _build(tmp_path, _ending_in(nodes))
    assert result.warnings == (PROBABILITIES,)
    assert PROBABILITIES in card
    known = known_build(_request(tmp_path))
    assert known is not None
    assert known.warnings == (PROBABILITIES,)


@pytest.mark.parametrize(
    ("opset", "axis", "is_off"), [(17, None, True), (17, 0, False), (11, None, True), (11, 0, False)]
)
def test_only_a_softmax_over_the_classes_goes(opset: int, axis: int | None, is_off: bool) -> None:
    """What normalises over the calls is another operator, whatever the operator set's default axis is."""
    model = _ending_in([helper.make_node("Softmax", ["raw"], ["logits"], axis=axis)])
    model.opset_import[0].version = opset
    assert take_off_softmax(model, "logits") == is_off
    assert ("Softmax" in {node.op_type for node in model.graph.node}) != is_off


def test_what_others_read_stays() -> None:
    """Probabilities that another operator reads stay; logits that another output shows keep their name."""
    softmax = helper.make_node("Softmax", ["raw"], ["logits"])
    shared = _ending_in([softmax, helper.make_node("ArgMax", ["logits"], ["best"])])
    assert not take_off_softmax(shared, "logits")
    both = _ending_in([softmax])
    both.graph.output.append(helper.make_tensor_value_info("raw", TensorProto.FLOAT, ["n", 4]))
    assert take_off_softmax(both, "logits")
    onnx.checker.check_model(both)
    outputs = {value.name for value in both.graph.output}
    assert outputs == {"logits", "embedding", "raw"}


def test_a_cast_after_it_stays() -> None:
    """A network in float16 ends in a Cast after its Softmax: the Softmax goes, the Cast stays."""
    nodes = [
        helper.make_node("Cast", ["raw"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Softmax", ["half"], ["chances"]),
        helper.make_node("Cast", ["chances"], ["logits"], to=TensorProto.FLOAT),
    ]
    model = _ending_in(nodes)
    assert take_off_softmax(model, "logits")
    onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node][-2:] == ["Cast", "Cast"]
