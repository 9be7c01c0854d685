"""What the fuzzers have found, each as one input: parsers refuse it by number now."""

import base64
from collections.abc import Callable
from functools import cache

import pytest

from tests.fuzz.target import Prepared, feed
from tests.fuzz.targets import TARGETS


@cache
def prepared(name: str) -> Prepared:
    """A target's parser and its seeds."""
    return TARGETS[name].prepare()


def changed(name: str, old: bytes, new: bytes, seed: int = 0) -> bytes:
    """A seed with a part changed once."""
    data = prepared(name).seeds[seed]
    assert old in data
    return data.replace(old, new, 1)


def unknown_certificate_version() -> bytes:
    """A certificate of X.509 version 7 in an answer of the door."""
    own, _, others = prepared("granted-certificates").seeds[0].partition(b"|")
    der = base64.b64decode(b"".join(own.split()))
    version_3 = b"\xa0\x03\x02\x01\x02"
    assert version_3 in der
    return base64.b64encode(der.replace(version_3, b"\xa0\x03\x02\x01\x06", 1)) + b"|" + others


FINDINGS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "text that is no UTF-8 in a message": ("upward", lambda: changed("upward", b"robot-1", b"robot\xff1")),
    "text that is no UTF-8 in a hint": (
        "downward",
        lambda: changed("downward", b"head", b"he\xffd", 1),
    ),
    "text that is no UTF-8 in a manifest": ("manifest", lambda: changed("manifest", b'"fp32"', b'"fp\xff2"')),
    "text that is no UTF-8 from the machine": (
        "cell",
        lambda: b"\x00\x00\x00\x0e\x81\xa4kind\xa7\0\0\0\0\0\0\x80",
    ),
    "a root of keys that it lacks": (
        "signing-request",
        lambda: changed("signing-request", b'\\"keyids\\":[\\"', b'\\"keyids\\":[\\"0'),
    ),
    "a certificate of an unknown version": ("granted-certificates", unknown_certificate_version),
    "a certificate request of an unknown version": (
        "certificate-request",
        lambda: changed("certificate-request", b"\x02\x01\x00", b"\x02\x01\x04", 1),
    ),
}


@pytest.mark.parametrize("finding", FINDINGS)
def test_a_finding_stays_fixed(finding: str) -> None:
    """What once ended in an exception of a library is refused with an error of the target's family."""
    name, make = FINDINGS[finding]
    assert not feed(prepared(name), TARGETS[name], make())
