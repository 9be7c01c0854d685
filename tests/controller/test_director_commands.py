"""``edgewright director`` and ``edgewright trust``, as people type them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.controller.database.tables import Device
from tests.controller.parts import Parts, make_parts
from tests.controller.served import served
from tests.controller.test_cli import refused, said

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty folder, and nothing in the environment but where the controller is."""
    for name in ("EDGEWRIGHT_URL", "EDGEWRIGHT_TOKEN", "EDGEWRIGHT_PIN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EDGEWRIGHT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """A controller with laboratory keys, listening."""
    (tmp_path / "data").mkdir()
    made = make_parts(tmp_path / "data")
    with served(made):
        yield made
    made.director.close()
    made.db.close()


def test_the_directors_root_moves_to_two_people(parts: Parts, capsys: Capture) -> None:
    """A root of two people takes both signatures; from then on the controller alone cannot change it."""
    assert "LABORATORY KEYS" in said(capsys, "director", "show")
    for name in ("ann", "ben", "cem"):
        said(capsys, "keys", "new", f"{name}.pem")
    people = [word for name in ("ann", "ben", "cem") for word in ("--public", f"{name}.pem.pub")]
    asked = said(capsys, "director", "rotate", "root", *people, "--threshold", "2")
    assert "Root 1" in asked
    assert "waits for 2 more signatures of root" in asked
    said(capsys, "director", "export", "request.json")
    said(capsys, "keys", "sign", "request.json", "--key", "ann.pem", "--yes")
    assert "waits for 1 more signature" in said(capsys, "director", "import", "request.json")
    said(capsys, "keys", "sign", "request.json", "--key", "ben.pem", "--yes")
    done = said(capsys, "director", "import", "request.json")
    assert "Root 2" in done
    assert "LABORATORY" not in done
    assert "waits for 2 more signatures" in said(capsys, "director", "rotate", "targets")
    assert len(parts.director.show().roots) == 2


def test_a_request_that_nobody_made_is_refused(parts: Parts, capsys: Capture) -> None:
    """Where nothing waits, export and import say so by their numbers, and so does a role that is none."""
    del parts
    status, line = refused(capsys, "director", "export", "request.json")
    assert (status, "No root of the director waits" in line) == (111, True)
    Path("request.json").write_text("{}")
    status, line = refused(capsys, "director", "import", "request.json")
    assert (status, "No root of the director waits" in line) == (103, True)
    assert refused(capsys, "director", "rotate", "snapshot")[0] == 99


def test_a_suspicion_is_seen_and_taken_away(parts: Parts, capsys: Capture) -> None:
    """``devices`` shows who is suspicious and why; ``trust`` takes it away, and only where there is one."""
    with parts.db.session() as session:
        session.add(Device(id="r1", target="t", suspicion="clone: two connections carry the number 6."))
    listed = said(capsys, "devices")
    assert "suspicious" in listed
    assert "two connections carry the number 6" in listed
    said(capsys, "trust", "r1", "--reason", "Its disk was replaced.")
    assert "suspicious" not in said(capsys, "devices")
    assert refused(capsys, "trust", "r1")[0] == 91
