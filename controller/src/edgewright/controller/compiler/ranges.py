"""Calibration ranges by the fingerprint of their tensor, as a blob: versions that follow start from them."""

from collections.abc import Mapping

import msgspec

from edgewright.controller.compiler.candidate import Range
from edgewright.controller.errors import DataFolderDamagedError
from edgewright.wire.canonical import canonical_json

RangeTable = dict[str, Range]
"""Ranges by the fingerprint of their tensor."""


def encode_ranges(table: Mapping[str, Range]) -> bytes:
    """Canonical JSON of ranges by fingerprint."""
    return canonical_json(table)


def decode_ranges(data: bytes) -> RangeTable:
    """Read ranges by fingerprint.

    Raises:
        DataFolderDamagedError: the bytes are none.
    """
    try:
        return msgspec.json.decode(data, type=RangeTable)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataFolderDamagedError(f"The stored calibration cannot be read: {error}.") from error
