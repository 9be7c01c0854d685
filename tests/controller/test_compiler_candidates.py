"""Candidates of small graphs: which follow on which, what they hold, and that they stay the same."""

import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgewright.controller.compiler.attribution import explain, find_break
from edgewright.controller.compiler.benches.ort_bench import OrtBench
from edgewright.controller.compiler.calibration import Calibration
from edgewright.controller.compiler.candidate import Candidate
from edgewright.controller.compiler.candidates import CLIPPED, NARROW, WIDER, onnx_candidates
from edgewright.controller.compiler.clipping import inner_range
from edgewright.controller.compiler.gates import Verdict, judge
from edgewright.controller.compiler.graphedit import float16_weights, int8_weights, is_quantised
from edgewright.controller.compiler.measure import compare_outputs, measure, relative_error
from edgewright.controller.compiler.mixed import find_fewest
from edgewright.controller.compiler.ort import Session, halve
from edgewright.controller.compiler.subject import Feeds, Outputs, Port, Subject
from edgewright.controller.compiler.targets import find_target
from edgewright.controller.compiler.trials import try_candidates
from edgewright.controller.errors import UnknownOperatorError
from edgewright.controller.model_toml import GatesPart
from tests.controller.compiler_graphs import UNTIMED, graph, matching_subject

X86 = find_target("x86_64-ort-cpu")
FAILED = Verdict("", passed=False, length=1, sentences=(), failures=(), numbers={"logit_error": 0.5})


def untimed(**changes: object) -> GatesPart:
    """Gates that do not judge time."""
    return GatesPart(**{"latency_ratio": 100.0, **changes})  # type: ignore[arg-type]  # any field, any value


def chain_subject(outlier: float = 1.0, gates: GatesPart = UNTIMED, depth: int = 5) -> Subject:
    """Layers of 64 channels; one channel after the second is ``outlier`` times as large as the others.

    The third layer divides it back, so fp32 does not mind. int8 gives that channel all its 256 steps.
    """
    rng = np.random.default_rng(4)
    nodes, weights, value = [], {}, "x"
    for i in range(depth):
        rows, columns = (32 if i == 0 else 64), (4 if i == depth - 1 else 64)
        weights[f"w{i}"] = rng.normal(0, np.sqrt(2 / rows), (rows, columns)).astype(np.float32)
        weights[f"b{i}"] = rng.normal(0, 0.1, columns).astype(np.float32)
        end = "logits" if i == depth - 1 else f"g{i}"
        nodes.append(helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], [end], name=f"layer{i}"))
        if i < depth - 1:
            nodes.append(helper.make_node("Relu", [end], [f"r{i}"], name=f"relu{i}"))
            value = f"r{i}"
    weights["w1"][:, 7] *= outlier
    weights["b1"][7] *= outlier
    weights["w2"][7] /= outlier
    ports = Port("x", "float32", (1, 32)), Port("logits", "float32", (1, 4))
    x = rng.normal(0, 1, (160, 1, 32)).astype(np.float32)
    return Subject(
        name="chain",
        model=graph(nodes, weights, ports[:1], ports[1:]),
        format="onnx",
        inputs=ports[:1],
        outputs=ports[1:],
        calibration={"x": x[:80]},
        holdout={"x": x[80:]},
        gates=gates,
        decision="logits",
        labels=("a", "b", "c", "d"),
    )


def _made(subject: Subject, *failing: str) -> list[Candidate]:
    """All candidates, where each fails the named gates."""
    verdicts: list[Verdict] = []
    found = []
    for candidate in onnx_candidates(subject, X86, Calibration(subject, {}), lambda: verdicts):
        found.append(candidate)
        verdicts.append(
            replace(FAILED, name=candidate.name, precision=candidate.precision, failed_gates=failing)
        )
    return found


def _tried(subject: Subject) -> tuple[dict[str, Candidate], list[Verdict]]:
    """What a trial tries until one passes, and all verdicts."""
    bench = OrtBench("CPUExecutionProvider")
    reference = bench.outputs(subject.model, subject.holdout)
    verdicts: list[Verdict] = []
    tried = {}
    for candidate in onnx_candidates(
        subject, X86, Calibration(subject, {}), lambda: verdicts, verdicts.append
    ):
        tried[candidate.name] = candidate
        verdicts.append(judge(measure(subject, X86, reference, candidate, bench)[1], subject.gates))
    return tried, verdicts


