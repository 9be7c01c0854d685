"""The attacker has an account, or writes to the controller's database; what he did has to show."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from securesystemslib.signer import CryptoSigner

from edgewright.controller.database.engine import Database
from edgewright.controller.errors import AuditBrokenError, SignaturesMissingError
from edgewright.controller.people import audit
from edgewright.controller.people.roles import Role
from edgewright.controller.trust import ceremony, documents
from edgewright.controller.trust.documents import RoleKeys
from edgewright.controller.trust.requests import Part, Request
from tests.controller.key_factory import Factory
from tests.controller.parts import make_parts
from tests.controller.people_rig import Plant, make_plant
from tests.controller.test_trust_repository import entry


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Database]:
    """A database with an audit log of five entries that verifies."""
    db = Database.in_folder(tmp_path)
    db.create()
    for number in range(5):
        with db.session() as session:
            audit.enter(session, "rollout.abort", f"rollout {number}", actor="eve", role="operator")
    assert audit.verify(audit.entries(db)).seq == 5
    yield db
    db.close()


def _without_guards(folder: Path, statement: str, *values: str) -> None:
    """What somebody does who may write the file: the guards are taken down first."""
    with closing(sqlite3.connect(folder / "edgewright.db")) as file, file:
        names = [name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")]
        for name in names:
            file.execute(f"DROP TRIGGER {name}")
        file.execute(statement, values)


@pytest.mark.parametrize("statement", ["UPDATE auditentry SET actor = 'adam'", "DELETE FROM auditentry"])
def test_audit_log_rewritten_through_the_database(log: Database, tmp_path: Path, statement: str) -> None:
    """The database itself refuses to change or delete an entry, whoever asks through it."""
    with (
        closing(sqlite3.connect(tmp_path / "edgewright.db")) as file,
        file,
        pytest.raises(sqlite3.IntegrityError),
    ):
        file.execute(statement)
    assert audit.verify(audit.entries(log)).seq == 5


@pytest.mark.parametrize(
    ("statement", "entry"),
    [
        ("UPDATE auditentry SET actor = 'adam' WHERE seq = 3", 3),
        ("DELETE FROM auditentry WHERE seq = 2", 2),
    ],
)
def test_audit_log_edited(log: Database, tmp_path: Path, statement: str, entry: int) -> None:
    """An entry that was edited or removed in the file breaks the chain, and the report names it."""
    _without_guards(tmp_path, statement)
    with pytest.raises(AuditBrokenError, match=f"Entry {entry} "):
        audit.verify(audit.entries(log))


def test_audit_log_edited_with_a_new_digest(log: Database, tmp_path: Path) -> None:
    """An edited entry with the right digest of its own no longer fits the next one."""
    third = list(audit.entries(log))[2]
    changed = audit.digest(msgspec.structs.replace(third, actor="adam"))
    _without_guards(tmp_path, "UPDATE auditentry SET actor = 'adam', sha256 = ? WHERE seq = 3", changed)
    with pytest.raises(AuditBrokenError, match="Entry 4 "):
        audit.verify(audit.entries(log))


def test_audit_log_cut_off(log: Database, tmp_path: Path) -> None:
    """A log whose end is gone is whole by itself; a head that was copied away tells."""
    with log.reading() as session:
        head = audit.tip(session)
    _without_guards(tmp_path, "DELETE FROM auditentry WHERE seq > 3")
    assert audit.verify(audit.entries(log)).seq == 3
    with pytest.raises(AuditBrokenError, match="Entry 4 is missing"):
        audit.verify(audit.entries(log), [head])


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    """An application with one person of each role."""
    parts = make_parts(tmp_path)
    yield make_plant(parts)
    parts.db.close()


def test_viewer_revokes_a_device(plant: Plant) -> None:
    """Who may look may not change: refused, nothing is revoked, and the audit log has the attempt."""
    viewer, admin = plant.client(plant.tokens[Role.VIEWER]), plant.client(plant.tokens[Role.ADMIN])
    assert viewer.get("/api/v1/devices").status_code == 200
    answer = viewer.post("/api/v1/devices/robot-1/revoke", json={"reason": "spite"})
    assert answer.status_code == 403
    refused = [entry for entry in audit.entries(plant.parts.db) if entry.outcome != audit.DONE]
    assert any("the viewer" in entry.actor for entry in refused)
    assert admin.get("/api/v1/devices").status_code == 200


def test_stolen_operator_token(plant: Plant) -> None:
    """A token that was taken back is refused from the next request on, and so is one with another secret."""
    token = plant.tokens[Role.OPERATOR]
    thief = plant.client(token)
    assert thief.get("/api/v1/rollouts").status_code == 200
    plant.people.tokens.revoke(token.split("_")[1])
    assert thief.get("/api/v1/rollouts").status_code == 401
    guessed = plant.client(plant.tokens[Role.ADMIN][:-4] + "aaaa")
    assert guessed.get("/api/v1/rollouts").status_code == 401


def test_admin_of_one_model_makes_an_admin_of_all(plant: Plant) -> None:
    """An admin whose token is for one model gets no token beyond it, neither a new one nor another's."""
    admin = plant.client(plant.tokens[Role.ADMIN])
    body = {"name": "scoped", "role": "admin", "models": ["a"]}
    scoped = plant.client(admin.post("/api/v1/people/tokens", json=body).json()["token"])
    ids = [token["id"] for token in admin.get("/api/v1/people/tokens").json()]
    assert scoped.post("/api/v1/people/tokens", json={"name": "all", "role": "admin"}).status_code == 403
    for number in ids:
        assert scoped.post(f"/api/v1/people/tokens/{number}/renew", json={}).status_code == 403
    assert scoped.post("/api/v1/keys", json={"roles": ["release"], "generate": True}).status_code == 403
    assert [token["id"] for token in admin.get("/api/v1/people/tokens").json()] == ids


