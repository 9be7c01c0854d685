"""Which candidate ships, by what devices have measured: a pure function.

A candidate counts if at least one device has measured it and every device that did says that all its limits
hold. Its latency is that of its slowest device, at the median: a fleet is as fast as its slowest robot. The
fastest wins; those within ``SAME`` of it are the same to a robot, and of these the smallest wins, then the
earlier one.

What a device says is its own word, signed. The worst that a lying one can do is to have another candidate
chosen: all of them have passed the gates before.

    >>> candidates = [Candidate("int8", "a", 300), Candidate("fp32", "b", 900)]
    >>> choose(candidates, [Result("a", "r1", True, 240), Result("b", "r1", True, 180)]).name
    'fp32'
"""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

SAME: Final = 1.03
"""Medians that differ by less are equal: so much do two runs on one idle device differ."""


class Candidate(msgspec.Struct, frozen=True):
    """What may ship: name, SHA-256 of the manifest, length of the artifact in bytes."""

    name: str
    manifest_sha256: str
    size: int


class Result(msgspec.Struct, frozen=True):
    """What one device measured of one candidate; the latency is a median in microseconds."""

    manifest_sha256: str
    device: str
    ok: bool
    latency_p50_us: int


def plain_name(name: str) -> str:
    """A candidate's name as it stands in an order.

    >>> plain_name("int8 (conv)")
    'int8--conv-'
    """
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)[:64] or "candidate"


def choose(candidates: Sequence[Candidate], results: Sequence[Result]) -> Candidate | None:
    """The candidate that ships; None where none passed on hardware."""
    slowest: dict[str, int] = {}
    failed = {result.manifest_sha256 for result in results if not result.ok}
    for result in results:
        known = slowest.get(result.manifest_sha256, 0)
        slowest[result.manifest_sha256] = max(known, result.latency_p50_us)
    passed = [each for each in candidates if each.manifest_sha256 in slowest.keys() - failed]
    if not passed:
        return None
    fastest = min(slowest[each.manifest_sha256] for each in passed)
    same = [each for each in passed if slowest[each.manifest_sha256] <= fastest * SAME]
    return min(same, key=lambda each: each.size)
