"""Sealed messages: only what was signed, for this purpose, by this key, comes out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.agent.devicekey import DeviceKey
from edgewright.wire.errors import UnsignedMessageError
from edgewright.wire.sealed import MAX_SEAL_BYTES, Purpose, seal, unseal
from tests.devicekeys import verifier

KEY, OTHER = DeviceKey.generate(), DeviceKey.generate()


@given(st.binary(max_size=200))
def test_sealed_body_comes_out_whole(body: bytes) -> None:
    """What was sealed comes out, and the seal adds no more than it says."""
    sealed = seal(body, "up", KEY.sign)
    assert unseal(sealed, "up", verifier(KEY)) == body
    assert len(sealed) <= len(body) + MAX_SEAL_BYTES


@pytest.mark.parametrize(("key", "purpose"), [(OTHER, "up"), (KEY, "down")])
def test_another_key_or_purpose_is_refused(key: DeviceKey, purpose: Purpose) -> None:
    """A seal of another key, or one made for the other direction, does not open."""
    sealed = seal(b"body", purpose, key.sign)
    with pytest.raises(UnsignedMessageError):
        unseal(sealed, "up", verifier(KEY))


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data: bytes) -> None:
    """No bytes open without a signature, and none end in another error."""
    with pytest.raises(UnsignedMessageError):
        unseal(data, "up", verifier(KEY))


def test_a_changed_body_is_refused() -> None:
    """One flipped bit anywhere breaks the seal."""
    sealed = seal(b"some body", "up", KEY.sign)
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(UnsignedMessageError):
            unseal(bytes(changed), "up", verifier(KEY))
