"""The audit log as attack stories: whoever changes it is found, at the entry where they began."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewright.controller import events
from edgewright.controller.cli import main
from edgewright.controller.database import Session, col, select
from edgewright.controller.database.engine import Archive, Database
from edgewright.controller.database.tables import AuditEntry, Device, EnrolmentToken
from edgewright.controller.errors import AuditBrokenError, DataFolderDamagedError
from edgewright.controller.people import audit, heads
from edgewright.controller.people.acting import Acting, acting
from edgewright.controller.people.audit import GENESIS, Tip
from edgewright.controller.people.person import Person
from edgewright.controller.people.roles import Role
from edgewright.wire.canonical import canonical_json
from tests.controller.parts import TOKEN, Parts, make_parts
from tests.controller.people_rig import OWN, Plant, make_plant
from tests.controller.served import served
from tests.controller.storyline import MODEL, tell

ADA = Person("0123456789ab", "Ada", Role.ENGINEER)
Change = Callable[[sqlite3.Connection], object]


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """Services over a new data folder."""
    made = make_parts(tmp_path)
    yield made
    made.db.close()


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """An empty database in a folder."""
    made = Database.in_folder(tmp_path)
    made.create()
    yield made
    made.close()


@pytest.fixture
def plant(parts: Parts) -> Plant:
    """An application in the middle of the story."""
    tell(parts.db, parts.blobs, 1e9, 362.0)
    return make_plant(parts)


def _write(db: Database, number: int = 6) -> None:
    for i in range(number):
        with db.session() as session, acting(Acting(person=ADA)):
            audit.enter(session, "model.push", f"m v{i + 1}", detail={"files": i, "at": 0.1 + i})


def _log(db: Database) -> list[AuditEntry]:
    with db.reading() as session:
        return list(session.exec(select(AuditEntry).order_by(col(AuditEntry.seq))))


def _newest(plant: Plant) -> AuditEntry:
    return _log(plant.parts.db)[-1]


def test_a_whole_log_is_whole(db: Database) -> None:
    """The chain begins at the documented genesis, and its end is the last entry's digest."""
    assert audit.verify(audit.entries(db)) == Tip(0, GENESIS)
    _write(db)
    rows = _log(db)
    assert (rows[0].seq, rows[0].previous_sha256) == (1, GENESIS)
    assert audit.verify(audit.entries(db, batch=2)) == Tip(6, rows[-1].sha256)
    assert (rows[0].actor, rows[0].role, rows[0].outcome) == ("Ada (0123456789ab)", "engineer", "done")


def _without_guards(path: Path, change: Change) -> None:
    """What somebody does who may write the file: the triggers are no obstacle to them."""
    connection = sqlite3.connect(path / "edgewright.db", isolation_level=None)
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    change(connection)
    connection.close()


def _forge(connection: sqlite3.Connection) -> None:
    """Write everything from entry 4 on anew, with digests that fit."""
    connection.execute("UPDATE auditentry SET actor = 'nobody' WHERE seq = 4")
    before = connection.execute("SELECT sha256 FROM auditentry WHERE seq = 3").fetchone()[0]
    names = ("seq", "at", "actor", "role", "action", "subject", "outcome", "detail")
    statement = "SELECT seq, at, actor, role, action, subject, outcome, detail FROM auditentry WHERE seq >= 4"
    for row in connection.execute(statement).fetchall():
        values: dict[str, Any] = dict(zip(names, row, strict=True))
        values["detail"] = json.loads(values["detail"])
        entry = audit.Entry(**values, previous_sha256=before)
        before = audit.digest(entry)
        connection.execute(
            "UPDATE auditentry SET previous_sha256 = ?, sha256 = ? WHERE seq = ?",
            (entry.previous_sha256, before, entry.seq),
        )


def _swap(connection: sqlite3.Connection) -> None:
    for old, new in ((2, 99), (3, 2), (99, 3)):
        connection.execute("UPDATE auditentry SET seq = ? WHERE seq = ?", (new, old))


