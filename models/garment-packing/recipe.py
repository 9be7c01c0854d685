"""How garment-packing is rebuilt from a few labelled frames of the line, without a training framework.

`fit` keeps every convolution of the running version and fits a new linear head. It runs the running version
once over the fresh and the replayed frames, cut off before its head, fits a softmax regression to what comes
out and grafts the weights into the graph. So a new version differs from its base by the bytes of the head.

Two rungs, the cheaper first; the caller climbs when the gate refuses a candidate:

- `head` reads what the last layer reads, the 256-wide embedding.
- `tap-head` also reads the mean of each channel after every earlier convolution: linear heads on several
  depths repair far more than the last layer alone (Head2Toe; Evci et al., ICML 2022).

The regression's penalty pulls the rows of known classes towards the trained head, not towards zero: a
hundred replayed frames a class cannot teach again what tens of thousands taught, but they can keep it. A
class weighs more the more of it comes down the line now, estimated from the fresh frames.
"""

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast, get_args

import msgspec
import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from scipy.optimize import minimize
from scipy.special import log_softmax
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it ships no types

from edgewright.agent.preprocess import preprocess
from edgewright.wire.manifest import Preprocessing

Rung = Literal["head", "tap-head"]
LADDER: Final[tuple[Rung, ...]] = get_args(Rung)

PENALTY: Final[dict[Rung, float]] = {"head": 33.0, "tap-head": 100.0}
"""Penalty on the square of a weight's distance from its prior, in units of one row's loss; see README.md."""
KNOWN_PENALTY: Final = 30.0
"""Factor on it for the rows of known classes, whose prior is the trained head."""
FRESH_WEIGHT: Final = 2.0
"""A fresh row counts as much as two replayed ones of its class: it shows today's light."""
TAPS: Final = "taps"
SHARE_POWER: Final = 0.5
"""Between classes that weigh alike (0) and as on the line (1): masses of new goods then push out less."""
MIN_FRAMES: Final = 4
MAX_ITERATIONS: Final = 200
TOLERANCE: Final = 1e-6
TEMPERATURES: Final = np.geomspace(0.5, 2.0, 41)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Dataset:
    """Labelled camera frames: uint8 [n, height, width, 3] BGR, and n labels."""

    frames: NDArray[np.uint8]
    labels: list[str]


@dataclass(frozen=True)
class Candidate:
    """A rebuilt model; `metrics` are estimates for a person, the gate measures for itself."""

    onnx: bytes
    labels: tuple[str, ...]
    rung: Rung
    metrics: dict[str, float]


@dataclass(frozen=True)
class _Linear:
    """A linear layer: float64 [classes, features] and [classes]."""

    weight: Floats
    bias: Floats

    def logits(self, features: Floats) -> Floats:
        """The layer's outputs for rows of features."""
        return features @ self.weight.T + self.bias


@dataclass(frozen=True)
class _Scaling:
    """Standardises features: `(raw - mean) / deviation`."""

    mean: Floats
    deviation: Floats

    def apply(self, raw: Floats) -> Floats:
        """Standardised rows."""
        return (raw - self.mean) / self.deviation

    def into(self, layer: _Linear) -> _Linear:
        """A layer over raw features as the same layer over standardised ones."""
        return _Linear(layer.weight * self.deviation, layer.bias + layer.weight @ self.mean)

    def out_of(self, layer: _Linear) -> _Linear:
        """The inverse of `into`."""
        weight = layer.weight / self.deviation
        return _Linear(weight, layer.bias - weight @ self.mean)


@dataclass(frozen=True)
class _Rows:
    """What the regression sees: features, class numbers, and weights that sum to the number of rows."""

    features: Floats
    classes: NDArray[np.intp]
    weights: Floats

    def take(self, rows: NDArray[np.intp]) -> "_Rows":
        """Some of the rows."""
        return _Rows(self.features[rows], self.classes[rows], self.weights[rows])


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
        seed: of the rows that are left out to choose the temperature.

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
    scaling = _scaling(raw, weights)
    prior = scaling.into(_known_layer(model, head, raw.shape[1]))
    rows = _Rows(scaling.apply(raw), classes, weights)

    def fit_rows(some: _Rows) -> _Linear:
        return _regress(some, prior, len(labels), PENALTY[rung])

    temperature, metrics = _check(rows, is_fresh, fit_rows, seed)
    layer = scaling.out_of(fit_rows(rows))
    _graft(model, head, _Linear(layer.weight / temperature, layer.bias / temperature))
    return Candidate(model.SerializeToString(deterministic=True), tuple(labels), rung, metrics)


def _number(names: Sequence[str], labels: Sequence[str]) -> NDArray[np.intp]:
    unknown = sorted(set(names) - set(labels))
    if unknown:
        raise ValueError(f"Frames carry labels that the new version does not have: {', '.join(unknown)}.")
    few = [label for label in labels if names.count(label) < MIN_FRAMES]
    if few:
        raise ValueError(
            f"A rebuild needs at least {MIN_FRAMES} frames of each label; too few of {', '.join(few)}."
        )
    return np.array([labels.index(name) for name in names], np.intp)


