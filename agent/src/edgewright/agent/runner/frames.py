"""How line and runner exchange frames: shared memory for the tensors, tiny datagrams for the turns.

The line owns a memory file; the runner inherits it. Its layout follows from the manifest alone::

    0                      the input, float32, in the manifest's shape
    output_offset          the output, float32, in the manifest's shape; on a page of its own

A request is a sequence number (4 bytes). The runner reads the input, writes the output and replies; nobody
touches the input between request and reply. The runner's first message is a reply with sequence 0, sent when
it has loaded the artifact and run it once. A reply with an error carries one sentence.
"""

import math
import mmap
import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgewright.wire.errors import MalformedMessageError
from edgewright.wire.manifest import Manifest

READY_SEQUENCE: Final = 0
MAX_REPLY_BYTES: Final = 1024

_REQUEST = struct.Struct("<I")
_REPLY = struct.Struct("<IHxxII")
_FLOAT32_BYTES = 4


class Reply(NamedTuple):
    """The end of one run.

    Attributes:
        sequence: of the request.
        error: number of the error, 0 for none; the output counts only without one.
        run_us: time in the runtime, microseconds.
        resident_kib: resident memory of the runner, refreshed now and then.
        detail: one sentence where there is an error.
    """

    sequence: int
    error: int
    run_us: int
    resident_kib: int
    detail: str = ""


@dataclass(frozen=True)
class Layout:
    """Where input and output lie; lengths in bytes."""

    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    output_offset: int
    length: int

    @classmethod
    def of(cls, manifest: Manifest) -> "Layout":
        """The layout of a manifest's tensors."""
        page = mmap.PAGESIZE
        offset = -(-math.prod(manifest.input.shape) * _FLOAT32_BYTES // page) * page
        length = offset + math.prod(manifest.output.shape) * _FLOAT32_BYTES
        return cls(manifest.input.shape, manifest.output.shape, offset, length)


class SharedFrames(NamedTuple):
    """Both tensors as arrays over the shared memory."""

    inputs: NDArray[np.float32]
    output: NDArray[np.float32]


def map_frames(fd: int, layout: Layout) -> SharedFrames:
    """Map an open memory file of ``layout.length`` bytes; the mapping lives as long as the arrays."""
    memory = mmap.mmap(fd, layout.length)
    return SharedFrames(
        _array(memory, 0, layout.input_shape), _array(memory, layout.output_offset, layout.output_shape)
    )


def encode_request(sequence: int) -> bytes:
    """One request."""
    return _REQUEST.pack(sequence)


def decode_request(data: bytes) -> int:
    """The request's sequence number.

    Raises:
        MalformedMessageError: the bytes are no request.
    """
    if len(data) != _REQUEST.size:
        raise MalformedMessageError(f"A request has {_REQUEST.size} bytes, not {len(data)}.")
    (sequence,) = _REQUEST.unpack(data)
    return int(sequence)


def encode_reply(reply: Reply) -> bytes:
    """One reply; a longer detail is cut."""
    detail = reply.detail.encode()[: MAX_REPLY_BYTES - _REPLY.size]
    return _REPLY.pack(reply.sequence, reply.error, reply.run_us, reply.resident_kib) + detail


def decode_reply(data: bytes) -> Reply:
    """Read a reply.

    Raises:
        MalformedMessageError: the bytes are no reply.
    """
    if len(data) < _REPLY.size:
        raise MalformedMessageError(f"A reply has at least {_REPLY.size} bytes, not {len(data)}.")
    sequence, error, run_us, resident_kib = _REPLY.unpack_from(data)
    detail = data[_REPLY.size :].decode(errors="replace")
    return Reply(sequence, error, run_us, resident_kib, detail)


def _array(memory: mmap.mmap, offset: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.frombuffer(memory, np.float32, math.prod(shape), offset).reshape(shape)
