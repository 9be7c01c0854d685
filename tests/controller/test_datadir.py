"""The data folder."""

import json
import stat
from pathlib import Path

import pytest

from edgewright.controller.blobs import BlobStore
from edgewright.controller.datadir import LAYOUT, DataFolder, Endpoint, read_endpoint
from edgewright.controller.errors import (
    ControllerUnreachableError,
    DataFolderBusyError,
    DataFolderDamagedError,
    DataFolderNewerError,
    DigestMismatchError,
)


def test_a_folder_of_a_newer_release_is_left_alone(tmp_path: Path) -> None:
    """A newer layout is refused by number and nothing in the folder changes."""
    (tmp_path / "version.json").write_text(json.dumps({"layout": LAYOUT + 1}))
    with pytest.raises(DataFolderNewerError, match="E060"):
        DataFolder.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["version.json"]


def test_one_controller_at_a_time(tmp_path: Path) -> None:
    """A second controller on the same folder is refused until the first has ended."""
    first = DataFolder.open(tmp_path)
    with pytest.raises(DataFolderBusyError):
        DataFolder.open(tmp_path)
    first.close()
    DataFolder.open(tmp_path).close()


def test_a_damaged_version_file_is_named(tmp_path: Path) -> None:
    """Garbage in version.json is a sentence, not a traceback."""
    (tmp_path / "version.json").write_text("[]")
    with pytest.raises(DataFolderDamagedError, match=r"version\.json"):
        DataFolder.open(tmp_path)


def test_the_token_is_private_and_stays(tmp_path: Path) -> None:
    """The API token is made once and only its owner can read it."""
    folder = DataFolder.open(tmp_path)
    token = folder.api_token()
    assert folder.api_token() == token
    assert stat.S_IMODE((tmp_path / "api-token").stat().st_mode) == 0o600
    folder.close()


def test_the_endpoint_is_there_while_it_runs(tmp_path: Path) -> None:
    """The command line finds a running controller, and says so when there is none."""
    folder = DataFolder.open(tmp_path)
    endpoint = Endpoint("http://127.0.0.1:1", "127.0.0.1", 2)
    folder.write_endpoint(endpoint)
    assert read_endpoint(tmp_path) == endpoint
    folder.close()
    with pytest.raises(ControllerUnreachableError):
        read_endpoint(tmp_path)


def test_blobs_are_whole_or_absent(tmp_path: Path) -> None:
    """A wrong digest stores nothing, and a blob that changed on disk is noticed when it is read."""
    blobs = BlobStore(tmp_path / "blobs")
    with pytest.raises(DigestMismatchError):
        blobs.put_stream([b"abc"], expected="0" * 64)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
    sha256 = blobs.put(b"abc")
    blobs.path(sha256).write_bytes(b"abd")
    with pytest.raises(DataFolderDamagedError, match="changed on disk"):
        blobs.read(sha256)


def test_half_written_blobs_are_removed(tmp_path: Path) -> None:
    """What a killed process had begun to write goes at the next start; whole blobs stay."""
    blobs = BlobStore(tmp_path)
    whole = blobs.put(b"whole")
    (tmp_path / ".part-killed").write_bytes(b"ha")
    blobs.clear_left_overs()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [whole]
