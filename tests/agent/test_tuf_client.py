"""The agent's TUF over HTTP: the suite's commands, and servers that drip, stall or never end."""

import threading
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edgewright.agent.cli import main
from edgewright.agent.httpreader import HttpReader
from edgewright.wire.errors import BrokerUnreachableError, SlowRetrievalError, TamperedArtifactError
from edgewright.wire.manifest import encode_manifest
from simulators.releases import make_manifest, random_artifact
from simulators.repository import RepositorySimulator

ONE = random_artifact(1)
MANIFEST = make_manifest(1, ONE)
METADATA = "ew/1/tuf/"


class Door(ThreadingHTTPServer):
    """A simulated repository behind HTTP; ``strange`` answers paths in its own way."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.simulator = RepositorySimulator()
        self.path = self.simulator.release(MANIFEST, ONE)
        self.strange: dict[str, Callable[[Any, threading.Event], None]] = {}
        self.closing = threading.Event()
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"

    def content(self, name: str) -> bytes | None:
        """A file's bytes."""
        folder, _, file = name.strip("/").partition("/")
        if folder == "targets":
            return encode_manifest(MANIFEST) if file.endswith("1.json") else None
        raw = self.simulator.topics.retained.get(METADATA + file)
        return None if raw is None else zlib.decompress(raw)


class _Handler(BaseHTTPRequestHandler):
    server: Door

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if strange := self.server.strange.get(self.path):
            strange(self, self.server.closing)
            return
        content = self.server.content(self.path)
        self.send_response(404 if content is None else 200)
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Say nothing."""


@pytest.fixture
def door() -> Iterator[Door]:
    """A repository that answers."""
    server = Door()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.closing.set()
    server.shutdown()
    server.server_close()
    thread.join()


def tuf(door: Door, folder: Path, *action: str) -> int:
    """Run one of the suite's commands."""
    shared = ["tuf", "--metadata-dir", str(folder / "metadata"), "--metadata-url", f"{door.url}/metadata"]
    targets = ["--target-dir", str(folder / "targets"), "--target-base-url", f"{door.url}/targets"]
    return main([*shared, *targets, "--target-name", door.path, *action])


def test_the_suites_commands(door: Door, tmp_path: Path) -> None:
    """Init, refresh and download end with 0; what is there with the signed bytes is not asked for again."""
    root = tmp_path / "root.json"
    root.write_bytes(door.simulator.image_root)
    assert [tuf(door, tmp_path, *action) for action in (["init", str(root)], ["refresh"], ["download"])] == [
        0
    ] * 3
    (file,) = (tmp_path / "targets").iterdir()
    assert file.read_bytes() == encode_manifest(MANIFEST)
    asked = len([path for path in door.asked if path.startswith("/targets")])
    assert tuf(door, tmp_path, "download") == 0
    assert len([path for path in door.asked if path.startswith("/targets")]) == asked


def test_what_is_refused_ends_with_one(
    door: Door, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before init, and for a repository that goes back, the status is 1 and the sentence has its number."""
    assert tuf(door, tmp_path, "refresh") == 1
    assert "E040" in capsys.readouterr().err
    root = tmp_path / "root.json"
    root.write_bytes(door.simulator.image_root)
    tuf(door, tmp_path, "init", str(root))
    old = door.simulator.topics.retained[METADATA + "timestamp.json"]
    door.simulator.renew()
    assert tuf(door, tmp_path, "refresh") == 0
    door.simulator.topics.retained[METADATA + "timestamp.json"] = old
    (tmp_path / "metadata" / "timestamp.json").unlink()
    assert tuf(door, tmp_path, "refresh") == 1
    assert "E023" in capsys.readouterr().err


def _answer(handler: Any, status: int = 200) -> None:
    handler.send_response(status)
    handler.end_headers()


def _drip(handler: Any, closing: threading.Event) -> None:
    _answer(handler)
    while not closing.wait(0.02):
        handler.wfile.write(b"x")


def _stall(handler: Any, closing: threading.Event) -> None:
    _answer(handler)
    closing.wait(30)


def _never_end(handler: Any, closing: threading.Event) -> None:
    _answer(handler)
    while not closing.is_set():
        try:
            handler.wfile.write(bytes(65_536))
        except OSError:
            return


def _break(handler: Any, _closing: threading.Event) -> None:
    _answer(handler, 500)


@pytest.mark.parametrize(
    ("strange", "error"),
    [
        (_drip, SlowRetrievalError),
        (_stall, SlowRetrievalError),
        (_never_end, TamperedArtifactError),
        (_break, BrokerUnreachableError),
    ],
)
def test_strange_servers(
    door: Door, strange: Callable[[Any, threading.Event], None], error: type[Exception]
) -> None:
    """A drip and a stall are slow retrieval, endless data stops at its limit, a failing server is named."""
    door.strange["/file"] = strange
    with pytest.raises(error):
        HttpReader(door.url, grace=0.2).read_file("file", 200_000, timeout=0.5)


def test_missing_is_none(door: Door) -> None:
    """A file that the server does not have is an answer, not an error."""
    assert HttpReader(door.url).read("metadata/9.root.json", 5.0) is None
