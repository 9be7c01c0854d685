"""The director in its own process: what its death, a restart and a rotation do."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from edgewright.controller.errors import DataFolderDamagedError, DirectorUnavailableError, InvalidRequestError
from edgewright.controller.trust.acknowledgement import AcknowledgementKey
from edgewright.controller.trust.director import Director
from edgewright.controller.trust.director_process import DirectorProcess
from edgewright.wire.messages import Ack
from tests.controller.test_director import order, verified

HANG_S = 60.0


def started(data: Path) -> DirectorProcess:
    """The process as a controller starts it."""
    director = DirectorProcess(data / "director", AcknowledgementKey(data / "keys" / "ack"))
    director.start()
    return director


@pytest.fixture(scope="module")
def director(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DirectorProcess]:
    """One process for the tests of this module, which use devices of their own."""
    made = started(tmp_path_factory.mktemp("data"))
    yield made
    made.stop()


def test_documents_come_in_order_and_verify(director: DirectorProcess) -> None:
    """More orders than one request holds come back in their order, each signed."""
    orders = [order(1, f"a-{i}") for i in range(520)]
    documents = director.sign(orders)
    named = [f'"device":"a-{i}"'.encode() for i in range(520)]
    assert all(name in document for name, document in zip(named, documents, strict=True))
    verified(director.show(), documents[-1])
    assert director.last(["a-0", "a-519", "never"]) == [1, 1, 0]


def test_a_process_that_is_killed_in_a_batch_loses_nothing(director: DirectorProcess) -> None:
    """``kill -9`` while thousands are signed: every document comes, and asking again gives the same bytes."""
    before = director.pid
    orders = [order(1, f"k-{i}") for i in range(3000)]
    kill = threading.Timer(0.15, os.kill, (before, signal.SIGKILL))
    kill.start()
    documents = director.sign(orders)
    kill.join()
    assert director.pid != before
    assert director.sign(orders) == documents
    state = director.show()
    for document in documents[:: len(documents) // 20]:
        verified(state, document)


def test_a_refusal_crosses_as_its_error(director: DirectorProcess) -> None:
    """A second content under one version is E067 with the director's sentence, and the process goes on."""
    director.sign([order(3, "e-1")])
    with pytest.raises(DirectorUnavailableError, match="signed another document 3 for e-1"):
        director.sign([order(3, "e-1", rollout=9)])
    with pytest.raises(InvalidRequestError, match="no role 'snapshot'"):
        director.rotate("snapshot")
    assert director.last(["e-1"]) == [3]


def test_the_controller_opens_no_file_of_the_director(director: DirectorProcess) -> None:
    """None of the director's files is open in the controller's process, and only their owner reads them."""
    folder = str(director._folder)
    assert not [file.path for file in psutil.Process().open_files() if file.path.startswith(folder)]
    assert director._folder.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in (director._folder / "keys").rglob("*.pem"))


def test_the_child_ends_with_its_controller(tmp_path: Path) -> None:
    """When the controller's end of the socket closes, as at ``kill -9``, the child ends by itself."""
    director = started(tmp_path)
    child = director._child
    assert child is not None
    assert director._peer is not None
    director._peer.close()
    assert child.wait(HANG_S) == 0


def test_a_damaged_folder_is_said_at_the_start(tmp_path: Path) -> None:
    """A root that was edited is refused by its number and its sentence, not by silence."""
    started(tmp_path).stop()
    root = tmp_path / "director/roots/1.root.json"
    root.write_bytes(root.read_bytes().replace(b'"version":1', b'"version":2'))
    director = DirectorProcess(tmp_path / "director", AcknowledgementKey(tmp_path / "keys" / "ack"))
    with pytest.raises(DataFolderDamagedError, match="root"):
        director.start()
    director.stop()


def test_a_rotated_acknowledgement_key_seals_once_the_root_names_it(tmp_path: Path) -> None:
    """Listeners hear of the new root, the new key seals, the old one is gone, and a restart keeps that."""
    heard: list[int] = []
    director = started(tmp_path)
    director.on_root.append(lambda: heard.append(len(director.roots())))
    ack, (old,) = Ack(stream="s", through=1), (tmp_path / "keys/ack").iterdir()
    before = director.seal(ack)
    director.rotate("timestamp")
    (new,) = (tmp_path / "keys/ack").iterdir()
    after = director.seal(ack)
    director.stop()
    assert (heard, new != old, after != before) == ([2], True, True)
    again = started(tmp_path)
    assert again.seal(ack) == after  # Ed25519 is deterministic
    again.stop()


def test_a_director_without_its_key_does_not_start_again(tmp_path: Path) -> None:
    """A director whose key is gone does not start again; the caller hears why, and may ask later."""
    director = started(tmp_path)
    keys = tmp_path / "director/keys/targets"
    keys.rename(tmp_path / "away")
    os.kill(director.pid, signal.SIGKILL)
    with pytest.raises(DirectorUnavailableError, match="signing key is gone"):
        director.sign([order(1)])
    (tmp_path / "away").rename(keys)
    verified(director.show(), director.sign([order(1)])[0])
    director.stop()


def test_a_second_reader_is_only_a_reader(tmp_path: Path) -> None:
    """Two directors over one folder still sign no two documents of one version: the record decides."""
    first, second = started(tmp_path), Director(tmp_path / "director")
    second.open(AcknowledgementKey(tmp_path / "keys" / "ack").ensure())
    first.sign([order(4)])
    with contextlib.closing(second), pytest.raises(DirectorUnavailableError):
        second.sign([order(4, rollout=1)])
    first.stop()
