"""Chunks from the controller's door: the real one by the device's certificate, and one that misbehaves."""

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.agent.addresses import parse_door
from edgewright.agent.chunks import Arrival, pieces_of
from edgewright.agent.downloader import Downloader, Hooks
from edgewright.agent.fetcher import Interrupted
from edgewright.agent.rangechunks import RangeChunks
from edgewright.agent.store import Store
from edgewright.agent.tls import TlsContext, trusting
from edgewright.agent.transfer import Limits, Postponed, Transfer
from edgewright.controller.identity.authority import CertificateAuthority
from edgewright.controller.publisher import PublishedBlob
from edgewright.wire.errors import BlobTimeoutError, DoorUnreachableError
from edgewright.wire.manifest import CHUNK_BYTES, split_blob
from tests.contract.blobdoor import BlobDoor, blob_door
from tests.controller.doors import opened
from tests.controller.test_est import enrolled

DATA = random.Random(8).randbytes(20 * CHUNK_BYTES + 99)
BLOB, CHUNKS = split_blob(DATA)
QUICK = Limits(patience=(0.2, 0.2, 0.2))


@pytest.fixture
def door() -> Iterator[BlobDoor]:
    """A door that has the blob."""
    with blob_door() as opened_door:
        opened_door.blobs[BLOB.sha256] = DATA
        yield opened_door


def reader(door: BlobDoor) -> RangeChunks:
    """A reader of this door, in the clear."""

    def context() -> TlsContext:
        raise AssertionError("this door speaks in the clear")

    return RangeChunks(door.url, context)


def read(chunks: RangeChunks, limits: Limits = QUICK) -> list[Arrival]:
    """One round over all chunks."""
    return list(chunks.read(BLOB.sha256, pieces_of(BLOB, BLOB.chunks), Transfer(limits)))


def test_the_controllers_door_gives_a_published_blob(tmp_path: Path) -> None:
    """By the enrolled certificate the whole blob arrives; what is not published is told at once.

    A device that trusts another authority speaks to nobody there.
    """
    foreign = CertificateAuthority(tmp_path / "foreign")
    foreign.ensure()
    with opened(tmp_path / "controller") as real:
        name = real.parts.blobs.put(DATA)
        real.parts.publisher.found[name] = PublishedBlob(real.parts.blobs.path(name), len(DATA))
        own, _ = enrolled(real, tmp_path)
        context = trusting(real.authority.root_pem)
        context.load_cert_chain(own)
        store = Store(tmp_path / "store")
        chunks = RangeChunks(real.url, lambda: context)
        downloader = Downloader(chunks, store, Hooks(), Transfer(Limits()))
        downloader.fetch(BLOB)
        assert store.read(BLOB.sha256) == DATA
        assert downloader.fetched_bytes == len(DATA)
        with pytest.raises(BlobTimeoutError, match="404"):
            Downloader(chunks, store, Hooks(), Transfer(Limits())).fetch(split_blob(b"another")[0])
        with pytest.raises(DoorUnreachableError, match="certificate"):
            read(RangeChunks(real.url, lambda: trusting(foreign.root_pem)))


def test_consecutive_chunks_are_one_request_on_one_connection(door: BlobDoor) -> None:
    """Twenty-one chunks take a few requests, the first for a mebibyte, and no second connection."""
    assert len(read(reader(door))) == len(CHUNKS)
    assert len(door.asked) <= 3
    assert door.asked[0] == (BLOB.sha256, 0, 8 * CHUNK_BYTES - 1)
    assert door.connections == 0  # None has ended.


def test_resume_asks_only_for_what_lacks(door: BlobDoor, tmp_path: Path) -> None:
    """A connection that is cut inside a chunk costs that chunk's bytes; the rest comes."""
    door.cut_after = 3 * CHUNK_BYTES + 1000
    store = Store(tmp_path)
    chunks = reader(door)
    Downloader(chunks, store, Hooks(), Transfer(QUICK)).fetch(BLOB)
    assert store.read(BLOB.sha256) == DATA
    assert len(DATA) <= chunks.received <= len(DATA) + CHUNK_BYTES
    assert any(first == 3 * CHUNK_BYTES for _, first, _ in door.asked)


