"""How garment-packing is rebuilt from a few labelled frames of the line, without a training framework.

`fit` keeps every convolution of the running version and fits a new linear head. It runs the running version
once over the fresh and the replayed frames, reads activations by adding outputs to the graph, fits a logistic
regression and grafts its weights into the graph. So a new version differs from its base by the bytes of
the head.

Two rungs, the cheaper first; the caller climbs when the gate refuses a candidate:

- `head` reads what the last layer reads, the 256-wide embedding.
- `tap-head` adds the mean of each channel after every convolution (research: linear heads on several
  depths repair far more than the last layer alone, as in Head2Toe, Evci et al., ICML 2022).

The regression sees the base's own logits beside the standardised activations. They are linear in the
embedding, so they fold into the same weights, and the penalty on the weights then pulls towards the
trained head instead of towards zero. A hundred replayed frames a class therefore do not forget what tens
of thousands taught.

Rows are weighted so that the classes weigh as they do on the line now (estimated from the fresh frames).
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast, get_args

import msgspec
import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from edgewright.agent.preprocess import preprocess
from edgewright.wire.manifest import Preprocessing

Rung = Literal["head", "tap-head"]
LADDER: Final[tuple[Rung, ...]] = get_args(Rung)

LOSS_WEIGHT: Final[dict[Rung, float]] = {"head": 0.03, "tap-head": 0.005}
"""Weight of one row's loss against the penalty (scikit-learn's C); README.md has the sweep."""
LOGIT_SCALE: Final = 1.0
FRESH_WEIGHT: Final = 2.0
"""A fresh row counts as much as two replayed ones of its class: it shows today's light."""
TAPS: Final = "taps"
FOLDS: Final = 4
MAX_ITERATIONS: Final = 400
TEMPERATURES: Final = np.geomspace(0.5, 2.0, 41)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Dataset:
    """Labelled camera frames: uint8 [n, height, width, 3] BGR, and n labels."""

    frames: NDArray[np.uint8]
    labels: list[str]


@dataclass(frozen=True)
class Candidate:
    """A rebuilt model; `metrics` are cross-validated estimates for a person, the gate measures for itself."""

    onnx: bytes
    labels: tuple[str, ...]
    rung: Rung
    metrics: dict[str, float]


@dataclass(frozen=True)
class _Rows:
    """What the regression sees: features, class numbers, and weights that sum to the number of rows."""

    features: Floats
    classes: NDArray[np.intp]
    weights: Floats

    def take(self, rows: NDArray[np.intp]) -> "_Rows":
        """Some of the rows."""
        return _Rows(self.features[rows], self.classes[rows], self.weights[rows])


@dataclass(frozen=True)
class _Basis:
    """Standardised activations, then the base's logits, as an affine map: `raw @ scale.T + offset`."""

    scale: Floats
    offset: Floats

    def fold(self, weight: Floats, bias: Floats) -> tuple[Floats, Floats]:
        """A linear layer over the mapped features as the same layer over the raw ones."""
        return weight @ self.scale, bias + weight @ self.offset


def fit(
    base_onnx: bytes, fresh: Dataset, replay: Dataset, labels: Sequence[str], rung: Rung, seed: int
) -> Candidate:
    """Fit a head for `labels` and graft it into the base.

    Args:
        base_onnx: the running version, float32.
        fresh: frames of the line as it is now.
        replay: frames that the base was proven on.
        labels: the new version's classes in the output's order; those of the base come first, in its order.
        rung: how much of the graph the head reads.
        seed: of the cross-validation's split.

    Raises:
        ValueError: a label has too few frames, a frame has another label, or the graph has no linear head.
    """
    classes = _number(fresh.labels + replay.labels, labels)
    model = onnx.load_model_from_string(base_onnx)
    head = _head_of(model)
    if rung == "tap-head" and head.input[0] != TAPS:
        head = _add_taps(model, head)
    raw = _activations(model, head.input[0], [*fresh.frames, *replay.frames])
    is_fresh = np.arange(len(raw)) < len(fresh.labels)
    weights = _balance(classes, is_fresh, len(labels))
    basis = _basis(raw, weights, _head_weights(model, head))
    rows = _Rows(raw @ basis.scale.T + basis.offset, classes, weights)
    temperature, metrics = _cross_validate(rows, is_fresh, LOSS_WEIGHT[rung], seed)
    weight, bias = basis.fold(*_regress(rows, LOSS_WEIGHT[rung]))
    _graft(model, head, weight / temperature, bias / temperature)
    return Candidate(model.SerializeToString(deterministic=True), tuple(labels), rung, metrics)


def _number(names: Sequence[str], labels: Sequence[str]) -> NDArray[np.intp]:
    unknown = sorted(set(names) - set(labels))
    if unknown:
        raise ValueError(f"Frames carry labels that the new version does not have: {', '.join(unknown)}.")
    few = [label for label in labels if names.count(label) < FOLDS]
    if few:
        raise ValueError(
            f"A rebuild needs at least {FOLDS} frames of each label; too few of {', '.join(few)}."
        )
    return np.array([labels.index(name) for name in names], np.intp)


def _balance(classes: NDArray[np.intp], is_fresh: NDArray[np.bool_], count: int) -> Floats:
    """Weights under which each class weighs as among the fresh frames, and one more so that none is 0."""
    share = np.bincount(classes[is_fresh], minlength=count) + 1.0
    weights = np.where(is_fresh, FRESH_WEIGHT, 1.0)
    weights *= (share / np.bincount(classes, weights=weights, minlength=count))[classes]
    balanced: Floats = weights * (len(classes) / weights.sum())
    return balanced