def _balance(classes: NDArray[np.intp], is_fresh: NDArray[np.bool_], count: int) -> Floats:
    """Weights that grow with a class's share of the fresh frames; one more of each, so that none is 0."""
    share = (np.bincount(classes[is_fresh], minlength=count) + 1.0) ** SHARE_POWER
    weights = np.where(is_fresh, FRESH_WEIGHT, 1.0)
    weights *= (share / np.bincount(classes, weights=weights, minlength=count))[classes]
    balanced: Floats = weights * (len(classes) / weights.sum())
    return balanced


def _scaling(raw: Floats, weights: Floats) -> _Scaling:
    mean = np.average(raw, axis=0, weights=weights)
    deviation = np.sqrt(np.average((raw - mean) ** 2, axis=0, weights=weights))
    # A channel that hardly ever fires has no deviation to speak of; the floor keeps it from being blown up.
    return _Scaling(mean, np.maximum(deviation, 0.1 * np.median(deviation) + 1e-6))


def _regress(rows: _Rows, prior: _Linear, classes: int, penalty: float) -> _Linear:
    """Weighted softmax regression whose weights are pulled to the prior, and to 0 for new classes."""
    known, width = prior.weight.shape
    centre = np.zeros((classes, width))
    centre[:known] = prior.weight
    stiffness = np.full((classes, 1), penalty)
    stiffness[:known] *= KNOWN_PENALTY
    wanted = np.eye(classes)[rows.classes]

    def objective(point: Floats) -> tuple[float, Floats]:
        weight, bias = point[:-classes].reshape(classes, width), point[-classes:]
        log_shares = log_softmax(_Linear(weight, bias).logits(rows.features), axis=1)
        away = weight - centre
        losses = -log_shares[np.arange(len(log_shares)), rows.classes]
        slope = (np.exp(log_shares) - wanted) * rows.weights[:, None]
        return (
            float(rows.weights @ losses + 0.5 * (stiffness * away**2).sum()),
            np.concatenate(((slope.T @ rows.features + stiffness * away).ravel(), slope.sum(axis=0))),
        )

    start = np.concatenate((centre.ravel(), prior.bias, np.full(classes - known, prior.bias.min())))
    # A thousand rows are too few to share between threads: on a busy machine they only wait for each other.
    with threadpool_limits(1):
        found = minimize(
            objective,
            start,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": MAX_ITERATIONS, "ftol": TOLERANCE},
        ).x
    return _Linear(found[:-classes].reshape(classes, width), found[-classes:])


def _check(
    rows: _Rows, is_fresh: NDArray[np.bool_], fit_rows: Callable[[_Rows], _Linear], seed: int
) -> tuple[float, dict[str, float]]:
    """Fit without a quarter of each class; the temperature and the error rates that suit that quarter."""
    left_out = _every_fourth(rows.classes, seed)
    layer, unseen = fit_rows(rows.take(np.flatnonzero(~left_out))), rows.take(np.flatnonzero(left_out))
    logits = layer.logits(unseen.features)
    chosen = np.arange(len(logits)), unseen.classes
    losses = [-float(unseen.weights @ log_softmax(logits / t, axis=1)[chosen]) for t in TEMPERATURES]
    temperature = float(TEMPERATURES[int(np.argmin(losses))])
    wrong, fresh = logits.argmax(axis=1) != unseen.classes, is_fresh[left_out]
    return temperature, {
        "fresh_error": float(wrong[fresh].mean()) if fresh.any() else 0.0,
        "replay_error": float(wrong[~fresh].mean()) if not fresh.all() else 0.0,
        "line_error": float(np.average(wrong, weights=unseen.weights)),
        "log_loss": min(losses) / float(unseen.weights.sum()),
        "temperature": temperature,
    }


def _every_fourth(classes: NDArray[np.intp], seed: int) -> NDArray[np.bool_]:
    """A random quarter of the rows, the same part of every class."""
    order = np.random.default_rng(seed).permutation(len(classes))
    order = order[np.argsort(classes[order], kind="stable")]
    chosen = np.zeros(len(classes), np.bool_)
    chosen[order[::4]] = True
    return chosen


def _head_of(model: onnx.ModelProto) -> onnx.NodeProto:
    """The layer that makes the graph's output, `input @ weight.T + bias`."""
    output = model.graph.output[0].name
    for node in model.graph.node:
        if node.output[0] == output and node.op_type == "Gemm":
            attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
            if attributes.get("transB") == 1:
                return cast(onnx.NodeProto, node)
    raise ValueError("The base does not end in a Gemm with rows for classes, so it has no head to replace.")


def _known_layer(model: onnx.ModelProto, head: onnx.NodeProto, width: int) -> _Linear:
    """The trained head; features that it does not read yet have the weight 0."""
    arrays = {stored.name: numpy_helper.to_array(stored) for stored in model.graph.initializer}
    weight, bias = (arrays[name].astype(np.float64) for name in head.input[1:3])
    return _Linear(np.pad(weight, ((0, 0), (0, width - weight.shape[1]))), bias)


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


def _graft(model: onnx.ModelProto, head: onnx.NodeProto, layer: _Linear) -> None:
    """Put a layer in the head's place; every other byte of the graph stays."""
    arrays = {head.input[1]: layer.weight, head.input[2]: layer.bias}
    for stored in model.graph.initializer:
        if stored.name in arrays:
            stored.CopyFrom(numpy_helper.from_array(arrays[stored.name].astype(np.float32), stored.name))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = len(layer.bias)
