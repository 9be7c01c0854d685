"""Both ends of the second transport: the agent's downloader at the controller's real door."""

import random
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.agent.downloader import Downloader, Hooks
from edgewright.agent.rangechunks import RangeChunks
from edgewright.agent.store import Store
from edgewright.agent.transfer import Limits, Postponed, Transfer
from edgewright.controller.downloads import OF_AN_ADDRESS
from edgewright.controller.publisher import PublishedBlob
from edgewright.wire.errors import BlobTimeoutError, DoorUnreachableError, TamperedArtifactError
from edgewright.wire.manifest import CHUNK_BYTES, split_blob
from tests.controller.doors import OpenDoor, opened
from tests.controller.test_est import ROBOT, enrolled

DATA = random.Random(22).randbytes(40 * CHUNK_BYTES + 17)
BLOB = split_blob(DATA)[0]


class Device:
    """An enrolled device at a door behind which one blob is published."""

    def __init__(self, door: OpenDoor, folder: Path) -> None:
        self.door = door
        self.folder = folder / "store"
        own, _ = enrolled(door, folder)
        self.context = ssl.create_default_context(cadata=door.authority.root_pem)
        self.context.load_cert_chain(own)
        self.publish(DATA)

    def publish(self, data: bytes) -> None:
        """Give out these bytes as the blob."""
        path = self.door.parts.blobs.path(self.door.parts.blobs.put(data))
        self.door.parts.publisher.found[BLOB.sha256] = PublishedBlob(path, len(data))

    def fetch(self) -> Downloader:
        """Download it."""
        chunks = RangeChunks(self.door.url, lambda: self.context)
        transfer = Transfer(Limits(patience=(5.0, 0.2)))
        downloader = Downloader(chunks, Store(self.folder), Hooks(), transfer)
        downloader.fetch(BLOB)
        return downloader


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    """A device."""
    with opened(tmp_path / "controller") as door:
        yield Device(door, tmp_path)


def test_a_device_fetches_what_is_published(device: Device) -> None:
    """The blob arrives whole, each byte once, by few requests of one device."""
    assert device.fetch().fetched_bytes == len(DATA)
    assert Store(device.folder).read(BLOB.sha256) == DATA
    counts = device.door.parts.downloads.counts(time.monotonic())
    assert (counts.devices, counts.bytes, counts.refused) == (1, len(DATA), 0)
    assert counts.requests <= 5


def test_a_device_takes_no_other_bytes(device: Device) -> None:
    """A chunk that is not what was signed is not stored; the rest is, and is not fetched again."""
    at = 7 * CHUNK_BYTES
    device.publish(DATA[:at] + b"poison" + DATA[at + 6 :])
    with pytest.raises(TamperedArtifactError):
        device.fetch()
    device.publish(DATA)
    assert device.fetch().fetched_bytes == CHUNK_BYTES


def test_what_was_retired_and_who_was_revoked(device: Device) -> None:
    """A blob that is published no more is missing by name, and a revoked device is refused by name."""
    device.door.parts.publisher.found.clear()
    with pytest.raises(BlobTimeoutError):
        device.fetch()
    device.publish(DATA)
    device.door.parts.register.revoke(ROBOT, "stolen")
    with pytest.raises(DoorUnreachableError):
        device.fetch()


def test_a_busy_door_puts_a_device_off(device: Device) -> None:
    """With all places of its address taken a device comes back as late as the door says."""
    now = time.monotonic()
    taken = [device.door.parts.downloads.enter(f"r{n}", "127.0.0.1", now) for n in range(OF_AN_ADDRESS)]
    assert all(taken)
    with pytest.raises(Postponed) as put_off:
        device.fetch()
    assert 2 <= put_off.value.seconds <= 60
