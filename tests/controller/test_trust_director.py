"""The director: assignments under keys of their own."""

import json
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, Targets

from edgewright.controller.errors import DataFolderDamagedError
from edgewright.controller.trust.director import Director
from edgewright.controller.trust.keys import KeyStore
from edgewright.controller.trust.repository import ImageRepository, TargetEntry
from edgewright.wire.assignment import FIELD, MAX_ASSIGNMENT_BYTES, Orders, TargetCustom, read_orders

ENTRY = TargetEntry("m/t/3.json", 12, "ab" * 32, TargetCustom("m", "t", 3, 3))
ORDERS = Orders(device="r1", issued=1.0, rollout=7, min_root=1, min_timestamp=4)


def opened(folder: Path) -> Director:
    """A director as a controller starts it."""
    director = Director(folder / "director", KeyStore(folder / "keys"))
    director.ensure()
    return director


def verified(director: Director, document: bytes) -> Targets:
    """The document as a device reads it, its signature verified by the director's root."""
    root = Metadata[Root].from_bytes(director.root_bytes()).signed
    metadata = Metadata[Targets].from_bytes(document)
    root.verify_delegate(Targets.type, metadata.signed_bytes, metadata.signatures)
    return metadata.signed


def test_an_assignment_says_what_it_was_told(tmp_path: Path) -> None:
    """The signed document carries version, target, custom part and orders, and expires in seven days."""
    director = opened(tmp_path)
    document = director.assign(5, ENTRY, ORDERS)
    signed = verified(director, document)
    assert signed.version == 5
    assert signed.targets[ENTRY.path].length == 12
    assert signed.targets[ENTRY.path].hashes == {"sha256": ENTRY.sha256}
    assert signed.targets[ENTRY.path].custom == {
        "model": "m",
        "target": "t",
        "version": 3,
        "release_counter": 3,
        "min_counter": 0,
        "confidential": False,
    }
    assert read_orders(signed.unrecognized_fields[FIELD]) == ORDERS
    assert 6 <= (signed.expires - datetime.now(UTC)).days <= 7
    assert len(document) < MAX_ASSIGNMENT_BYTES / 40


def test_a_changed_order_does_not_verify(tmp_path: Path) -> None:
    """An assignment that was redirected to another device is refused by its signature."""
    director = opened(tmp_path)
    document = director.assign(5, ENTRY, ORDERS).replace(b'"device":"r1"', b'"device":"r2"')
    with pytest.raises(UnsignedMetadataError):
        verified(director, document)


def test_the_two_halves_share_no_key(tmp_path: Path) -> None:
    """No key of the director's root stands in the image repository's root."""
    keys = KeyStore(tmp_path / "keys")
    director = opened(tmp_path)
    image = ImageRepository(tmp_path / "tuf", keys)
    image.ensure()
    director_keys = json.loads(director.root_bytes())["signed"]["keys"].keys()
    assert not director_keys & json.loads(image.root_bytes())["signed"]["keys"].keys()


def test_the_root_stays_over_restarts(tmp_path: Path) -> None:
    """A restarted director has the same root and signs what the old root verifies."""
    root = opened(tmp_path).root_bytes()
    again = opened(tmp_path)
    assert again.root_bytes() == root
    verified(again, again.assign(6, ENTRY, ORDERS))


def test_a_lost_director_key_is_named(tmp_path: Path) -> None:
    """A director without its signing key refuses to start instead of making another."""
    opened(tmp_path)
    for key in (tmp_path / "keys/director/targets").iterdir():
        key.unlink()
    with pytest.raises(DataFolderDamagedError, match="director/targets"):
        opened(tmp_path)


def test_an_order_given_within_a_second_can_be_signed(tmp_path: Path) -> None:
    """A time with a fraction is signed as its whole second: canonical JSON has no fractions."""
    director = opened(tmp_path)
    document = director.assign(5, ENTRY, msgspec.structs.replace(ORDERS, issued=1_780_000_000.75))
    assert read_orders(verified(director, document).unrecognized_fields[FIELD]).issued == 1_780_000_000
