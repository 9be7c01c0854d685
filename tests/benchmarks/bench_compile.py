"""``compile_models_table`` and ``compile_pareto_losses``: real models through the compiler, beside its peers.

Each model of the zoo is put into a folder with realistic recorded calls and compiled for its targets by the
product's own path. One row a model and target says what ships and what was refused, with the reason.

For ONNX models on x86-64, the peers quantise the same fixed-shape model with the same calibration calls. All
artifacts then run the same holdout calls on the same runtime, and race in one process in turns: CPU time of
one thread, several races, medians. A peer is *better* where it is smaller, faster and closer to fp32 at once:
by medians alone, so noise counts against the compiler. Closer means a higher share of equal decisions, and
where that is the same a smaller relative error. fp32 itself is what it is: nothing is closer.
"""

import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edgewright.controller.blobs import BlobStore
from edgewright.controller.compiler.benches.ort_bench import OrtBench
from edgewright.controller.compiler.build import compile_model
from edgewright.controller.compiler.compiled import Compiled
from edgewright.controller.compiler.gates import Verdict
from edgewright.controller.compiler.measure import compare_outputs
from edgewright.controller.compiler.protocol import CompileRequest, CompileResult
from edgewright.controller.compiler.sources.reading import read_subject
from edgewright.controller.compiler.subject import Outputs, Subject
from edgewright.controller.compiler.toolchains.places import FOLDER_VARIABLE
from edgewright.controller.errors import ControllerError
from tests.benchmarks.compile_peers import peers_of, quantise
from tests.benchmarks.peer_environments import PeerError
from tests.environments import TOOLCHAINS
from tests.zoo.fetch import fetch
from tests.zoo.folders import write_folder
from tests.zoo.models import ZOO_MODELS, ZooModel

NATIVE: Final = "x86_64-ort-cpu"
TARGETS: Final = {
    "onnx": (NATIVE, "aarch64-ort-cpu", "x86_64-openvino", "aarch64-litert", "armv7-tflite"),
    "tflite": ("aarch64-litert", "armv7-tflite"),
}
RACES: Final = 5
OURS: Final = "edgewright"


