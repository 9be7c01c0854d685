"""Golden vectors: a few inputs, and the outputs of the shipped artifact on them.

A device runs them through its own runtime before it activates the artifact, and looks at the largest
difference relative to the range of these outputs. So they are chosen to show numeric differences. Of a model
that decides: for each class the frame that is decided most narrowly, the narrowest of all first, because a
small difference shows there first; then the narrowest frame between two classes, the most often confused
pair first; then each class's clearest frame, whose activations are the largest (it comes last because it also
widens the range). Of a model that decides nothing: the calls whose outputs lie furthest apart. A version
whose input is the same as its base's keeps the base's vectors, so that the blob travels as a patch of the
outputs.
"""

from collections import Counter
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgewright.controller.compiler.ort import Array
from edgewright.controller.compiler.subject import Outputs
from edgewright.controller.errors import DataFolderDamagedError
from edgewright.wire.manifest import GoldenVectors, Tensor

MAX_VECTORS: Final = 16
MIN_VECTORS: Final = 4
BUDGET_BYTES: Final = 256 * 1024
"""Room for the inputs: they travel with a first version, beside an artifact of about this size."""


_NARROW: Final = 0.25
"""Share of the frames, those decided most narrowly, that tell which classes are confused."""


def choose_rows(logits: Array, vector_bytes: int) -> list[int]:
    """Which frames become golden vectors, given the logits of all and the bytes of one input."""
    ranked = np.sort(logits, axis=1)
    margins = ranked[:, -1] - ranked[:, -2]
    # The stable sort of what is negated leaves the first of two equal logits in front, as argmax does.
    leading = np.argsort(-logits, axis=1, kind="stable")[:, :2]
    narrow, clear = _of_each_class(leading[:, 0], margins)
    # A class with one frame has it in both lists, and a border may be a class's narrowest.
    return list(dict.fromkeys([*narrow, *_borders(leading, margins), *clear]))[: _count(vector_bytes)]


def choose_calls(outputs: Outputs, decision: str, call_bytes: int) -> list[int]:
    """Which calls become golden vectors of a model with any outputs.

    Args:
        outputs: of all calls, ``[n, ...]`` each.
        decision: the output that carries one logit a label, empty where none does.
        call_bytes: of one call's inputs and outputs.
    """
    if decision:
        logits = outputs[decision]
        return choose_rows(logits.reshape(len(logits), -1).astype(np.float32), call_bytes)
    seen = np.hstack([_summary(values) for _, values in sorted(outputs.items())])
    # What does not vary tells nothing, and must not divide.
    spread = seen.std(axis=0)
    seen = (seen - seen.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return _furthest(seen, min(_count(call_bytes), len(seen)))


def _count(vector_bytes: int) -> int:
    return max(MIN_VECTORS, min(MAX_VECTORS, BUDGET_BYTES // vector_bytes))


def _of_each_class(decided: NDArray[np.intp], margins: Array) -> tuple[list[int], list[int]]:
    """The narrowest row of each class, narrowest first, and the clearest."""
    narrow, clear = [], []
    for number in np.unique(decided):
        rows = np.flatnonzero(decided == number)
        ranked = rows[np.argsort(margins[rows], kind="stable")]
        narrow.append(int(ranked[0]))
        clear.append(int(ranked[-1]))
    return sorted(narrow, key=lambda row: float(margins[row])), clear


def _borders(leading: NDArray[np.intp], margins: Array) -> list[int]:
    """The narrowest row between two classes, for each pair, the most often confused pair first."""
    often: Counter[tuple[int, int]] = Counter()
    narrowest: dict[tuple[int, int], int] = {}
    for row in np.argsort(margins, kind="stable")[: max(1, int(len(margins) * _NARROW))]:
        first, second = sorted(map(int, leading[row]))
        often[first, second] += 1
        narrowest.setdefault((first, second), int(row))
    return [narrowest[pair] for pair, _ in often.most_common()]


def _summary(values: NDArray[Any]) -> NDArray[np.float64]:
    """An output in a few numbers a call: an output may be a picture, and calls are compared all with all."""
    flat = np.nan_to_num(values.reshape(len(values), -1).astype(np.float64))
    return np.stack([flat.min(axis=1), flat.max(axis=1), flat.mean(axis=1), flat.std(axis=1)], axis=1)


def _furthest(points: NDArray[np.float64], count: int) -> list[int]:
    """Rows that lie apart: the one furthest from the middle, then always the one furthest from all chosen.

    Source: Gonzalez (1985), "Clustering to minimize the maximum intercluster distance".
    """
    rows = [int(np.argmax(np.linalg.norm(points, axis=1)))]
    distance = np.linalg.norm(points - points[rows[0]], axis=1)
    while len(rows) < count and distance.max() > 0:
        rows.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.linalg.norm(points - points[rows[-1]], axis=1))
    return rows


def encode_golden(inputs: Array, outputs: Array) -> bytes:
    """Msgpack of the wire's ``GoldenVectors``."""
    vectors = GoldenVectors(
        count=len(inputs),
        inputs=np.ascontiguousarray(inputs, "<f4").tobytes(),
        outputs=np.ascontiguousarray(outputs, "<f4").tobytes(),
    )
    return msgspec.msgpack.encode(vectors)


def decode_inputs(blob: bytes, tensor: Tensor) -> Array:
    """The inputs of stored golden vectors, one a row.

    Raises:
        DataFolderDamagedError: the bytes are no golden vectors for such an input.
    """
    try:
        golden = msgspec.msgpack.decode(blob, type=GoldenVectors)
        return np.frombuffer(golden.inputs, "<f4").reshape(golden.count, *tensor.shape[1:])
    except (msgspec.DecodeError, ValueError) as error:
        raise DataFolderDamagedError(f"Stored golden vectors cannot be read: {error}.") from error