ATTACKS: dict[str, tuple[Change, int]] = {
    "an actor is changed": (lambda c: c.execute("UPDATE auditentry SET actor = 'x' WHERE seq = 3"), 3),
    "a moment is changed": (lambda c: c.execute("UPDATE auditentry SET at = at + 1 WHERE seq = 1"), 1),
    "a detail is changed": (lambda c: c.execute("UPDATE auditentry SET detail = '{}' WHERE seq = 5"), 5),
    "an outcome is changed": (lambda c: c.execute("UPDATE auditentry SET outcome = 'E107' WHERE seq = 6"), 6),
    "the first row is removed": (lambda c: c.execute("DELETE FROM auditentry WHERE seq = 1"), 1),
    "a row is removed": (lambda c: c.execute("DELETE FROM auditentry WHERE seq = 3"), 3),
    "rows are swapped": (_swap, 2),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_chain_shows_where_it_was_changed(db: Database, tmp_path: Path, attack: str) -> None:
    """Whole before; after the change the first entry that does not fit is named."""
    change, first = ATTACKS[attack]
    _write(db)
    audit.verify(audit.entries(db))
    _without_guards(tmp_path, change)
    with pytest.raises(AuditBrokenError, match=rf"Entry {first}\b") as caught:
        audit.verify(audit.entries(Archive(tmp_path)))
    assert caught.value.number == 105


@pytest.mark.parametrize(
    ("change", "first"),
    [
        pytest.param(lambda c: c.execute("DELETE FROM auditentry WHERE seq > 4"), 5, id="removed tail"),
        pytest.param(lambda c: c.execute("DELETE FROM auditentry"), 1, id="removed all"),
        pytest.param(_forge, 6, id="forged from some entry on"),
    ],
)
def test_a_kept_head_shows_what_a_chain_cannot(
    db: Database, tmp_path: Path, change: Change, first: int
) -> None:
    """A log that was shortened or written anew is a whole chain, and not the one that the head names."""
    _write(db)
    kept = heads.present_head(db, tmp_path)
    _write(db, 2)
    audit.verify(audit.entries(db), [kept.head.tip])
    _without_guards(tmp_path, change)
    audit.verify(audit.entries(Archive(tmp_path)))
    with pytest.raises(AuditBrokenError, match=rf"Entry {first}\b"):
        audit.verify(audit.entries(Archive(tmp_path)), [kept.head.tip])


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE auditentry SET actor = 'x'",
        "DELETE FROM auditentry WHERE seq = 2",
        "INSERT OR REPLACE INTO auditentry SELECT * FROM auditentry WHERE seq = 2",
        "INSERT INTO auditentry VALUES (9, 1.0, '', '', '', '', '', '{}', '', '')",
    ],
)
def test_the_table_only_grows_at_its_end(db: Database, tmp_path: Path, statement: str) -> None:
    """The database itself refuses to change, to remove, to replace and to leave a gap."""
    _write(db)
    connection = sqlite3.connect(tmp_path / "edgewright.db", isolation_level=None)
    with pytest.raises(sqlite3.IntegrityError, match="append only"):
        connection.execute(statement)
    connection.close()
    assert audit.verify(audit.entries(db)).seq == 6


def test_a_head_of_another_key_or_a_changed_one_is_refused(db: Database, tmp_path: Path) -> None:
    """A head counts with its own signature and, where a fingerprint is given, with that key only."""
    _write(db)
    signed = heads.present_head(db, tmp_path)
    data = canonical_json(signed)
    own = heads.HeadKey(tmp_path / "keys" / "audit").fingerprint
    assert heads.read_head(data, own) == signed
    other = heads.HeadKey(tmp_path / "other").sign(signed.head.tip, 1.0)
    with pytest.raises(AuditBrokenError, match="another key"):
        heads.read_head(canonical_json(other), own)
    for wrong in (data.replace(b'"seq":6', b'"seq":5'), data[:-9], b"", b"[]", b"\xff" * 99, data * 9):
        with pytest.raises(AuditBrokenError):
            heads.read_head(wrong)
    key = tmp_path / "keys" / "audit" / "key.pem"
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_head_is_kept_once_a_day(db: Database, tmp_path: Path) -> None:
    """The second one of a day changes nothing: it would hide what happened since the first."""
    _write(db, 2)
    heads.keep_head(db, tmp_path)
    _write(db, 2)
    heads.keep_head(db, tmp_path)
    (kept,) = heads.kept_heads(tmp_path)
    assert kept.head.seq == 2
    (path,) = (tmp_path / "audit").iterdir()
    assert path.name == time.strftime("%Y-%m-%d.json", time.gmtime())


