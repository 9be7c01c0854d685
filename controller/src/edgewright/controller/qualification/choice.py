"""Which candidate ships, by what devices have measured: a pure function.

A candidate counts if at least one device has measured it, and no more devices say that it fails than say
that all its limits hold: one device, broken or lying, does not end what others have measured. Those that
nobody failed come before those that somebody did, and of these only those that the most devices have measured
are compared, over the devices that have measured them all: what the slow robot never answered for is not
faster than what it did. A candidate's latency is that of the slowest of these devices, at the median: a fleet
is as fast as its slowest robot. The fastest wins; those within ``SAME`` of it are the same to a robot, and of
these the smallest wins, then the earlier one.

What a device says is its own word, signed. The worst that one lying device can do among two or more is to
have another candidate chosen: all of them have passed the gates before.

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


def plain_names(names: Sequence[str]) -> list[str]:
    """Names as they stand in one order, none twice: where two become one, the later one is numbered.

    >>> plain_names(["int8 (a)", "fp32", "int8-(a)"])
    ['int8--a-', 'fp32', 'int8--a-.2']
    """
    found: list[str] = []
    for name in names:
        plain = plain_name(name)
        numbered = (f"{plain[:60]}.{number}" for number in range(2, len(names) + 2))
        found.append(next(each for each in (plain, *numbered) if each not in found))
    return found


def choose(candidates: Sequence[Candidate], results: Sequence[Result]) -> Candidate | None:
    """The candidate that ships; None where none passed on hardware."""
    passed = [each for each in candidates if _counts(each, results)]
    if not passed:
        return None
    unfailed = [each for each in passed if not failures(each, results)]
    ranked = _ranked(unfailed or passed, results)
    fastest = min(latency for latency, _ in ranked)
    return min((each for latency, each in ranked if latency <= fastest * SAME), key=lambda each: each.size)


def failures(candidate: Candidate, results: Sequence[Result]) -> list[str]:
    """The devices that a candidate failed on."""
    return [each.device for each in _of(candidate, results) if not each.ok]


def _counts(candidate: Candidate, results: Sequence[Result]) -> bool:
    passed = sum(each.ok for each in _of(candidate, results))
    return passed > 0 and passed >= len(failures(candidate, results))


def _ranked(passed: Sequence[Candidate], results: Sequence[Result]) -> list[tuple[int, Candidate]]:
    """Those that the most devices have measured, with the latency of the slowest device that has them all."""
    took = {each: {one.device: one.latency_p50_us for one in _of(each, results) if one.ok} for each in passed}
    most = max(len(devices) for devices in took.values())
    known = {each: devices for each, devices in took.items() if len(devices) == most}
    shared = set[str].intersection(*(set(devices) for devices in known.values()))
    return [(max(devices[name] for name in shared or devices), each) for each, devices in known.items()]


def _of(candidate: Candidate, results: Sequence[Result]) -> list[Result]:
    return [each for each in results if each.manifest_sha256 == candidate.manifest_sha256]
