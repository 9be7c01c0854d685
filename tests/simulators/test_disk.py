"""The disk that forgets: what POSIX leaves open is open, and nothing else is."""

import random
from pathlib import Path

import pytest

from simulators.disk.platter import STYLES, Folder, Platter
from simulators.disk.recording import Kind, Operation

DRAWS = 200


def done(
    kind: Kind, path: str, second: str = "", inode: int = 1, number: int = 0, data: bytes = b""
) -> Operation:
    """An operation."""
    return Operation(kind, path, second, inode, number, data)


WRITTEN = [done(Kind.CREATE, "file"), done(Kind.WRITE, "file", data=b"x" * 2048)]
SYNCED = [*WRITTEN, done(Kind.SYNC, "file"), done(Kind.SYNC_FOLDER, "")]


def left(folder: Path, operations: list[Operation]) -> list[dict[str, object]]:
    """What all ways of a power cut leave, drawn many times."""
    found: list[dict[str, object]] = []
    for draw in range(DRAWS):
        for style in STYLES:
            disk = Platter(folder)
            for operation in operations:
                disk.take(operation)
            found.append(dict(disk.left(style, random.Random(draw))))
    return found


def test_what_was_synchronised_stays(tmp_path: Path) -> None:
    """A file whose bytes and whose folder were synchronised is there, whole, after any power cut."""
    assert all(tree == {"file": b"x" * 2048} for tree in left(tmp_path, SYNCED))


def test_what_was_not_may_be_anything(tmp_path: Path) -> None:
    """A file that was only written may be gone, empty, zeros, torn at a sector or between, or whole."""
    contents = [tree.get("file") for tree in left(tmp_path, WRITTEN)]
    assert {None, b"", bytes(2048), b"x" * 2048} <= set(contents)
    lengths = {len(content) for content in contents if isinstance(content, bytes) and content.strip(b"\0")}
    assert {512, 1024} <= lengths
    assert any(length % 512 for length in lengths)


def test_a_file_without_its_name_is_lost(tmp_path: Path) -> None:
    """Synchronising a new file without its folder may leave nothing of it."""
    trees = left(tmp_path, SYNCED[:-1])
    assert {} in trees
    assert {"file": b"x" * 2048} in trees


def test_a_renamed_file_has_the_old_name_or_the_new_one(tmp_path: Path) -> None:
    """A rename without its folder may be lost, and never leaves neither name."""
    trees = left(tmp_path, [*SYNCED, done(Kind.RENAME, "file", "other")])
    assert {"file": b"x" * 2048} in trees
    assert {"other": b"x" * 2048} in trees
    assert all(len(tree) == 1 for tree in trees)


def test_a_lost_folder_takes_its_files_along(tmp_path: Path) -> None:
    """What lies in a folder whose own name is not durable is lost with it, whatever was synchronised."""
    inside = [
        done(Kind.MKDIR, "new"),
        done(Kind.CREATE, "new/file"),
        done(Kind.WRITE, "new/file", data=b"x"),
        done(Kind.SYNC, "new/file"),
        done(Kind.SYNC_FOLDER, "new"),
    ]
    trees = left(tmp_path, inside)
    assert {} in trees
    assert {"new": Folder(), "new/file": b"x"} in trees
    assert left(tmp_path, [*inside, done(Kind.SYNC_FOLDER, "")]) == [
        {"new": Folder(), "new/file": b"x"}
    ] * len(trees)


@pytest.mark.parametrize("style", list(STYLES))
def test_a_durable_file_is_not_touched(tmp_path: Path, style: str) -> None:
    """Bytes that were durable and were not written to are what they were."""
    (tmp_path / "old").write_bytes(b"old")
    disk = Platter(tmp_path)
    for operation in WRITTEN:
        disk.take(operation._replace(inode=0))
    assert disk.left(style, random.Random(1))["old"] == b"old"
