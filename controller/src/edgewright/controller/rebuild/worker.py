"""The child process that fits one rung and measures it.

``python -m edgewright.controller.rebuild.worker JOB``, where ``JOB`` is a file with a ``Job`` (see ``job``).
Native code and the model's recipe run here and nowhere else in the controller: a recipe that crashes, leaks
or never ends costs one child.
"""

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgewright.controller.blobs import BlobStore
from edgewright.controller.compiler.frames import Frames, decode_picture, read_frames
from edgewright.controller.compiler.ort import Session
from edgewright.controller.errors import RecipeError
from edgewright.controller.evidence.paired import Pairs
from edgewright.controller.model_toml import ModelSpec, read_model
from edgewright.controller.rebuild.frame_files import extend_frames
from edgewright.controller.rebuild.frames_chosen import Labelled, Snapshot
from edgewright.controller.rebuild.job import ANSWER, Answer, Job
from edgewright.controller.rebuild.ladder import ClassCounts, Measured
from edgewright.wire.errors import EdgewrightError

NICENESS: Final = 5
"""Below the controller and whatever else runs on its machine; the compiler's child has the same."""


def run(job: Job, out: Path) -> Answer:
    """Fit, measure and write the files into ``out``.

    Raises:
        EdgewrightError: something that was given cannot be used, or the recipe failed.
    """
    folder, blobs = Path(job.folder), BlobStore(Path(job.blobs))
    spec = read_model(folder)
    chosen = msgspec.json.decode(blobs.read(job.snapshot_sha256), type=Snapshot)
    replay = read_frames(folder / spec.data.replay) if spec.data.replay else Frames((), ())
    base = (folder / spec.model.file).read_bytes()
    fit, gate = _frames(blobs, chosen.fit), _frames(blobs, chosen.gate)
    candidate, metrics = _fit(folder, spec, base, (fit, replay), chosen.labels, job)
    known, labels = spec.model.labels, chosen.labels
    before, after = _right(base, spec, gate, known), _right(candidate, spec, gate, labels)
    old = read_frames(folder / spec.data.holdout)
    old_before, old_after = _right(base, spec, old, known), _right(candidate, spec, old, labels)
    measured = Measured(
        Pairs(int((after & ~before).sum()), int((before & ~after).sum()), int((before == after).sum())),
        len(old),
        int(old_before.sum()),
        int(old_after.sum()),
        _by_class(old, old_before, old_after),
        int(after.sum()),
    )
    names = {"candidate": "candidate.onnx", "holdout": "holdout.npz"}
    (out / names["candidate"]).write_bytes(candidate)
    (out / names["holdout"]).write_bytes(_extended(folder / spec.data.holdout, blobs, chosen.gate))
    if spec.data.replay:
        names["replay"] = "replay.npz"
        (out / names["replay"]).write_bytes(_extended(folder / spec.data.replay, blobs, chosen.fit))
    return Answer(measured=measured, metrics=metrics, **names)


def _fit(
    folder: Path,
    spec: ModelSpec,
    base: bytes,
    frames: tuple[Frames, Frames],
    labels: Sequence[str],
    job: Job,
) -> tuple[bytes, dict[str, float]]:
    recipe = _load_recipe(folder / spec.rebuild.recipe)
    fresh, replay = (recipe.Dataset(_stacked(part), list(part.labels)) for part in frames)
    try:
        candidate: Any = recipe.fit(base, fresh, replay, tuple(labels), job.rung, job.seed)
        return bytes(candidate.onnx), {name: float(value) for name, value in candidate.metrics.items()}
    except Exception as error:  # a recipe is the engineer's code and may raise anything
        raise RecipeError(f"The rung {job.rung} of {spec.rebuild.recipe} failed: {error}") from error


def _load_recipe(path: Path) -> ModuleType:
    found = importlib.util.spec_from_file_location("edgewright_recipe", path)
    if found is None or found.loader is None:
        raise RecipeError(f"{path.name} is no Python file.")
    module = importlib.util.module_from_spec(found)
    sys.modules[module.__name__] = module  # dataclasses look their module up by name
    try:
        found.loader.exec_module(module)
    except Exception as error:  # a recipe is the engineer's code and may raise anything
        raise RecipeError(f"{path.name} cannot be loaded: {error}") from error
    return module


def _right(model: bytes, spec: ModelSpec, frames: Frames, labels: Sequence[str]) -> NDArray[np.bool_]:
    """For each frame, whether the model's first choice is the true label."""
    if not len(frames):
        return np.zeros(0, np.bool_)
    logits = Session(model).run(frames.inputs(spec.preprocessing), spec.output.name)
    right: NDArray[np.bool_] = logits.argmax(axis=1) == frames.classes(labels)
    return right


def _by_class(frames: Frames, before: NDArray[np.bool_], after: NDArray[np.bool_]) -> dict[str, ClassCounts]:
    names = np.array(frames.labels)
    of_class = {str(name): names == name for name in np.unique(names)}
    return {
        name: ClassCounts(int(where.sum()), int(before[where].sum()), int(after[where].sum()))
        for name, where in of_class.items()
    }


def _frames(blobs: BlobStore, items: Sequence[Labelled]) -> Frames:
    pixels = tuple(decode_picture(blobs.read(item.image_sha256)) for item in items)
    return Frames(pixels, tuple(item.truth for item in items))


def _stacked(frames: Frames) -> NDArray[np.uint8]:
    return np.stack(frames.pixels) if len(frames) else np.zeros((0, 0, 0, 3), np.uint8)


def _extended(path: Path, blobs: BlobStore, items: Sequence[Labelled]) -> bytes:
    return extend_frames(path, [(blobs.read(item.image_sha256), item.truth) for item in items])


def main(arguments: Sequence[str]) -> int:
    """Do the job that the one argument names."""
    os.nice(NICENESS)
    job_file = Path(arguments[0])
    out = job_file.parent
    try:
        answer = run(msgspec.json.decode(job_file.read_bytes(), type=Job), out)
    except EdgewrightError as error:
        answer = Answer(error=error.sentence)
    whole = out / f"{ANSWER}.part"
    whole.write_bytes(msgspec.json.encode(answer))
    whole.replace(out / ANSWER)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