def test_an_entry_stands_and_falls_with_its_change(plant: Plant) -> None:
    """A transaction that fails leaves neither the change nor the entry."""
    before = len(_log(plant.parts.db))

    def fail(session: Session) -> None:
        events.record(session, "rollout.paused", "Paused.", rollout=2)
        raise RuntimeError("after the entry")

    with pytest.raises(RuntimeError), plant.parts.db.session() as session:
        fail(session)
    assert len(_log(plant.parts.db)) == before


def test_what_the_controller_does_by_itself_is_entered(plant: Plant) -> None:
    """A rebuild, a rollout that begins by itself and a halt have the controller as their actor."""
    kinds = ("rebuild.started", "rollout.started", "rollout.stopped", "alarm.raised")
    with plant.parts.db.session() as session:
        for kind in kinds:
            events.record(session, kind, f"{kind} happened.", model=MODEL, version=2, rollout=7)
        events.record(session, "device.connected", "No change.", device="robot-1")
    found = _log(plant.parts.db)[-4:]
    assert [(row.actor, row.role, row.action) for row in found] == [("controller", "", k) for k in kinds]
    assert found[0].subject == "rollout 7"


def test_what_a_person_orders_is_entered_with_the_change(plant: Plant) -> None:
    """API and page: who, with which role, what, about what; one entry each."""
    before = len(_log(plant.parts.db))
    plant.client(plant.tokens[Role.OPERATOR]).post("/api/v1/rollouts/2/pause", json={"reason": "lunch"})
    row = _newest(plant)
    assert (row.action, row.subject, row.outcome, row.role) == (
        "rollout.pause",
        "rollout 2",
        "done",
        "operator",
    )
    assert row.actor.startswith("the operator (")
    assert "lunch" in row.detail["sentence"]
    browser = plant.browser(plant.tokens[Role.OPERATOR])
    assert _newest(plant).action == "page.login"
    browser.post("/rollouts/2/resume", headers=OWN)
    assert (_newest(plant).action, _newest(plant).subject) == ("rollout.resume", "rollout 2")
    assert len(_log(plant.parts.db)) == before + 3


def test_a_change_without_an_event_is_entered_all_the_same(plant: Plant) -> None:
    """An enrolment token has no event; it is entered all the same, without its secret."""
    engineer = plant.client(plant.tokens[Role.ENGINEER])
    engineer.post("/api/v1/tokens", json={})
    row = _newest(plant)
    assert (row.action, row.subject, row.outcome) == ("enrolment.token", "any device", "done")
    assert "ewe_" not in json.dumps(row.detail)


def test_refusals_of_known_people_are_entered_once_a_minute(plant: Plant) -> None:
    """Too low a role, an old token and a failed change are entered; nobody's noise is not."""
    viewer = plant.client(plant.tokens[Role.VIEWER])
    before = len(_log(plant.parts.db))
    for _ in range(5):
        assert viewer.post("/api/v1/rollouts/2/abort", json={}).status_code == 403
    row = _newest(plant)
    assert (row.action, row.outcome, row.subject) == ("rollout.abort", "E107", "/api/v1/rollouts/2/abort")
    plant.people.tokens.revoke(plant.tokens[Role.ADMIN].split("_")[1])
    plant.client(plant.tokens[Role.ADMIN]).get("/api/v1/devices")
    row = _newest(plant)
    assert (row.action, row.outcome) == ("device.read", "E094")
    assert row.actor.startswith("the admin (")
    plant.client("ewt_000000000000_" + "x" * 43).get("/api/v1/devices")
    plant.client().post("/api/v1/rollouts/2/abort", json={})
    assert len(_log(plant.parts.db)) == before + 3
    plant.client(plant.tokens[Role.OPERATOR]).post("/api/v1/rollouts/99/abort", json={})
    assert _newest(plant).outcome == "E101"


