"""Who may tell a device what its items truly were."""

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.agent.cell import truthdoor
from edgewright.agent.cell.truthdoor import CALLERS, HOST, PATH, TOKEN_FILE, TruthDoor, token_at
from edgewright.agent.cell.truths import Truths

TRUTH = b'{"item": "7", "truth": "Bag"}'


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TruthDoor]:
    """A device's door, where a request has a second."""
    monkeypatch.setattr(truthdoor, "REQUEST_S", 1.0)
    opened = TruthDoor(0, token_at(tmp_path / TOKEN_FILE), Truths())
    opened.start()
    yield opened
    opened.stop()


def _post(door: TruthDoor, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection(HOST, door.port, timeout=10)
    try:
        connection.request("POST", PATH, TRUTH, headers)
        return connection.getresponse().status
    finally:
        connection.close()


def _shown(token: bytes) -> dict[str, str]:
    return {"Authorization": f"Bearer {token.decode()}"}


def test_labels_told_without_the_token(door: TruthDoor, tmp_path: Path) -> None:
    """The owner's program is heard; others, and a page in a browser, are refused and change nothing."""
    assert _post(door, _shown(door.token)) == 200
    assert door.truths.taken == 1
    assert (tmp_path / TOKEN_FILE).stat().st_mode & 0o077 == 0
    guesses = (b"", b"x" * len(door.token), door.token[:-1], door.token + b"x")
    attacks = [{}, {"Origin": "http://evil.example"}, {"Cookie": "token=1"}, *map(_shown, guesses)]
    for headers in attacks:
        assert _post(door, headers) == 401
    assert door.truths.taken == 1
    assert door.server_address[0] == HOST


def test_silent_callers_starve_no_label(door: TruthDoor) -> None:
    """Callers that say nothing, or a byte now and then, are let go, and the owner's program is heard."""
    silent = [socket.create_connection((HOST, door.port), timeout=10) for _ in range(2 * CALLERS)]
    for caller in silent:
        caller.sendall(b"P")
    for caller in silent:
        try:
            assert caller.recv(1) == b""
        except ConnectionResetError:
            continue
        finally:
            caller.close()
    assert _post(door, _shown(door.token)) == 200
    assert json.loads(TRUTH)["item"] == getattr(door.truths.next(), "item", None)
