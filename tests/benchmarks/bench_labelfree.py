"""``label_free_mae_ratio``, ``concept_labels_10``, ``concept_labels_25``: accuracy without labels, or few.

The first is the mean distance of our estimate to the true accuracy of 20 chunks of 1,000 rows over NannyML's,
on the same rows, over four worlds (``labelfree_worlds``) and all seeds. NannyML sees all rows of reference
and chunk; ours sees packed histograms of 64 bins. Fields tell each world, references of 1,000 labels,
how often the 95 % interval held the truth, and models of scikit-learn on real data with real shifts.

The others are the audits from a flip of labels to the alarm of ``ConceptDetector`` as it is shipped, that
four streams in five need, at a run length of 20,000 audits: Doob's inequality then allows one false alarm in
20 streams of 1,000 audits that are looked at after each. The flip comes after 300 audits. Fields tell false
alarms, the same at the border of the null, and ``AuditedErrorDetector`` against the reference's bound.
NannyML is asked whether it alarms on the chunks of such a stream.
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any, Final

import numpy as np

from edgewright.controller.evidence.audits import AUDIT_ERROR, AuditedErrorDetector, ConceptDetector
from edgewright.controller.evidence.calibration import Calibration
from edgewright.controller.evidence.confidence_sequence import upper_bound_once
from edgewright.controller.evidence.labelfree import estimate
from edgewright.controller.evidence.prediction_powered import AuditedItem
from edgewright.wire.histograms import SCHEMAS, Histogram
from tests.benchmarks.labelfree_worlds import (
    CHUNK,
    WORLDS,
    Floats,
    Rows,
    Truth,
    analysis,
    flipped,
    reference,
)
from tests.benchmarks.peer_environments import PeerError, last_line, python_of

SEEDS: Final = 100
SPLITS: Final = 20
"""Of the real data sets."""

FEW: Final = 1000
"""Labels of the small references."""

RUN_LENGTH: Final = 20_000.0
BEFORE: Final = 300
AFTER: Final = 1000
STATIONARY: Final = 1000
CONCEPT_SEEDS: Final = 100
REFERENCE_DELTA: Final = 0.05

PEER: Final = "NannyML 0.13.1 CBPE"
PEERS: Final = Path(__file__).with_name("peers")
QUIET: Final = {"NML_DISABLE_USAGE_LOGGING": "1", "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"}
LONGEST_S: Final = 3600

_EDGES: Final = np.array(SCHEMAS["confidence"].edges)


def run() -> Iterator[dict[str, object]]:
    """Measure; three dictionaries."""
    with tempfile.TemporaryDirectory(prefix="edgewright-labelfree-") as folder:
        synthetic, real = Path(folder, "synthetic"), Path(folder, "real")
        synthetic.mkdir()
        real.mkdir()
        try:
            _write_worlds(synthetic)
            _peer("predict_real_data.py", real, str(SPLITS))
            for place in (synthetic, real):
                _peer("estimate_with_nannyml.py", place)
            missing = ""
        except PeerError as error:
            missing = str(error)
        yield _mae_figure(synthetic, real, missing)
        alerts = None if missing else _alerts(synthetic)
    for percent in (10, 25):
        yield _concept_figure(percent, alerts)


def _peer(script: str, *arguments: str | Path) -> None:
    command = [python_of("nannyml"), PEERS / script, *arguments]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **QUIET},
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PeerError(f"gave nothing within {LONGEST_S} s") from error
    if done.returncode:
        raise PeerError(last_line(done.stderr))


def _rows(seed: int) -> dict[str, tuple[Rows, Rows]]:
    """Reference and analysis of each world; the first three share their reference."""
    line = reference("none", np.random.default_rng([seed, 0]))
    bayes = reference("overconfident", np.random.default_rng([seed, 1]))
    return {
        world: (
            bayes if world == "overconfident" else line,
            analysis(world, np.random.default_rng([seed, 2 + number])),
        )
        for number, world in enumerate(WORLDS)
    }


def _write_worlds(folder: Path) -> None:
    for seed in range(SEEDS):
        worlds = _rows(seed)
        for name, members in (("line", WORLDS[:3]), ("bayes", WORLDS[3:])):
            tested = worlds[members[0]][0]
            np.savez(
                folder / f"{name}-{seed}.npz",
                chunk=CHUNK,
                reference_predicted=tested.predicted,
                reference_truth=tested.truth.astype(np.int64),
                **{f"{world}_predicted": worlds[world][1].predicted for world in members},  # type: ignore[arg-type]  # numpy types the keywords after its own
            )


def packed(confidence: Floats) -> bytes:
    """A histogram as a device sends it."""
    counts = np.bincount(np.searchsorted(_EDGES, confidence, side="right"), minlength=64)
    return Histogram("confidence", counts.tolist()).pack()


def calibrated(confidence: Floats, right: Truth) -> Calibration:
    """From packed histograms alone."""
    return Calibration.fit(Histogram.unpack(packed(confidence)), Histogram.unpack(packed(confidence[right])))


class Errors:
    """Distances of estimates to the truth, chunk by chunk, and whether the interval held it."""

    def __init__(self) -> None:
        self.own: list[float] = []
        self.raw: list[float] = []
        self.held: list[bool] = []
        self.peer: list[float] = []

    def add(self, confidence: Floats, right: Truth, curve: Calibration) -> None:
        """Estimate one chunk."""
        low, middle, high = estimate(Histogram.unpack(packed(confidence)), curve)
        truth = float(right.mean())
        self.own.append(abs(middle - truth))
        self.raw.append(abs(float(confidence.mean()) - truth))
        self.held.append(low <= truth <= high)

    def told(self) -> dict[str, float]:
        """Means."""
        means = {
            "own": mean(self.own),
            "peer": mean(self.peer) if self.peer else float("nan"),
            "raw_confidence": mean(self.raw),
            "interval_held": mean(self.held),
        }
        return {name: round(value, 4) for name, value in means.items() if value == value}


def _mae_figure(synthetic: Path, real: Path, missing: str) -> dict[str, object]:
    full = {world: Errors() for world in WORLDS}
    few = {world: Errors() for world in WORLDS}
    ratios = []
    for seed in range(SEEDS):
        own, peer = [], []
        for world, (tested, later) in _rows(seed).items():
            start = len(full[world].own)
            _estimate_chunks(full[world], tested, later)
            _estimate_chunks(few[world], Rows(tested.predicted[:FEW], tested.truth[:FEW]), later)
            if not missing:
                name = "bayes" if world == "overconfident" else "line"
                full[world].peer += _peer_errors(synthetic / f"{name}-{seed}.estimates.npz", world, later)
                peer += full[world].peer[start:]
            own += full[world].own[start:]
        if peer:
            ratios.append(mean(own) / mean(peer))
    own_mean = mean(value for errors in full.values() for value in errors.own)
    row: dict[str, object] = {
        "name": "label_free_mae_ratio",
        "value": round(own_mean, 5),
        "unit": "mean absolute error",
        "peer": PEER,
    }
    if missing:
        return {**row, "peer_missing": missing}
    peer_mean = mean(value for errors in full.values() for value in errors.peer)
    return {
        **row,
        "value": round(own_mean / peer_mean, 4),
        "unit": "ratio",
        "peer_value": 1.0,
        "ratio": round(own_mean / peer_mean, 4),
        "own_mae": round(own_mean, 5),
        "peer_mae": round(peer_mean, 5),
        "seeds": SEEDS,
        "median_and_range_over_seeds": [round(x, 3) for x in (median(ratios), min(ratios), max(ratios))],
        "worlds": {world: errors.told() for world, errors in full.items()},
        f"reference_of_{FEW}": {world: errors.told() for world, errors in few.items()},
        "real_data": _real(real),
    }


def _estimate_chunks(errors: Errors, tested: Rows, later: Rows) -> None:
    curve = calibrated(tested.confidence, tested.right)
    for start in range(0, later.truth.size, CHUNK):
        part = slice(start, start + CHUNK)
        errors.add(later.confidence[part], later.right[part], curve)


def _peer_errors(estimates: Path, world: str, later: Rows) -> list[float]:
    truths = later.right.reshape(-1, CHUNK).mean(axis=1)
    with np.load(estimates) as file:
        values: list[float] = np.abs(file[f"{world}_estimate"] - truths).tolist()
    return values


def _real(folder: Path) -> dict[str, dict[str, float]]:
    found: dict[str, Errors] = {}
    truths: dict[str, list[float]] = {}
    for source in sorted(folder.glob("*.npz")):
        if source.name.endswith(".estimates.npz"):
            continue
        with np.load(source) as file, np.load(source.with_suffix(".estimates.npz")) as told:
            curve = calibrated(*_decided(file["reference_predicted"], file["reference_truth"]))
            for key in told.files:
                if not key.endswith("_estimate"):
                    continue
                shift = key.removesuffix("_estimate")
                name = f"{source.name.split('-')[0]}, {shift}"
                confidence, right = _decided(file[f"{shift}_predicted"], file[f"{shift}_truth"])
                errors = found.setdefault(name, Errors())
                errors.add(confidence, right, curve)
                errors.peer.append(abs(float(told[key][0]) - float(right.mean())))
                truths.setdefault(name, []).append(float(right.mean()))
    return {
        name: {"accuracy": round(mean(truths[name]), 3), **errors.told()} for name, errors in found.items()
    }


def _decided(predicted: Floats, truth: Any) -> tuple[Floats, Truth]:
    """Confidence of each decision and whether it is right; of a chance of class 1 or a column a class."""
    if predicted.ndim == 1:
        rows = Rows(predicted, truth.astype(bool))
        return rows.confidence, rows.right
    return predicted.max(axis=1), predicted.argmax(axis=1) == truth


def _alerts(folder: Path) -> list[float]:
    """Of each seed, the chunks of 20 on which NannyML alarms while the inputs stay, flipped labels or not."""
    counts = []
    for seed in range(SEEDS):
        with np.load(folder / f"line-{seed}.estimates.npz") as file:
            counts.append(float(np.sum(file["none_alert"])))
    return counts


def _concept_figure(percent: int, alerts: list[float] | None) -> dict[str, object]:
    names = ("shipped", f"reference_of_{FEW}", "error_rate", "error_rate_tolerance_2")
    delays: dict[str, list[float]] = {name: [] for name in names}
    false: dict[str, int] = dict.fromkeys((*delays, "at_the_border"), 0)
    for seed in range(CONCEPT_SEEDS):
        rng = np.random.default_rng([seed, 10])
        tested, still, moved = (reference("none", rng) for _ in range(3))
        frames = Histogram.unpack(packed(still.confidence))
        stationary = _items(Rows(still.predicted[:STATIONARY], still.truth[:STATIONARY]))
        after = _items(flipped(Rows(moved.predicted[:AFTER], moved.truth[:AFTER]), percent / 100, rng))
        for name, values in delays.items():
            false[name] += _first(_detector(name, tested), stationary, frames) <= STATIONARY
            found = _first(_detector(name, tested), [*stationary[:BEFORE], *after], frames) - BEFORE
            values.append(found if found > 0 else float("inf"))
        edge = flipped(Rows(still.predicted[:STATIONARY], still.truth[:STATIONARY]), AUDIT_ERROR, rng)
        false["at_the_border"] += _first(_detector("shipped", tested), _items(edge), frames) <= STATIONARY
    needed = {name: _needed(values) for name, values in delays.items()}
    row: dict[str, object] = {
        "name": f"concept_labels_{percent}",
        "value": needed["shipped"],
        "unit": "audits for power 0.8",
        "median": median(delays["shipped"]),
        "false_alarms_of_20": {name: round(20 * count / CONCEPT_SEEDS, 2) for name, count in false.items()},
        f"reference_of_{FEW}": needed[f"reference_of_{FEW}"],
        "error_rate_detector": needed["error_rate"],
        "error_rate_detector_tolerance_2": needed["error_rate_tolerance_2"],
        "seeds": CONCEPT_SEEDS,
        "peer": PEER,
    }
    if alerts is None:
        return row
    return {
        **row,
        "peer_value": f"{median(alerts):g} of 20 chunks",
        "peer_seeds_without_alarm": alerts.count(0.0),
    }


def _needed(delays: Sequence[float]) -> float | None:
    value = float(np.quantile(delays, 0.8, method="higher"))
    return value if np.isfinite(value) else None


def _items(rows: Rows) -> list[AuditedItem]:
    return [
        AuditedItem(confidence, right)
        for confidence, right in zip(rows.confidence.tolist(), rows.right.tolist(), strict=True)
    ]


def _detector(name: str, tested: Rows) -> ConceptDetector | AuditedErrorDetector:
    if name == f"reference_of_{FEW}":
        return ConceptDetector(calibrated(tested.confidence[:FEW], tested.right[:FEW]), RUN_LENGTH)
    curve = calibrated(tested.confidence, tested.right)
    if name == "shipped":
        return ConceptDetector(curve, RUN_LENGTH)
    wrong = int(np.count_nonzero(~tested.right))
    bound = upper_bound_once(tested.right.size, wrong, REFERENCE_DELTA)
    return AuditedErrorDetector(bound + (0.02 if name.endswith("2") else 0.0), curve, RUN_LENGTH)


def _first(
    detector: ConceptDetector | AuditedErrorDetector, items: list[AuditedItem], frames: Histogram
) -> float:
    """After how many audits it alarms, looked at after each; infinite if it does not."""
    numbers = [float(number) for number in range(1, len(items) + 1)]
    if isinstance(detector, ConceptDetector):
        detector.observe(items, numbers)
    else:
        detector.observe(items, frames, numbers)
    return detector.alarmed_at
