"""A build: from a model folder to one artifact, golden blob, profile and manifest for each target.

The order is: check the source, measure fp32, then for each target try its candidates against the gates, and
describe the one that ships. Blobs are content-addressed and nothing refers to them before the caller has
written rows, so a build that is stopped anywhere leaves nothing half-done. The same folder, version and
parent give the same bytes on the same machine; measured latencies are in the gates' report, not in anything
that is signed.
"""

from pathlib import Path
from typing import Final

from edgewright.controller.blobs import BlobStore
from edgewright.controller.compiler.candidates import (
    MAX_CALIBRATION_FRAMES,
    Calibration,
    Candidate,
    RangeTable,
    decode_ranges,
    encode_ranges,
)
from edgewright.controller.compiler.checks import read_holdout, verify_model
from edgewright.controller.compiler.describe import describe
from edgewright.controller.compiler.frames import read_frames
from edgewright.controller.compiler.ort import Session
from edgewright.controller.compiler.protocol import (
    BuildRequest,
    BuildResult,
    Built,
    Checked,
    OnProgress,
    Progress,
)
from edgewright.controller.compiler.targets import find_target
from edgewright.controller.compiler.trials import Source, try_candidates
from edgewright.controller.model_toml import ModelSpec, read_model

_SHARE_BEFORE_TARGETS: Final = 0.3
"""Checks and calibration, as a share of a build of three targets."""


def check_folder(folder: str) -> Checked:
    """What a build checks before it starts.

    Raises:
        ModelError: the model cannot become artifacts; its number says why.
    """
    spec = read_model(Path(folder))
    verify_model(spec, Path(folder))
    read_holdout(spec, Path(folder))
    read_frames(Path(folder) / spec.data.calibration)
    return Checked(spec.model.name, spec.model.labels)


def build_version(request: BuildRequest, on_progress: OnProgress = lambda _progress: None) -> BuildResult:
    """Build one version for all targets of its model.toml; see the module's text.

    Raises:
        ModelError: the model cannot become artifacts; its number says why. No row refers to what was stored.
    """
    folder, blobs = Path(request.folder), BlobStore(Path(request.blobs))
    on_progress(Progress("check", "", 0.0))
    spec = read_model(folder)
    source = _prepare(request, spec, verify_model(spec, folder), blobs, on_progress)
    built: list[Built] = []
    ranges: RangeTable = {}
    for i, name in enumerate(spec.targets):
        start = _SHARE_BEFORE_TARGETS + (1 - _SHARE_BEFORE_TARGETS) * i / len(spec.targets)
        on_progress(Progress("gates", name, start))
        target = find_target(name)
        trial = try_candidates(source, target)
        on_progress(Progress("describe", name, start))
        built.append(describe(source, target, trial, blobs))
        ranges.update(trial.candidate.ranges)
    on_progress(Progress("done", "", 1.0))
    return BuildResult(
        model=spec.model.name,
        version=request.version,
        labels=spec.model.labels,
        built=tuple(built),
        ranges_sha256=blobs.put(encode_ranges(ranges)) if ranges else "",
        metrics=_metrics(source),
    )


def _prepare(
    request: BuildRequest, spec: ModelSpec, model: bytes, blobs: BlobStore, on_progress: OnProgress
) -> Source:
    folder = Path(request.folder)
    on_progress(Progress("holdout", "", 0.05))
    holdout = read_holdout(spec, folder)
    inputs = holdout.inputs(spec.preprocessing)
    logits = Session(model).run(inputs, spec.output.name)
    calibration = None
    if "int8" in spec.gates.precisions and any(
        "int8" in find_target(name).precisions for name in spec.targets
    ):
        on_progress(Progress("calibrate", "", 0.1))
        frames = read_frames(folder / spec.data.calibration).spread(MAX_CALIBRATION_FRAMES)
        inherited = decode_ranges(blobs.read(request.ranges_sha256)) if request.ranges_sha256 else {}
        images = frames.inputs(spec.preprocessing)
        calibration = Calibration(model, spec.input.name, images, inherited)
    fp32 = Candidate("fp32", "fp32", model, {})
    return Source(request, spec, holdout, inputs, fp32, logits, calibration)


def _metrics(source: Source) -> dict[str, float]:
    truth = source.holdout.classes(source.spec.model.labels)
    wrong = source.logits.argmax(axis=1) != truth
    return {"fp32_error_rate": float(wrong.mean()), "holdout_frames": float(len(source.holdout))}
