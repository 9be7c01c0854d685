"""Golden vectors: a few inputs, and the outputs of the shipped artifact on them.

A device runs them through its own runtime before it activates the artifact. So they are chosen to show
numeric differences: for each class, as far as they fit, the frame that is decided most narrowly, because a
small difference shows there first, and then one frame of each class that is decided most clearly, because its
activations are the largest. A version whose input is the same as its base's keeps the base's vectors, so that
the blob travels as a patch of the outputs.
"""

from typing import Final

import msgspec
import numpy as np

from edgewright.controller.compiler.ort import Array
from edgewright.controller.errors import DataFolderDamagedError
from edgewright.wire.manifest import GoldenVectors, Tensor

MAX_VECTORS: Final = 16
MIN_VECTORS: Final = 4
BUDGET_BYTES: Final = 256 * 1024
"""Room for the inputs: they travel with a first version, beside an artifact of about this size."""


def choose_rows(logits: Array, vector_bytes: int) -> list[int]:
    """Which frames become golden vectors, given the logits of all and the bytes of one input."""
    count = max(MIN_VECTORS, min(MAX_VECTORS, BUDGET_BYTES // vector_bytes))
    ordered = np.sort(logits, axis=1)
    margins = ordered[:, -1] - ordered[:, -2]
    decided = logits.argmax(axis=1)
    narrow, clear = [], []
    for number in range(logits.shape[1]):
        rows = np.flatnonzero(decided == number)
        if len(rows):
            ranked = rows[np.argsort(margins[rows], kind="stable")]
            narrow.append(int(ranked[0]))
            clear.append(int(ranked[-1]))
    # A class with one frame has it in both lists.
    return list(dict.fromkeys(narrow + clear))[:count]


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
