"""What testing promised of a version: the part of its reference profile that evidence is held against."""

from math import log, sqrt
from typing import Any, Final

import msgspec

from edgewright.controller.errors import DataFolderDamagedError
from edgewright.controller.evidence.confidence_sequence import upper_bound_once
from edgewright.wire.errors import MessageError
from edgewright.wire.histograms import Histogram

REFERENCE_DELTA: Final = 0.05
"""Probability that a bound of the reference is too low."""

_LOWEST, _HIGHEST = 1e-3, 0.98
"""The nulls stay inside (0, 1): a version that was wrong on nearly everything can hardly do harm."""


class Reference(msgspec.Struct, frozen=True):
    """What testing the shipped artifact showed.

    Attributes:
        error_rate, error_rate_n: on labelled frames that the model never saw.
        doubt, doubt_variance, doubt_n: mean and variance of ``1 - confidence`` by the histogram's bin
            centres, and frames; ``doubt_n`` is 0 where the profile has no confidences.
        histograms: packed, by signal.
        classes: decisions by label.
        embedding: packed moments; empty from an older controller.
    """

    error_rate: float
    error_rate_n: int
    doubt: float = 0.0
    doubt_variance: float = 0.0
    doubt_n: int = 0
    histograms: dict[str, bytes] = {}
    classes: dict[str, int] = {}
    embedding: bytes = b""

    def harm_rate(self, tolerance: float) -> float:
        """The error rate above which there is harm."""
        wrong = round(self.error_rate * self.error_rate_n)
        bound = upper_bound_once(self.error_rate_n, wrong, REFERENCE_DELTA)
        return min(bound + tolerance, _HIGHEST)

    @property
    def doubt_bound(self) -> float:
        """Upper confidence bound of the doubt: Maurer and Pontil 2009, Theorem 4 (empirical Bernstein)."""
        if self.doubt_n < 2:
            return _HIGHEST
        room = log(2 / REFERENCE_DELTA)
        slack = sqrt(2 * self.doubt_variance * room / self.doubt_n) + 7 * room / (3 * (self.doubt_n - 1))
        return min(max(self.doubt + slack, _LOWEST), _HIGHEST)


class _Profile(msgspec.Struct, frozen=True):
    """The entries of ``compiler.profile.ReferenceProfile`` that are read here."""

    error_rate: float
    error_rate_n: int
    histograms: dict[str, bytes]
    classes: dict[str, int] = {}
    embedding: bytes = b""


def read_reference(profile: bytes) -> Reference:
    """Read a stored reference profile (JSON, histograms packed as on the wire).

    Raises:
        DataFolderDamagedError: it cannot be read.
    """
    try:
        read = msgspec.json.decode(profile, type=_Profile)
        packed = read.histograms.get("confidence")
        confidence = Histogram.unpack(packed) if packed else None
    except (msgspec.ValidationError, msgspec.DecodeError, MessageError) as error:
        raise DataFolderDamagedError(f"A reference profile cannot be read: {error}.") from error
    rest: dict[str, Any] = {
        "histograms": read.histograms,
        "classes": read.classes,
        "embedding": read.embedding,
    }
    if confidence is None or not confidence.total:
        return Reference(read.error_rate, read.error_rate_n, **rest)
    n, doubt = confidence.total, 1.0 - confidence.mean()
    squares = sum(
        count * (1.0 - centre - doubt) ** 2
        for count, centre in zip(confidence.counts, confidence.centres, strict=True)
    )
    return Reference(read.error_rate, read.error_rate_n, doubt, squares / n, n, **rest)