def test_an_idle_connection_that_was_closed_is_made_anew(door: BlobDoor) -> None:
    """A server may end a connection between two requests; nobody notices."""
    chunks = reader(door)
    read(chunks)
    assert chunks._connection is not None
    chunks._connection._socket.shutdown(1)
    assert all(arrival.data for arrival in read(chunks))


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_door_is_left_alone_as_long_as_it_says(door: BlobDoor, status: int) -> None:
    """Retry-After is obeyed, and up to half as long again so that a fleet does not return in step."""
    door.refusals = [(status, {"Retry-After": "40"})]
    with pytest.raises(Postponed) as waiting:
        read(reader(door))
    assert 40 <= waiting.value.seconds <= 60
    assert isinstance(waiting.value.error, DoorUnreachableError)


@pytest.mark.parametrize(
    ("status", "headers", "error", "words"),
    [
        (404, {}, BlobTimeoutError, "not there"),
        (416, {}, DoorUnreachableError, "shorter"),
        (403, {}, DoorUnreachableError, "revoked"),
        (500, {}, DoorUnreachableError, "500"),
        (200, {}, DoorUnreachableError, "200"),
        (206, {"Content-Range": "bytes 5-6/7"}, DoorUnreachableError, "another range"),
    ],
)
def test_other_answers_have_a_name(
    door: BlobDoor, status: int, headers: dict[str, str], error: type[Exception], words: str
) -> None:
    """Each answer that brings no range ends the try by its name, and the connection with it."""
    door.refusals = [(status, headers)]
    with pytest.raises(error, match=words):
        read(reader(door))


def test_wrong_bytes_are_refused_by_their_digest(door: BlobDoor, tmp_path: Path) -> None:
    """A door that serves other bytes poisons nothing: that is told, and the chunk asked for again."""
    door.blobs[BLOB.sha256] = bytes(CHUNK_BYTES) + DATA[CHUNK_BYTES:]
    told: list[str] = []

    def tampered(error: Exception) -> None:
        told.append(str(error))
        door.blobs[BLOB.sha256] = DATA

    store = Store(tmp_path)
    Downloader(reader(door), store, Hooks(tampered=tampered), Transfer(QUICK)).fetch(BLOB)
    assert store.read(BLOB.sha256) == DATA
    assert len(told) == 1


def test_a_door_that_stalls_is_silence(door: BlobDoor) -> None:
    """Without an answer every chunk of the request comes as None after the patience."""
    door.stalls.set()
    arrivals = read(reader(door), Limits(patience=(0.3,)))
    assert [arrival.data for arrival in arrivals] == [None] * len(CHUNKS)


def test_an_interrupt_is_answered_while_the_door_stalls(door: BlobDoor) -> None:
    """A newer version does not wait for a door that does not answer."""
    door.stalls.set()
    called_off = threading.Event()
    transfer = Transfer(Limits(patience=(600.0,)), called_off.is_set)
    threading.Timer(0.3, called_off.set).start()
    began = time.monotonic()
    with pytest.raises(Interrupted):
        list(reader(door).read(BLOB.sha256, pieces_of(BLOB, BLOB.chunks), transfer))
    assert time.monotonic() - began < 30  # A hang guard: the patience is ten minutes.


def test_nobody_listens() -> None:
    """A door that is not there is a transfer error with its address, not a traceback."""
    with blob_door() as gone:
        chunks = reader(gone)
    with pytest.raises(DoorUnreachableError, match=r"127\.0\.0\.1"):
        read(chunks)


@pytest.mark.parametrize(
    "door", ["", "plant.example", "http://plant.example", "ftp://x", "https://[", "https://x:y"]
)
def test_what_is_no_door(door: str) -> None:
    """Only HTTPS, and this machine in the clear; a wrong address is told."""
    with pytest.raises(DoorUnreachableError):
        parse_door(door)
