"""The reference profile as a value: what ``profile`` makes, and drift is measured against."""

from typing import Final

import msgspec

from edgewright.controller.errors import DataFolderDamagedError
from edgewright.wire.canonical import canonical_json
from edgewright.wire.histograms import Histogram

SIGNALS: Final = {
    "confidence": "confidence",
    "margin": "unit",
    "entropy": "unit",
    "brightness": "unit",
    "contrast": "unit",
    "sharpness": "sharpness",
    "saturation": "unit",
    "labelled_confidence": "confidence",
    "right_confidence": "confidence",
}
"""Signals of a profile and the schema of their histograms; older profiles lack the last three."""


class ReferenceProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A version's behaviour on the holdout frames, for one target.

    Attributes:
        error_rate, error_rate_n: share of wrong decisions, and of how many frames.
        histograms: packed histograms by signal; JSON carries them as base64. ``labelled_confidence`` is of
            all frames, whose labels are known, ``right_confidence`` of those that were decided rightly.
        classes: decisions by label.
        truths: by true label, [frames, wrong].
        temperature: what the logits were divided by.
        embedding: packed moments of the frames' embedding, see ``wire.moments``; empty in older profiles.
    """

    model: str
    version: int
    target: str
    error_rate: float
    error_rate_n: int
    histograms: dict[str, bytes]
    classes: dict[str, int]
    truths: dict[str, tuple[int, int]]
    temperature: float
    embedding: bytes = b""

    def histogram(self, signal: str) -> Histogram:
        """One signal's histogram, unpacked."""
        return Histogram.unpack(self.histograms[signal])


def encode_profile(profile: ReferenceProfile) -> bytes:
    """Canonical JSON of a profile."""
    return canonical_json(profile)


def decode_profile(data: bytes) -> ReferenceProfile:
    """Read a profile.

    Raises:
        DataFolderDamagedError: the bytes are none.
    """
    try:
        return msgspec.json.decode(data, type=ReferenceProfile)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise DataFolderDamagedError(f"The reference profile cannot be read: {error}.") from error
