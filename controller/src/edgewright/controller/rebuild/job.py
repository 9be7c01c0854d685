"""What the controller and the worker of a rung tell each other, as JSON files in a folder of their own.

The controller writes a ``Job``; the worker writes an ``Answer`` beside it, whole or not at all, after the
files that the answer names.
"""

from typing import Final

import msgspec

from edgewright.controller.rebuild.ladder import Measured

JOB: Final = "job.json"
ANSWER: Final = "answer.json"


class Job(msgspec.Struct, frozen=True):
    """What to do.

    Attributes:
        folder: the running version's model folder.
        blobs: root of the blob store.
        snapshot_sha256: blob with the ``Snapshot``.
        rung: of the recipe's ladder.
        seed: of everything random in the recipe.
    """

    folder: str
    blobs: str
    snapshot_sha256: str
    rung: str
    seed: int


class Answer(msgspec.Struct, frozen=True):
    """What came of it; where ``error`` is a sentence, nothing else holds.

    Attributes:
        measured: see ``ladder``.
        metrics: what the recipe says of its own candidate.
        candidate, holdout, replay: names of files beside the answer: the ONNX file, and the model folder's
            frames with the gate part and the fit part added; ``replay`` is empty where the model has none.
    """

    error: str = ""
    measured: Measured | None = None
    metrics: dict[str, float] = {}
    candidate: str = ""
    holdout: str = ""
    replay: str = ""
