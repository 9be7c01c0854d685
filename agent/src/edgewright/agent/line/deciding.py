"""One decision a frame: the active model, else the stand-in, else the declared fallback."""

from time import monotonic
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgewright.agent.line.breaker import answer_by
from edgewright.agent.line.modelslot import ModelSlot
from edgewright.agent.line.statistics import Scores, score
from edgewright.wire.cell import Decision, Frame
from edgewright.wire.errors import MalformedMessageError

NO_MODEL_FALLBACK: Final = "fallback"
"""Label where no model, and so no declared fallback, was ever loaded."""

_LONGEST_WAIT_S: Final = 5.0
"""The loop stands still while it waits for a runner; a machine with more patience gets the fallback."""


class Ruling(NamedTuple):
    """A decision, and what led to it.

    Attributes:
        scores: of the model that decided; None for a fallback.
        cause: why the active model did not decide; empty where it did.
        image: the frame's pixels, height x width x 3; None where they cannot be read.
    """

    decision: Decision
    scores: Scores | None
    cause: str
    image: NDArray[np.uint8] | None


def decide(
    frame: Frame, read_at: float, active: ModelSlot | None, stand_in: ModelSlot | None, fallback: str
) -> Ruling:
    """Decide on a frame that was read at the monotonic time ``read_at``, before its deadline."""
    if frame.fault:
        return _fall_back(frame, fallback, frame.fault, None)
    try:
        image = pixels_of(frame)
    except MalformedMessageError as error:
        return _fall_back(frame, fallback, error.name, None)
    deadline = read_at + min(frame.deadline_ms / 1000, _LONGEST_WAIT_S)
    spare = stand_in if stand_in is not None and stand_in.ready else None
    if monotonic() >= deadline:
        return _fall_back(frame, fallback, "DeadlinePassed", image)
    if active is None:
        return _fall_back(frame, fallback, "NoModel", image)
    until = answer_by(monotonic(), deadline, spare.run_s if spare else None)
    said = active.run(image, until)
    if isinstance(said, list):
        return _rule(frame, active, said, "active", "", image)
    if spare is not None:
        instead = spare.run(image, answer_by(monotonic(), deadline, None))
        if isinstance(instead, list):
            return _rule(frame, spare, instead, "standby", said, image)
    return _fall_back(frame, fallback, said, image)


def pixels_of(frame: Frame) -> NDArray[np.uint8]:
    """The frame's pixels as an array over its bytes.

    Raises:
        MalformedMessageError: shape and bytes do not fit.
    """
    height, width, channels = frame.shape
    if channels != 3 or height < 1 or width < 1 or len(frame.pixels) != height * width * channels:
        raise MalformedMessageError(f"A frame of shape {frame.shape} has {len(frame.pixels)} bytes.")
    return np.frombuffer(frame.pixels, np.uint8).reshape(frame.shape)


def _rule(
    frame: Frame,
    slot: ModelSlot,
    logits: list[float],
    source: Literal["active", "standby"],
    cause: str,
    image: NDArray[np.uint8],
) -> Ruling:
    scores = score(logits, slot.manifest.temperature)
    decision = Decision(
        item=frame.item,
        label=slot.manifest.labels[scores.best],
        confidence=scores.confidence,
        source=source,
        version=slot.manifest.version,
    )
    return Ruling(decision, scores, cause, image)


def _fall_back(frame: Frame, label: str, cause: str, image: NDArray[np.uint8] | None) -> Ruling:
    decision = Decision(item=frame.item, label=label, confidence=0.0, source="fallback", version=0)
    return Ruling(decision, None, cause, image)