def test_nothing_is_made_after_one_that_passed() -> None:
    """Where int8 passes it is the only candidate, and neither other ranges nor a search were worked on."""
    subject = chain_subject()
    calibration = Calibration(subject, {})
    passed = [replace(FAILED, name="int8", passed=True)]
    names = [candidate.name for candidate in onnx_candidates(subject, X86, calibration, lambda: passed)]
    assert names == ["int8"]
    assert "clipped" not in vars(calibration)


def test_a_slow_candidate_is_followed_by_faster_ones() -> None:
    """After forms that were only too slow come fewer operators and stored weights, no other ranges."""
    subject = chain_subject(gates=GatesPart(precisions=("int8", "mixed", "fp32")))
    names = [candidate.name for candidate in _made(subject, "latency")]
    assert names == ["int8", NARROW, "int8, dynamic", "mixed, int8 weights", "fp32"]


def test_a_wrong_candidate_is_followed_by_closer_ones() -> None:
    """After forms that were wrong come clipped ranges and a search; fp32 is last."""
    subject = chain_subject(
        3000.0, GatesPart(top1_agreement=0.95, precisions=("int8", "mixed", "fp32")), depth=8
    )
    names = [candidate.name for candidate in _made(subject, "logit error")]
    assert names == ["int8", NARROW, CLIPPED, "int8, dynamic", "mixed", WIDER, "mixed, int8 weights", "fp32"]


def test_precisions_that_are_not_allowed_are_not_made() -> None:
    """Only what both the target and model.toml allow is made."""
    subject = chain_subject(gates=GatesPart(precisions=("fp16", "fp32")))
    assert [candidate.precision for candidate in _made(subject, "latency")] == ["fp16", "fp32"]


def test_inherited_ranges_come_first() -> None:
    """Ranges of the parent are tried before those observed anew, and are in the artifact's table."""
    subject = chain_subject()
    own = Calibration(subject, {})
    wide = {name: (2 * low, 2 * high) for name, (low, high) in own.table(own.observed).items()}
    calibration = Calibration(subject, wide)
    verdicts: list[Verdict] = []
    made = onnx_candidates(subject, X86, calibration, lambda: verdicts)
    assert dict(next(made).ranges) == wide
    assert next(made).name == "int8, calibrated anew"


def test_the_search_leaves_the_sensitive_layers_in_float() -> None:
    """One channel of 3,000 times the others' size breaks int8; the search finds the layers around it."""
    subject = chain_subject(3000.0, untimed(top1_agreement=0.95))
    tried, verdicts = _tried(subject)
    assert not next(verdict for verdict in verdicts if verdict.name == "int8").passed
    mixed = tried["mixed"]
    assert {"layer1", "layer2"} <= set(mixed.left_alone)
    assert len(mixed.left_alone) <= 3
    assert is_quantised(mixed.model)
    assert verdicts[-1].passed
    assert verdicts[-1].name == "mixed"


def test_the_layer_that_broke_is_named() -> None:
    """The report of a candidate that fails says at which layer the error rises."""
    subject = chain_subject(3000.0)
    int8 = _made(subject, "logit error")[0]
    assert "'layer2' raises the relative error" in find_break(subject, int8)
    verdict = replace(FAILED, failed_gates=("logit error",))
    assert explain(verdict, subject, int8).broken_at == find_break(subject, int8)
    slow = replace(FAILED, failed_gates=("latency",))
    assert explain(slow, subject, int8) is slow


def test_weights_of_few_bits_are_calculated_in_float() -> None:
    """Stored as int8 a model has under a third of its size, as float16 under 0.6, and the same decisions."""
    subject = matching_subject(chain_subject().model)
    feeds = chain_subject().holdout
    fp32 = Session(subject.model).run_calls(feeds)["logits"]
    for edit, size, error in ((int8_weights, 0.33, 0.03), (float16_weights, 0.6, 0.002)):
        smaller = edit(subject.model)
        assert len(smaller) < size * len(subject.model)
        assert relative_error(fp32, Session(smaller).run_calls(feeds)["logits"]) < error


