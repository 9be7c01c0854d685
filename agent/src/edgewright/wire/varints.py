r"""Whole numbers of variable length, as windows carry them: seven bits a byte, the low ones first (LEB128).

A number with a sign is folded first, so that small ones of either sign stay short (zigzag, as in Protocol
Buffers' ``sint64``).

>>> out = bytearray(); put_varint(out, 300); bytes(out)
b'\xac\x02'
>>> get_varint(b'\xac\x02', 0)
(300, 2)
>>> [zigzag(value) for value in (0, -1, 1, -2)], [unzigzag(value) for value in (0, 1, 2, 3)]
([0, 1, 2, 3], [0, -1, 1, -2])
"""

from typing import Final

from edgewright.wire.errors import MalformedMessageError

MAX_VARINT_BYTES: Final = 9
"""Of one number, so that it is below 2**63 and fits where C's numbers are used."""


def put_varint(out: bytearray, value: int) -> None:
    """Append a number of at least 0."""
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def get_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins at ``at``, and where the next one begins.

    Raises:
        MalformedMessageError: the bytes end in it, or it is longer than any that is written.
    """
    if at < len(data) and data[at] < 0x80:  # nearly all are so small
        return data[at], at + 1
    value = 0
    for i, byte in enumerate(data[at : at + MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, at + i + 1
    raise MalformedMessageError("Packed counts end in the middle of a number.")


def zigzag(value: int) -> int:
    """A number with a sign as one of at least 0."""
    return 2 * value if value >= 0 else -2 * value - 1


def unzigzag(value: int) -> int:
    """What ``zigzag`` folded."""
    return (value >> 1) ^ -(value & 1)