def _basis(raw: Floats, weights: Floats, old_weight: Floats) -> _Basis:
    mean = np.average(raw, axis=0, weights=weights)
    # A channel that never fires has no deviation; the floor keeps it near zero instead of blowing it up.
    deviation = np.sqrt(np.average((raw - mean) ** 2, axis=0, weights=weights))
    deviation = np.maximum(deviation, 0.1 * np.median(deviation) + 1e-6)
    unused = raw.shape[1] - old_weight.shape[1]
    logits = LOGIT_SCALE * np.pad(old_weight, ((0, 0), (0, unused)))
    scale = np.vstack((np.diag(1.0 / deviation), logits))
    return _Basis(scale, np.concatenate((-mean / deviation, -(logits @ mean))))


def _regress(rows: _Rows, loss_weight: float) -> tuple[Floats, Floats]:
    model = LogisticRegression(C=loss_weight, max_iter=MAX_ITERATIONS)
    # A thousand rows are too few to share between threads: on a busy machine they only wait for each other.
    with threadpool_limits(1):
        model.fit(rows.features, rows.classes, sample_weight=rows.weights)
    return model.coef_, model.intercept_


def _cross_validate(
    rows: _Rows, is_fresh: NDArray[np.bool_], loss_weight: float, seed: int
) -> tuple[float, dict[str, float]]:
    """The temperature that makes confidences honest on rows left out, and error rates on them."""
    groups = rows.classes
    logits = np.empty((len(groups), int(groups.max()) + 1))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for seen, left_out in folds.split(rows.features, groups):
        weight, bias = _regress(rows.take(seen), loss_weight)
        logits[left_out] = rows.features[left_out] @ weight.T + bias
    losses = [_log_loss(logits / temperature, rows) for temperature in TEMPERATURES]
    wrong = logits.argmax(axis=1) != groups
    return float(TEMPERATURES[int(np.argmin(losses))]), {
        "fresh_error": float(wrong[is_fresh].mean()),
        "replay_error": float(wrong[~is_fresh].mean()),
        "line_error": float(np.average(wrong, weights=rows.weights)),
        "temperature": float(TEMPERATURES[int(np.argmin(losses))]),
        "log_loss": float(min(losses)),
    }


def _log_loss(logits: Floats, rows: _Rows) -> float:
    shifted = logits - logits.max(axis=1, keepdims=True)
    chosen = shifted[np.arange(len(shifted)), rows.classes]
    return float(np.average(np.log(np.exp(shifted).sum(axis=1)) - chosen, weights=rows.weights))


def _head_of(model: onnx.ModelProto) -> onnx.NodeProto:
    """The Gemm that makes the graph's output."""
    output = model.graph.output[0].name
    for node in model.graph.node:
        if node.output[0] == output and node.op_type == "Gemm":
            return cast(onnx.NodeProto, node)
    raise ValueError("The base's last layer is no Gemm, so it has no linear head to replace.")


def _head_weights(model: onnx.ModelProto, head: onnx.NodeProto) -> Floats:
    stored = next(tensor for tensor in model.graph.initializer if tensor.name == head.input[1])
    weight: Floats = numpy_helper.to_array(stored).astype(np.float64)
    return weight


def _add_taps(model: onnx.ModelProto, head: onnx.NodeProto) -> onnx.NodeProto:
    """Let the head also read the channel means of every layer but the last, whose means are the embedding."""
    graph = model.graph
    moved = onnx.NodeProto()
    moved.CopyFrom(head)
    graph.node.remove(head)
    layers = [node.output[0] for node in graph.node if node.op_type == "Relu"][:-1]
    for layer in layers:
        graph.node.append(helper.make_node("GlobalAveragePool", [layer], [f"{layer}_mean"]))
        graph.node.append(helper.make_node("Flatten", [f"{layer}_mean"], [f"{layer}_means"]))
    joined = [moved.input[0], *(f"{layer}_means" for layer in layers)]
    graph.node.append(helper.make_node("Concat", joined, [TAPS], axis=1))
    moved.input[0] = TAPS
    graph.node.append(moved)
    return cast(onnx.NodeProto, graph.node[-1])


def _activations(model: onnx.ModelProto, value: str, frames: Sequence[NDArray[np.uint8]]) -> Floats:
    """What the head reads, one row a frame, float64 [n, width]; the head itself is cut off."""
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    probed.graph.node.remove(_head_of(probed))
    del probed.graph.output[:]
    probed.graph.output.append(helper.make_tensor_value_info(value, onnx.TensorProto.FLOAT, None))
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(probed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    spec = _preprocessing()
    image = session.get_inputs()[0].name
    rows = [session.run([value], {image: preprocess(frame, spec)})[0] for frame in frames]
    return np.concatenate(rows).astype(np.float64)


def _preprocessing() -> Preprocessing:
    """What model.toml beside this file declares; training, rebuild and device share it."""
    text = Path(__file__).with_name("model.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text)["preprocessing"], Preprocessing)


def _graft(model: onnx.ModelProto, head: onnx.NodeProto, weight: Floats, bias: Floats) -> None:
    """Put new weights in the place of the head's; every other byte of the graph stays."""
    arrays = {head.input[1]: weight, head.input[2]: bias}
    for stored in model.graph.initializer:
        if stored.name in arrays:
            stored.CopyFrom(numpy_helper.from_array(arrays[stored.name].astype(np.float32), stored.name))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = len(bias)