def test_weights_inside_of_branches_are_stored_too() -> None:
    """Weights of both branches of an If, as initialisers or constants, are stored as int8."""
    rng = np.random.default_rng(2)
    branches = {}
    for name in ("then", "else"):
        weight = helper.make_tensor(
            "w", TensorProto.FLOAT, (64, 64), rng.normal(0, 1, 64 * 64).astype(np.float32)
        )
        node = helper.make_node("MatMul", ["x", f"{name}.w"], [f"{name}.y"])
        output = helper.make_tensor_value_info(f"{name}.y", TensorProto.FLOAT, (1, 64))
        constant = helper.make_node("Constant", [], [f"{name}.w"], value=weight)
        branches[f"{name}_branch"] = helper.make_graph([constant, node], name, [], [output])
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["above"]),
        helper.make_node("If", ["above"], ["y"], **branches),
    ]
    ports = Port("x", "float32", (1, 64)), Port("y", "float32", (1, 64))
    model = graph(nodes, {"zero": np.float32(0)}, ports[:1], ports[1:])
    feeds = {"x": rng.normal(0, 1, (6, 1, 64)).astype(np.float32)}
    smaller = int8_weights(model)
    assert len(smaller) < 0.4 * len(model)
    fp32, ours = (Session(one).run_calls(feeds)["y"] for one in (model, smaller))
    assert relative_error(fp32, ours) < 0.02


def test_a_model_that_came_quantised_ships_as_it_is() -> None:
    """Its one candidate is the file itself; a target without int8 is told why there is none."""
    subject = chain_subject()
    quantised = replace(subject, model=_made(subject, "latency")[0].model)
    (only,) = _made(quantised, "latency")
    assert (only.name, only.precision) == ("int8, as it came", "int8")
    assert only.model == quantised.model
    left: list[Verdict] = []
    target = find_target("x86_64-ort-cpu-fp32")
    assert not list(onnx_candidates(quantised, target, Calibration(quantised, {}), lambda: left, left.append))
    assert "came quantised" in left[0].failures[0]


def test_a_graph_without_anything_to_quantise_ships_as_fp32() -> None:
    """What cannot be made is in the report with its reason, and fp32 passes."""
    ports = Port("x", "float32", (1, 8)), Port("y", "float32", (1, 8))
    subject = replace(
        chain_subject(),
        model=graph([helper.make_node("Erf", ["x"], ["y"])], {}, ports[:1], ports[1:]),
        inputs=ports[:1],
        outputs=ports[1:],
        calibration={"x": np.ones((4, 1, 8), np.float32)},
        holdout={"x": np.ones((4, 1, 8), np.float32)},
        decision="",
        labels=(),
    )
    tried, verdicts = _tried(subject)
    assert list(tried) == ["fp32"]
    assert verdicts[-1].passed
    assert all("could not be made" in verdict.failures[0] for verdict in verdicts[:-1])


def test_several_inputs_of_several_types_are_calibrated() -> None:
    """A model with a table of 40 rows, looked up by whole numbers, beside a float input becomes int8."""
    rng = np.random.default_rng(6)
    nodes = [
        helper.make_node("Cast", ["which"], ["row"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "row"], ["found"]),
        helper.make_node("Concat", ["found", "x"], ["both"], axis=1),
        helper.make_node("MatMul", ["both", "w"], ["y"], name="product"),
    ]
    weights = {
        "table": rng.normal(0, 1, (40, 48)).astype(np.float32),
        "w": rng.normal(0, 0.1, (64, 24)).astype(np.float32),
    }
    inputs = Port("which", "float32", (1,)), Port("x", "float32", (1, 16))
    outputs = (Port("y", "float32", (1, 24)),)
    feeds = {
        "which": rng.integers(0, 40, (90, 1)).astype(np.float32),
        "x": rng.normal(0, 1, (90, 1, 16)).astype(np.float32),
    }
    subject = replace(
        chain_subject(),
        model=graph(nodes, weights, inputs, outputs),
        inputs=inputs,
        outputs=outputs,
        calibration=feeds,
        holdout=feeds,
        decision="",
        labels=(),
    )
    tried, verdicts = _tried(subject)
    assert verdicts[-1].passed
    assert is_quantised(tried[verdicts[-1].name].model)