def test_no_secret_gets_into_an_entry(plant: Plant) -> None:
    """A whole token in an address or a reason is cut off behind its id."""
    secret = plant.tokens[Role.VIEWER].split("_", 2)[2]
    admin = plant.client(TOKEN)
    admin.delete(f"/api/v1/people/tokens/{plant.tokens[Role.VIEWER]}")
    reason = f"leaked: {plant.tokens[Role.VIEWER]} and ewe_{'a' * 32}.{'0' * 64}"
    admin.post("/api/v1/rollouts/2/pause", json={"reason": reason})
    told = json.dumps([[row.subject, row.detail] for row in _log(plant.parts.db)])
    assert secret not in told
    assert "a" * 32 not in told
    assert f"ewt_{plant.tokens[Role.VIEWER].split('_')[1]}_..." in told


def test_a_request_that_ended_acts_no_longer(db: Database) -> None:
    """A thread that copied the context of a request does not write in its name later."""
    over = Acting(person=ADA, action="model.push")
    with acting(over):
        pass
    with acting(Acting()) as present:
        present.ended = True
        with db.session() as session:
            audit.enter(session, "rebuild.started", "m v2")
    assert over.ended
    assert _log(db)[-1].actor == "controller"


def test_a_suspicion_that_is_settled_is_entered(plant: Plant) -> None:
    """An admin's word that a device is no copy has its reason in the log."""
    with plant.parts.db.session() as session:
        session.get_one(Device, "robot-2").suspicion = "Its counter went back."
    body = {"reason": "Its disk was restored on Monday."}
    answer = plant.client(TOKEN).post("/api/v1/devices/robot-2/trust", json=body)
    assert answer.status_code == 204
    row = _newest(plant)
    assert (row.action, row.subject) == ("device.trust", "device robot-2")
    assert "restored on Monday" in row.detail["sentence"]
    again = plant.client(TOKEN).post("/api/v1/devices/robot-2/trust", json=body)
    assert again.json()["number"] == 91


def test_the_page_shows_entries_and_finds_them(plant: Plant) -> None:
    """Search takes every word; the picture counts; wildcards and quotes are plain text."""
    plant.client(plant.tokens[Role.OPERATOR]).post("/api/v1/rollouts/2/pause", json={})
    browser = plant.browser(TOKEN)
    assert "rollout.pause" in browser.get("/audit").text
    assert "rollout.pause" in browser.get("/audit", params={"search": "OPERATOR rollout"}).text
    for nothing in ("operator page.login", "%", "_", "' OR 1=1 --", "x" * 200):
        found = browser.get("/audit", params={"search": nothing})
        assert found.status_code == 200
        assert "No entry has these words" in found.text, nothing
    assert browser.get("/audit", params={"page": 999_999}).status_code == 200
    with plant.parts.db.reading() as session:
        counts = audit.activity(session, "", time.time() - 3600, 3600)
    assert sum(done + refused for done, refused in counts.values()) == len(_log(plant.parts.db))


