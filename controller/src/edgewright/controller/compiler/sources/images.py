"""The front end of a model for the line: one camera frame in, one row of logits out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgewright.controller.compiler.checks import read_holdout, verify_model
from edgewright.controller.compiler.frames import Frames, read_frames
from edgewright.controller.compiler.subject import Port, Subject
from edgewright.controller.model_toml import ModelSpec

MAX_CALIBRATION_FRAMES: Final = 512
"""Ranges hardly widen beyond; a larger file is thinned evenly."""


@dataclass(frozen=True)
class ImageModel:
    """A model for the line.

    Attributes:
        spec: its declaration.
        subject: what is compiled.
        holdout: the frames behind the subject's holdout feeds: their statistics go into the profile.
    """

    spec: ModelSpec
    subject: Subject
    holdout: Frames


def read_images(spec: ModelSpec, folder: Path) -> ImageModel:
    """Check a folder and read it.

    Raises:
        ModelError: the model cannot become artifacts; its number says why.
    """
    source = verify_model(spec, folder)
    holdout = read_holdout(spec, folder)
    calibration = read_frames(folder / spec.data.calibration).spread(MAX_CALIBRATION_FRAMES)
    subject = Subject(
        name=spec.model.name,
        model=source.model,
        format=source.format,
        inputs=(Port(spec.input.name, spec.input.dtype, spec.input.shape),),
        outputs=(Port(spec.output.name, "float32", spec.output_tensor.shape),),
        calibration={spec.input.name: _calls(calibration, spec)},
        holdout={spec.input.name: _calls(holdout, spec)},
        gates=spec.gates,
        decision=spec.output.name,
        labels=spec.model.labels,
        truths=holdout.classes(spec.model.labels),
        memory_mb=spec.limits.memory_mb,
        latency_us=spec.limits.latency_p99_us,
        batches=True,
        notes=source.notes,
    )
    return ImageModel(spec, subject, holdout)


def image_subject(spec: ModelSpec, folder: Path) -> Subject:
    """What is compiled of a model for the line; see ``read_images``."""
    return read_images(spec, folder).subject


def _calls(frames: Frames, spec: ModelSpec) -> NDArray[Any]:
    return frames.inputs(spec.preprocessing)[:, np.newaxis]