def test_an_outlier_is_clipped_and_zero_stays() -> None:
    """Of ten thousand values around zero and one at a hundred the range keeps the many, and zero."""
    values = np.append(np.random.default_rng(0).normal(0, 1, 10_000), 100.0)
    counts, edges = np.histogram(values, 2048)
    low, high = inner_range(counts.astype(float), (float(edges[0]), float(edges[-1])))
    assert low < 0 < high < 10
    above = np.bincount([0, 2000, 2047], minlength=2048).astype(float)
    assert inner_range(above, (1.0, 6.0)) == (1.0, 6.0)


@pytest.mark.parametrize("wanted", [1, 2, 5, 8, 20])
def test_the_fewest_is_found_within_the_budget(wanted: int) -> None:
    """Doubling and halving find the smallest number that is enough, in at most twelve attempts."""
    attempts = []

    def is_enough(count: int) -> bool:
        attempts.append(count)
        return count >= wanted

    assert find_fewest(is_enough, 40) == (wanted, False)
    assert len(attempts) == len(set(attempts)) <= 12


def test_a_search_ends_without_a_model() -> None:
    """Where no number is enough there is none, and a search without time says that time ended it."""
    assert find_fewest(lambda _: False, 40) == (0, False)
    assert find_fewest(lambda _: True, 40, longest_s=-1.0) == (0, True)


def _digests() -> dict[str, str]:
    """Of all candidates of a graph that needs all of them."""
    subject = chain_subject(3000.0)
    return {one.name: hashlib.sha256(one.model).hexdigest() for one in _made(subject, "logit error")}


def test_two_processes_make_the_same_bytes() -> None:
    """Every form, the searched one too, is the same in another process with another hash seed."""
    code = "from tests.controller.test_compiler_candidates import _digests; print(sorted(_digests().items()))"
    other = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
        env={"PYTHONHASHSEED": "7", "PATH": "/usr/bin:/bin"},
    )
    assert other.stdout.strip() == str(sorted(_digests().items()))


def test_the_search_does_not_see_the_holdout() -> None:
    """Another holdout changes no byte of any candidate."""
    subject = chain_subject(3000.0)
    other = replace(subject, holdout={"x": subject.holdout["x"][:3] * 5})
    first, second = (_made(one, "logit error") for one in (subject, other))
    assert [one.model for one in first] == [one.model for one in second]


class OlderRuntime(OrtBench):
    """A runtime that has no operators of quantised graphs yet."""

    def outputs(self, artifact: bytes, feeds: Feeds) -> Outputs:
        """See ``Bench``."""
        if is_quantised(artifact):
            raise UnknownOperatorError("onnxruntime cannot load the model: no QuantizeLinear(13).")
        return super().outputs(artifact, feeds)


def test_an_artifact_that_the_runtime_cannot_load_is_refused() -> None:
    """On a runtime that int8 breaks on, each such form has a verdict, and one that runs there ships."""
    subject = chain_subject(gates=untimed(top1_agreement=0.9))
    bench = OlderRuntime("CPUExecutionProvider")
    reference = bench.outputs(subject.model, subject.holdout)
    trial = try_candidates(subject, X86, reference, Calibration(subject, {}), bench)
    assert trial.candidate.name == "mixed, int8 weights"
    assert "no QuantizeLinear(13)" in trial.verdicts[0].failures[0]
    assert trial.verdicts[0].failed_gates == ("runs",)


def test_float16_arithmetic_keeps_the_ports() -> None:
    """A halved model takes and gives float32, has about half the size, and is close."""
    subject = chain_subject()
    halved = halve(subject.model)
    assert len(halved) < 0.6 * len(subject.model)
    fp32, ours = (Session(one).run_calls(subject.holdout)["logits"] for one in (subject.model, halved))
    assert ours.dtype == np.float32
    assert relative_error(fp32, ours) < 0.01


def test_clipped_ranges_are_closer_where_outliers_stretch_them() -> None:
    """With a heavy tail in the calibration data, clipped ranges lose less than observed ones."""
    subject = chain_subject()
    x = subject.calibration["x"].copy()
    x[3] *= 60
    stretched = replace(subject, calibration={"x": x})
    made = {one.name: one.model for one in _made(stretched, "logit error")}
    fp32 = Session(subject.model).run_calls(subject.holdout)
    errors = {
        name: compare_outputs(fp32, Session(made[name]).run_calls(subject.holdout), subject).errors["logits"]
        for name in ("int8", CLIPPED)
    }
    assert errors[CLIPPED] < errors["int8"]