@dataclass(frozen=True)
class Entrant:
    """One artifact in the comparison.

    Attributes:
        name: whose.
        length: bytes.
        agreement: share of fp32's decisions; 1 where the model decides nothing.
        error: largest relative error of an output.
        ratios: latency to fp32's in the same race, one a race.
    """

    name: str
    length: int
    agreement: float
    error: float
    ratios: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Median of the races."""
        return statistics.median(self.ratios)

    def is_better_than(self, other: "Entrant") -> bool:
        """In all three at once."""
        closer = (self.agreement, -self.error) > (other.agreement, -other.error)
        return closer and self.length < other.length and self.ratio < other.ratio

    def row(self, fp32_length: int) -> dict[str, object]:
        """For a JSON line."""
        return {
            "name": self.name,
            "bytes": self.length,
            "size_ratio": round(self.length / fp32_length, 3),
            "latency_ratio": round(self.ratio, 3),
            "spread": [round(min(self.ratios), 3), round(max(self.ratios), 3)],
            "agreement": round(self.agreement, 4),
            "relative_error": float(f"{self.error:.3g}"),
        }


@dataclass
class Losses:
    """Models on which a peer is better, and peers that gave nothing."""

    compared: int = 0
    lost: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def run() -> Iterator[dict[str, object]]:
    """Measure; one dictionary a model and target, then the losses."""
    os.environ.setdefault(FOLDER_VARIABLE, str(TOOLCHAINS))
    fetch()
    losses = Losses()
    for model in ZOO_MODELS:
        with tempfile.TemporaryDirectory(prefix="edgewright-zoo-") as folder:
            yield from _run_model(model, Path(folder), losses)
    yield {
        "name": "compile_pareto_losses",
        "value": len(losses.lost),
        "unit": "models",
        "models": losses.lost,
        "models_compared": losses.compared,
        "peers_without_result": losses.failed,
    }


def _run_model(model: ZooModel, folder: Path, losses: Losses) -> Iterator[dict[str, object]]:
    targets = TARGETS[model.format]
    write_folder(model, folder / "model", targets)
    common: dict[str, object] = {
        "name": "compile_models_table",
        "unit": "ratio of size to fp32",
        "model": model.name,
    }
    common |= {"package": f"{model.package} {model.version}", "task": model.task, "drawn": model.drawn}
    try:
        request = CompileRequest(path=str(folder / "model"), blobs=str(folder / "blobs"), targets=targets)
        result = compile_model(request)
    except ControllerError as error:
        for target in targets:
            yield common | {"target": target, "value": None, "verdict": f"refused: {error}"}
        return
    peers = _peer_rows(model, folder, result, losses) if model.format == "onnx" else []
    for compiled in result.compiled:
        row = _row(compiled, model.path.stat().st_size)
        yield (
            common
            | {"target": compiled.target}
            | row
            | ({"peers": peers} if compiled.target == NATIVE else {})
        )
    for refusal in result.refused:
        verdict = f"refused: E{refusal.error:03d} {refusal.detail}"
        yield common | {"target": refusal.target, "value": None, "verdict": verdict}


def _row(compiled: Compiled, source_length: int) -> dict[str, object]:
    verdict, numbers = compiled.verdict, compiled.verdict.numbers
    return {
        "value": round(compiled.artifact.length / source_length, 3),
        "bytes": compiled.artifact.length,
        "latency_ratio": _rounded(numbers, "latency_ratio"),
        "agreement": _rounded(numbers, "agreement"),
        "relative_error": _rounded(numbers, "logit_error"),
        "precision": compiled.precision,
        "chosen": compiled.chosen,
        "verdict": "ships" if verdict.passed else "ships as it came",
        "proven_on": list(compiled.proven_on),
        "native": compiled.native,
        "refused": [_refused(other) for other in compiled.verdicts if not other.passed],
    }


def _refused(verdict: Verdict) -> dict[str, object]:
    return {
        "candidate": verdict.name,
        "latency_ratio": _rounded(verdict.numbers, "latency_ratio"),
        "reason": "; ".join(verdict.failures),
        "broken_at": verdict.broken_at,
    }


def _rounded(numbers: dict[str, float], name: str) -> float | None:
    return float(f"{numbers[name]:.4g}") if name in numbers else None


def _peer_rows(
    model: ZooModel, folder: Path, result: CompileResult, losses: Losses
) -> Sequence[dict[str, object]]:
    ours = next((one for one in result.compiled if one.target == NATIVE), None)
    if ours is None:
        return []
    subject = read_subject(folder / "model")
    artifacts = {OURS: BlobStore(folder / "blobs").read(ours.artifact.sha256)}
    rows: list[dict[str, object]] = []
    for peer in peers_of(subject.model):
        try:
            artifacts[peer] = quantise(peer, subject.model, subject.calibration)
        except PeerError as error:
            losses.failed.append(f"{model.name}: {peer}")
            rows.append({"name": peer, "failed": str(error)})
    entrants = compare(subject, artifacts, rows)
    own = next(entrant for entrant in entrants if entrant.name == OURS)
    better = [other.name for other in entrants if other.is_better_than(own)]
    losses.compared += 1
    losses.lost += [f"{model.name}: {', '.join(better)}"] if better else []
    return [entrant.row(len(subject.model)) for entrant in entrants] + rows


def compare(subject: Subject, artifacts: dict[str, bytes], failed: list[dict[str, object]]) -> list[Entrant]:
    """All artifacts on the same calls and runtime, raced together; those that do not run go to ``failed``."""
    bench = OrtBench("CPUExecutionProvider")
    reference = bench.outputs(subject.model, subject.holdout)
    told: dict[str, tuple[float, float]] = {}
    for name, artifact in artifacts.items():
        try:
            told[name] = _closeness(reference, bench.outputs(artifact, subject.holdout), subject)
        except (ControllerError, KeyError) as error:
            failed.append({"name": name, "failed": f"does not run: {error}"})
    runners = [subject.model, *(artifacts[name] for name in told)]
    races = [bench.race(runners, subject.holdout) for _ in range(RACES)]
    return [
        Entrant(
            name,
            len(artifacts[name]),
            *closeness,
            tuple(race[place].latency_us / race[0].latency_us for race in races),
        )
        for place, (name, closeness) in enumerate(told.items(), start=1)
    ]


def _closeness(reference: Outputs, outputs: Outputs, subject: Subject) -> tuple[float, float]:
    found = compare_outputs(reference, outputs, subject)
    agreement = 1.0 if found.agreement is None else found.agreement
    return agreement, max(found.errors.values(), default=0.0) if found.finite else float("inf")
