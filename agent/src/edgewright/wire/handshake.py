"""The version handshake: a device's hello names its protocol, and a mismatch names its remedy.

====  ==========================================================================================
  2   numbers are given when a message is stored; they are stored and acknowledged in their order
  3   numbers are given when a message is first sent, and come in any order; ``Piece``, ``Lost``
====  ==========================================================================================

A controller of this release serves devices of both. A device of this release needs a controller of 3: an
older one refuses its hello and names itself as the older side; the device keeps what it has until then.
"""

from typing import Final, Literal, get_args

from edgewright.wire.errors import ProtocolMismatchError

PROTOCOL: Final = 3
"""Version of the message contract; grows when an old peer could misread a new message."""

OLDEST_PROTOCOL: Final = 2
"""Oldest protocol that this release still understands."""

CpuFeature = Literal["sse4", "avx2", "avx512f", "vnni", "amx", "neon", "dotprod", "i8mm"]
CPU_FEATURES: Final[tuple[CpuFeature, ...]] = get_args(CpuFeature)
"""Processor features that matter to inference, by their names in a hello; ``vnni`` is either form of it."""


def verify_protocol(theirs: int, who: str) -> None:
    """Accept a peer's protocol version.

    Raises:
        ProtocolMismatchError: this release does not understand it; the sentence says which side is older.
    """
    if OLDEST_PROTOCOL <= theirs <= PROTOCOL:
        return
    older = who if theirs < OLDEST_PROTOCOL else "this side"
    raise ProtocolMismatchError(
        f"{who} speaks protocol {theirs}, this side {OLDEST_PROTOCOL} to {PROTOCOL}: {older} is older."
    )