def test_stolen_backup_of_the_database(plant: Plant) -> None:
    """The database holds no token: only digests of secrets of 256 bits."""
    stored = (plant.parts.data / "edgewright.db").read_bytes()
    stored += (plant.parts.data / "edgewright.db-wal").read_bytes()
    for token in plant.tokens.values():
        assert token.encode() not in stored
        assert token.split("_", 2)[2].encode() not in stored


def _asked(factory: Factory, number: int) -> Request:
    """The honest request for a release."""
    with pytest.raises(SignaturesMissingError):
        factory.repository.add_release([entry(number)])
    return factory.repository.requests()[-1]


def _shown_to(factory: Factory, who: str, request: Request) -> str:
    return "\n".join(ceremony.describe(request, [factory.signer("release", who).public_key]))


def _with(request: Request, part: Part) -> Request:
    return msgspec.structs.replace(request, parts=(part,))


@pytest.mark.parametrize("under", ["a key of its own", "the name of a holder's key"])
def test_forged_request_for_signatures(tmp_path: Path, under: str) -> None:
    """A request that claims that its release was there before still shows it to the holder as an addition."""
    factory = Factory(tmp_path)
    factory.release(1)
    honest = _asked(factory, 2)
    assert "keeps 1 others" in _shown_to(factory, "alice", honest)
    (part,) = honest.parts
    (demand,) = part.demands
    cheat = CryptoSigner.generate_ed25519()
    alice = factory.signer("release", "alice").public_key.keyid
    named = cheat.public_key.keyid if under == "a key of its own" else alice
    listed = documents.parse(part.signed)
    listed.version -= 1
    text = documents.unsigned(listed)
    signature = cheat.sign(documents.signed_bytes(text)).signature
    forged = msgspec.structs.replace(
        part,
        before=documents.assemble(text, {named: signature}).decode(),
        demands=(RoleKeys({**demand.keys, named: cheat.public_key.to_dict()}, demand.threshold),),
    )
    said = _shown_to(factory, "alice", _with(honest, forged))
    assert "adds garment-packing v2" in said
    assert "WARNING: no key that you know" in said


def test_request_over_an_older_list(tmp_path: Path) -> None:
    """A list that the holder did sign, of before a withdrawal, does not hide what comes back."""
    factory = Factory(tmp_path)
    factory.release(1)
    factory.release(2)
    with_two = _asked(factory, 3).parts[0]
    with pytest.raises(SignaturesMissingError):
        factory.repository.withdraw([entry(2).path])
    factory.repository.import_signatures(
        factory.signed(factory.repository.requests()[-1], "release", "alice", "bob")
    )
    latest = next(request for request in factory.repository.requests() if request.parts[0].role != "root")
    (part,) = latest.parts
    back = documents.parse(with_two.signed)
    back.version = part.version
    forged = msgspec.structs.replace(part, signed=documents.unsigned(back), before=with_two.before)
    said = _shown_to(factory, "alice", _with(latest, forged))
    assert "adds garment-packing v2" in said
    assert "WARNING: it claims to replace version" in said
