"""What every bench behind ``compiler.benches.seam`` has to do; runs on each of the four.

onnxruntime runs in this process. The others run in toolchains' environments, which ``.ci/runtimes`` makes:
without one its tests are skipped, unless ``EDGEWRIGHT_REQUIRE_TOOLCHAINS`` demands it.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgewright.controller.compiler.benches.opening import open_bench
from edgewright.controller.compiler.benches.seam import Bench
from edgewright.controller.compiler.targets import TARGETS, Target
from edgewright.controller.errors import InputShapeError, ToolchainMissingError, UnknownOperatorError
from tests.agent.tflite_model import tflite_bytes
from tests.agent.tiny_models import classify, onnx_bytes
from tests.environments import need_toolchains
from tests.fallback_models import partly_taken_onnx

CALLS: Final = 3


class Case(NamedTuple):
    """A target, its bench, and how models for it are made."""

    target: Target
    bench: Bench
    model: Callable[[], bytes]


@pytest.fixture(params=["x86_64-ort-cpu", "x86_64-openvino", "aarch64-litert", "armv7-tflite"])
def case(request: pytest.FixtureRequest) -> Case:
    """Each runtime that targets have; a visible skip where its environment is missing."""
    target = TARGETS[request.param]
    if target.environment:
        need_toolchains(target.environment)
    return Case(target, open_bench(target), tflite_bytes if target.format == "tflite" else onnx_bytes)


def _calls(count: int = CALLS) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    return {"x": np.random.default_rng(5).random((count, 1, 3, 8, 8), np.float32)}


def test_outputs_equal_the_arithmetic(case: Case) -> None:
    """Each row of the outputs is what numpy computes from that row of the calls."""
    calls = _calls()
    with case.bench as bench:
        outputs = bench.outputs(case.model(), calls)
    wanted = classify(calls["x"].mean(axis=(1, 2, 3, 4)))[:, np.newaxis]
    np.testing.assert_allclose(outputs["y"], wanted, atol=1e-4)


def test_it_names_what_ran(case: Case) -> None:
    """The runtime's name holds the target's runtime, a version in the target's range, and the provider."""
    name, version, provider = case.bench.runtime.split()
    assert (name, provider) == (case.target.runtime.name, case.target.runtime.provider)
    assert version.startswith(("1.", "2."))


def test_a_race_tells_each_artifact_apart(case: Case) -> None:
    """A race of three artifacts has three speeds, each with a time and no negative memory."""
    with case.bench as bench:
        speeds = bench.race([case.model()] * 3, _calls(1))
    assert len(speeds) == 3
    assert all(speed.latency_us > 0 and speed.memory_mb >= 0 for speed in speeds)


def test_what_is_no_model_is_refused(case: Case) -> None:
    """Bytes that no runtime can load are refused with a sentence, in a question and in a race."""
    with case.bench as bench:
        with pytest.raises(UnknownOperatorError):
            bench.outputs(b"this is no model" * 64, _calls(1))
        with pytest.raises(UnknownOperatorError):
            bench.race([case.model(), b"this is no model" * 64], _calls(1))


def test_calls_of_another_shape_are_refused(case: Case) -> None:
    """Calls that do not fit the model's input are refused as that."""
    with case.bench as bench, pytest.raises(InputShapeError):
        bench.outputs(case.model(), {"x": np.zeros((1, 1, 3, 9, 9), np.float32)})


@pytest.mark.parametrize("name", ["x86_64-ort-cpu", "x86_64-openvino"])
def test_a_scalar_input_is_fed(name: str) -> None:
    """An input without axes, as audio models have for a sampling rate, is fed row by row like any other."""
    target = TARGETS[name]
    if target.environment:
        need_toolchains(target.environment)
    shapes: dict[str, list[int]] = {"x": [3], "f": [], "y": [3]}
    *inputs, y = (
        helper.make_tensor_value_info(port, TensorProto.FLOAT, size) for port, size in shapes.items()
    )
    graph = helper.make_graph([helper.make_node("Mul", ["x", "f"], ["y"])], "scaled", inputs, [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    calls = {"x": np.ones((2, 3), np.float32), "f": np.array([2, 5], np.float32)}
    with open_bench(target) as bench:
        outputs = bench.outputs(model.SerializeToString(), calls)
        assert bench.race([model.SerializeToString()], calls)
    np.testing.assert_allclose(outputs["y"], [[2, 2, 2], [5, 5, 5]])


@pytest.mark.parametrize("name", ["aarch64-litert", "armv7-tflite"])
def test_integers_are_fed_and_read_by_their_scales(name: str) -> None:
    """A model with an int8 input answers real calls as the float model does, to the input's resolution."""
    target = TARGETS[name]
    need_toolchains(target.environment)
    calls = _calls()
    with open_bench(target) as bench:
        outputs = bench.outputs(tflite_bytes(int8_input=True), calls)
    wanted = classify(calls["x"].mean(axis=(1, 2, 3, 4)))[:, np.newaxis]
    np.testing.assert_allclose(outputs["y"], wanted, atol=20 / 255)


def test_a_silent_fallback_is_noticed() -> None:
    """A model of which OpenVINO takes only a part is refused, though onnxruntime would run all of it."""
    target = TARGETS["x86_64-openvino"]
    need_toolchains(target.environment)
    with open_bench(target) as bench, pytest.raises(UnknownOperatorError, match="elsewhere"):
        bench.outputs(partly_taken_onnx(), _calls(1))


def test_operators_that_the_delegate_leaves_are_noticed() -> None:
    """A model of which XNNPACK takes a smaller share than the target demands is refused."""
    target = TARGETS["aarch64-litert"]
    need_toolchains(target.environment)
    with open_bench(target) as bench, pytest.raises(UnknownOperatorError, match="XNNPACK"):
        bench.outputs(tflite_bytes(tail=["ZEROS_LIKE"] * 3), _calls(1))


def test_a_missing_environment_is_a_clear_error(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its toolchain a target has no bench, and the sentence names the toolchain."""
    monkeypatch.setenv("EDGEWRIGHT_TOOLCHAINS", str(tmp_path))
    with pytest.raises(ToolchainMissingError, match="tflite-runtime is not installed"):
        open_bench(TARGETS["armv7-tflite"])
