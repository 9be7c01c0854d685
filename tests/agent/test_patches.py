"""Patches: what the controller encodes the device decodes, a segment at a time, and nothing else."""

import io
import random
from pathlib import Path

import pytest

from edgewright.agent.patches import apply_patch, decoded
from edgewright.agent.store import Store
from edgewright.controller.compiler.patches import encode_patch
from edgewright.wire.errors import PatchBaseError, TamperedArtifactError
from edgewright.wire.manifest import Patch, split_blob
from edgewright.wire.patching import MARGIN_BYTES, SEGMENT_BYTES

BASE = random.Random(1).randbytes(3 * SEGMENT_BYTES + 1000)


def changed(base: bytes, count: int = 50) -> bytes:
    """The base with some bytes changed and a few put in."""
    draw, result = random.Random(2), bytearray(base)
    for _ in range(count):
        result[draw.randrange(len(result))] ^= 0x55
    result[5000:5000] = b"moved by a little"
    return bytes(result)


def stored(store: Store, base: bytes, result: bytes, frames: bytes) -> Patch:
    """Base and patch in the store."""
    return Patch(store.put(base), len(base), split_blob(frames)[0])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"", b"from nothing"),
        (b"short", BASE[:300]),
        (BASE, b""),
        (BASE, BASE[: 2 * SEGMENT_BYTES]),
        (BASE[:SEGMENT_BYTES], BASE),
        (BASE, changed(BASE)),
    ],
    ids=["no base", "tiny base", "no result", "shrunk", "grown", "changed"],
)
def test_what_is_encoded_is_decoded(old: bytes, new: bytes) -> None:
    """A patch makes its result whatever the two lengths are."""
    patch = encode_patch(old, new)
    assert b"".join(decoded(io.BytesIO(old), len(old), io.BytesIO(patch), len(new))) == new


def test_what_stays_in_its_place_costs_nearly_nothing() -> None:
    """Bytes that are the base's, at about their old place, travel as a few bytes a segment."""
    assert len(encode_patch(BASE, changed(BASE))) < 0.002 * len(BASE)
    assert len(encode_patch(BASE, bytes(MARGIN_BYTES // 2) + BASE)) < 0.002 * len(BASE)


def test_result_gets_its_name(tmp_path: Path) -> None:
    """Base and patch in the store make the signed result, under its digest."""
    store, result = Store(tmp_path), changed(BASE)
    frames = encode_patch(BASE, result)
    patch = stored(store, BASE, result, frames)
    store.put(frames)
    apply_patch(store, patch, split_blob(result)[0])
    assert store.read(split_blob(result)[0].sha256) == result


def test_a_damaged_base_is_noticed(tmp_path: Path) -> None:
    """A base whose bytes changed on the disk is removed before a byte is made of it."""
    store, result = Store(tmp_path), changed(BASE)
    frames = encode_patch(BASE, result)
    patch = stored(store, BASE, result, frames)
    store.put(frames)
    (tmp_path / patch.base_sha256).write_bytes(BASE[:-1] + b"\0")
    with pytest.raises(TamperedArtifactError):
        apply_patch(store, patch, split_blob(result)[0])
    assert not store.has(patch.base_sha256)


def test_another_result_than_the_signed_one_gets_no_name(tmp_path: Path) -> None:
    """A patch that makes something else of the right length ends as E032, and leaves no file."""
    store, result = Store(tmp_path), changed(BASE)
    frames = encode_patch(BASE, bytes(len(result)))
    patch = stored(store, BASE, result, frames)
    store.put(frames)
    before = set(tmp_path.iterdir())
    with pytest.raises(PatchBaseError):
        apply_patch(store, patch, split_blob(result)[0])
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_patch_that_ends_early(share: float) -> None:
    """A patch without its end is E032, wherever it was cut."""
    patch = encode_patch(BASE, changed(BASE))
    with pytest.raises(PatchBaseError):
        list(
            decoded(io.BytesIO(BASE), len(BASE), io.BytesIO(patch[: int(share * len(patch))]), len(BASE) + 17)
        )


def test_a_patch_that_goes_on(tmp_path: Path) -> None:
    """Bytes after the last segment are E032: a patch makes what was signed and no more."""
    patch = encode_patch(BASE, BASE) + encode_patch(b"", b"more")
    with pytest.raises(PatchBaseError):
        list(decoded(io.BytesIO(BASE), len(BASE), io.BytesIO(patch), len(BASE)))


def test_a_frame_larger_than_a_segment_is_refused() -> None:
    """A frame that wants a window beyond a segment is refused by its header, before memory is taken."""
    bomb = encode_patch(b"", bytes(SEGMENT_BYTES))[:4] + b"\x00\xa0" + bytes(64)
    with pytest.raises(PatchBaseError):
        list(decoded(io.BytesIO(b""), 0, io.BytesIO(bomb), SEGMENT_BYTES))
