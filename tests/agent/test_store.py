"""The content-addressed store: complete or not there, resumable at any byte."""

import os
import random
from pathlib import Path

import pytest

from edgewright.agent.store import Store
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.errors import MalformedMessageError, StorageFullError, TamperedArtifactError
from edgewright.wire.manifest import CHUNK_BYTES, Blob, split_blob

DATA = random.Random(1).randbytes(3 * CHUNK_BYTES + 1000)
BLOB, CHUNKS = split_blob(DATA)


def fill(store: Store, blob: Blob, chunks: list[bytes], count: int | None = None) -> None:
    """Write the first ``count`` chunks of a blob, and finish it when all are there."""
    with store.partial(blob) as partial:
        for chunk in chunks[:count]:
            partial.write(sha256_hex(chunk), chunk)
        if not partial.missing:
            partial.finish()


def test_blob_from_chunks(tmp_path: Path) -> None:
    """Chunks in any order make the blob, under its digest."""
    store = Store(tmp_path)
    fill(store, BLOB, CHUNKS[::-1])
    assert store.read(BLOB.sha256) == DATA
    assert store.digests() == {BLOB.sha256}


def bytes_read() -> int:
    """Bytes that this process has read from files so far (proc(5), io: rchar)."""
    return int(Path("/proc/self/io").read_text().split()[1])


def test_a_download_is_not_read_back(tmp_path: Path) -> None:
    """Chunks that come in any order at all make a blob, and nobody has read a byte of it from the disk."""
    data = random.Random(3).randbytes(40 * CHUNK_BYTES + 5)
    blob, chunks = split_blob(data)
    before = bytes_read()
    fill(Store(tmp_path), blob, random.Random(4).sample(chunks, len(chunks)))
    assert bytes_read() - before < CHUNK_BYTES
    assert Store(tmp_path).read(blob.sha256) == data


def test_resume_lacks_only_what_was_not_written(tmp_path: Path) -> None:
    """A new process finds in the partial file exactly the chunks that were written."""
    fill(Store(tmp_path), BLOB, CHUNKS, 2)
    with Store(tmp_path).partial(BLOB) as partial:
        assert partial.missing == list(BLOB.chunks[2:])
    assert not Store(tmp_path).has(BLOB.sha256)


def test_resume_does_not_trust_the_partial_file(tmp_path: Path) -> None:
    """One changed byte in a partial file makes its chunk missing again."""
    fill(Store(tmp_path), BLOB, CHUNKS, 3)
    (part,) = tmp_path.iterdir()
    with part.open("r+b") as file:
        file.seek(CHUNK_BYTES + 7)
        file.write(b"\0\0")
    with Store(tmp_path).partial(BLOB) as partial:
        assert partial.missing == [BLOB.chunks[1], BLOB.chunks[3]]


def test_repeated_chunks_are_asked_for_once(tmp_path: Path) -> None:
    """A chunk that a blob has three times is missing once and fills all its places."""
    data = bytes([7]) * (3 * CHUNK_BYTES) + b"end"
    blob, chunks = split_blob(data)
    store = Store(tmp_path)
    with store.partial(blob) as partial:
        assert len(partial.missing) == 2
    fill(store, blob, [chunks[0], chunks[-1]])
    assert store.read(blob.sha256) == data


def test_wrong_bytes_are_not_stored(tmp_path: Path) -> None:
    """A chunk with other bytes raises and stays missing."""
    with Store(tmp_path).partial(BLOB) as partial:
        with pytest.raises(TamperedArtifactError):
            partial.write(BLOB.chunks[0], CHUNKS[1])
        assert partial.missing == list(BLOB.chunks)


def test_right_chunks_of_a_wrong_whole_are_never_used(tmp_path: Path) -> None:
    """A blob whose signed chunks do not make its signed digest is found at its first use, and removed."""
    lying = Blob(sha256_hex(b"another"), BLOB.length, BLOB.chunks)
    fill(Store(tmp_path), lying, CHUNKS)
    with pytest.raises(TamperedArtifactError):
        Store(tmp_path).verified(lying.sha256)
    assert list(tmp_path.iterdir()) == []


def test_a_draft_that_is_not_what_was_signed_ends_as_nothing(tmp_path: Path) -> None:
    """What was made here and does not have its digest, or its length, gets no name and is removed."""
    store = Store(tmp_path)
    for length in (len(DATA), len(DATA) + 1):
        with store.draft(Blob(sha256_hex(b"another"), length, ())) as draft:
            draft.write(DATA)
            with pytest.raises(TamperedArtifactError):
                draft.finish()
    assert list(tmp_path.iterdir()) == []


def test_a_draft_takes_no_more_than_was_signed(tmp_path: Path) -> None:
    """Bytes beyond a draft's signed length are refused before they are written."""
    with Store(tmp_path).draft(Blob(sha256_hex(b"abc"), 3, ())) as draft:
        draft.write(b"ab")
        with pytest.raises(TamperedArtifactError):
            draft.write(b"cd")


def test_damaged_file_is_found_and_removed(tmp_path: Path) -> None:
    """Reading a file whose bytes changed on disk raises and removes it."""
    store = Store(tmp_path)
    digest = store.put(DATA)
    (tmp_path / digest).write_bytes(DATA[:-1] + b"\0")
    with pytest.raises(TamperedArtifactError):
        store.read(digest)
    assert not store.has(digest)


def test_quota(tmp_path: Path) -> None:
    """A blob beyond the quota raises before a byte is written; what was stored stays."""
    store = Store(tmp_path, quota_bytes=100_000)
    digest = store.put(bytes(1000))
    with pytest.raises(StorageFullError), store.partial(BLOB):
        pass
    assert store.digests() == {digest}


def test_the_last_free_bytes_of_the_disk_are_left(tmp_path: Path) -> None:
    """A blob that would leave less than the watermark raises before a byte is written, with the numbers."""
    disk = os.statvfs(tmp_path)
    free = disk.f_bavail * disk.f_frsize
    store = Store(tmp_path, free_bytes=free + 2**40)
    with pytest.raises(StorageFullError, match=rf"{free + 2**40} stay free.*{BLOB.length} more"):
        store.put(bytes(BLOB.length))
    assert list(tmp_path.iterdir()) == []
    assert Store(tmp_path, free_bytes=1).put(b"small")


def test_collect_keeps_what_is_named(tmp_path: Path) -> None:
    """Collection removes complete and partial files that are not named, and no others."""
    store = Store(tmp_path)
    kept = store.put(b"kept")
    store.put(b"gone")
    fill(store, BLOB, CHUNKS, 1)
    assert store.collect({kept, BLOB.sha256}) == 1
    assert store.collect({kept}) == 1
    assert store.digests() == {kept}


def test_empty_blob(tmp_path: Path) -> None:
    """A blob of no bytes needs no chunk: MQTT cannot retain an empty payload."""
    blob, _ = split_blob(b"")
    store = Store(tmp_path)
    with store.partial(blob) as partial:
        assert partial.missing == []
        partial.finish()
    assert store.read(blob.sha256) == b""


def test_a_digest_is_no_path(tmp_path: Path) -> None:
    """A name that is no digest never reaches the file system."""
    with pytest.raises(MalformedMessageError):
        Store(tmp_path).has("../../etc/passwd")