def _run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_command_line_verifies_a_running_and_a_stopped_folder(
    parts: Parts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """List, export and head ask the controller; verify reads the folder alone, and names what is broken."""
    data = parts.data
    _write(parts.db)
    head, exported = tmp_path / "head.json", tmp_path / "log.jsonl"
    with served(parts):
        assert _run("whoami", "--data", data) == 0
        assert "local admin (local): admin for all models." in capsys.readouterr().out
        assert _run("audit", "list", "--search", "push", "--data", data) == 0
        assert "model.push" in capsys.readouterr().out
        assert _run("audit", "head", "--out", head, "--data", data) == 0
        fingerprint = capsys.readouterr().err.split()[-1].rstrip(".")
        assert _run("audit", "export", "--out", exported, "--data", data) == 0
        assert _run("audit", "verify", "--data", data, "--head", head, "--fingerprint", fingerprint) == 0
    capsys.readouterr()
    assert _run("audit", "verify", "--export", exported, "--head", head) == 0
    assert "The log is whole: 8 entries, compared with 2 signed heads." in capsys.readouterr().out
    parts.db.close()
    assert _run("audit", "verify", "--data", data) == 0
    _without_guards(data, lambda c: c.execute("DELETE FROM auditentry WHERE seq > 5"))
    capsys.readouterr()
    assert _run("audit", "verify", "--data", data) == 0
    assert _run("audit", "verify", "--data", data, "--head", head) == 105
    said = capsys.readouterr().err
    assert said.startswith("E105 Entry 6 is missing")
    assert "Traceback" not in said
    lines = exported.read_bytes().splitlines()
    exported.write_bytes(b"\n".join([*lines[:3], *lines[4:]]))
    assert _run("audit", "verify", "--export", exported) == 105
    assert _run("audit", "verify", "--export", tmp_path / "nothing") == 62
    assert _run("audit", "verify", "--data", tmp_path / "nothing") == 62
    assert _run("audit", "verify", "--data", data, "--head", head, "--fingerprint", "sha256:00") == 105


def test_a_person_gets_a_token_by_the_command_line(
    parts: Parts, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Added, used from the environment, renewed, revoked; the secret stands on standard output only once."""
    where = ("--data", parts.data)
    with served(parts) as address:
        assert _run("people", "add", "Ada", "--role", "operator", "--model", "m", *where) == 0
        added = capsys.readouterr()
        token = added.out.strip()
        assert token.startswith("ewt_")
        assert token not in added.err
        assert _run("people", "list", *where) == 0
        listed = capsys.readouterr().out
        assert "operator" in listed
        assert token.split("_", 2)[2] not in listed
        monkeypatch.setenv("EDGEWRIGHT_TOKEN", token)
        assert _run("whoami", "--url", address) == 0
        assert "operator for m, until" in capsys.readouterr().out
        assert _run("people", "add", "Eve", "--role", "admin", "--url", address) == 107
        assert "admin" in capsys.readouterr().err
        monkeypatch.delenv("EDGEWRIGHT_TOKEN")
        assert _run("people", "renew", token.split("_")[1], *where) == 0
        renewed = capsys.readouterr().out.strip()
        assert _run("people", "revoke", renewed, *where) == 0
        monkeypatch.setenv("EDGEWRIGHT_TOKEN", renewed)
        assert _run("whoami", "--url", address) == 94
        assert "revoked" in capsys.readouterr().err


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    """A file that is no database, and one without the table, end as E062 and not as a traceback."""
    with pytest.raises(DataFolderDamagedError):
        Archive(tmp_path)
    (tmp_path / "edgewright.db").write_bytes(b"no database" * 100)
    with pytest.raises(DataFolderDamagedError):
        list(audit.entries(Archive(tmp_path)))
    (tmp_path / "edgewright.db").write_bytes(b"")
    with pytest.raises(DataFolderDamagedError):
        list(audit.entries(Archive(tmp_path)))


def test_an_enrolment_token_is_entered_with_what_it_binds(parts: Parts, tmp_path: Path) -> None:
    """Token and entry are one transaction: it says for whom and by whom, and without it none is made."""
    client = make_plant(parts).client(TOKEN)
    assert client.post("/api/v1/tokens", json={"device": "robot-7", "tags": {"line": "7"}}).status_code == 201
    row = list(audit.entries(parts.db))[-1]
    assert (row.action, row.subject, row.detail["tags"]) == (
        "enrolment.token",
        "device robot-7",
        {"line": "7"},
    )
    with sqlite3.connect(tmp_path / "edgewright.db") as file:
        file.execute("CREATE TRIGGER full BEFORE INSERT ON auditentry BEGIN SELECT RAISE(ABORT, 'full'); END")
    file.close()
    assert client.post("/api/v1/tokens", json={"device": "robot-8"}).status_code == 500
    with parts.db.reading() as session:
        tokens = session.exec(select(EnrolmentToken)).all()
    assert [(token.device, token.created_by) for token in tokens] == [("robot-7", "local admin (local)")]
