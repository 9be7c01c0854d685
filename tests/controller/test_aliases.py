"""Aliases: names that move, the champion as one truth, and every place that takes MODEL@ALIAS."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from edgewright.controller import aliases, registry
from edgewright.controller.api.app import create_app
from edgewright.controller.cli import main
from edgewright.controller.database import Session, col, select
from edgewright.controller.database.tables import Assignment, AuditEntry, Event, ModelVersion, Rollout
from edgewright.controller.database.versiontables import Alias
from edgewright.controller.errors import UnknownAliasError, UnknownModelError, VersionNotReadyError
from edgewright.controller.people.roles import Role
from edgewright.controller.retention import live_versions
from edgewright.controller.retirement import gather
from tests.controller.parts import TOKEN, Parts, make_parts
from tests.controller.people_rig import make_plant
from tests.controller.served import served
from tests.controller.storyline import MODEL, tell

ALIASES = f"/models/{MODEL}/aliases"


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """The end of the story: v1 and v2 are ready, both were finished by a rollout, v2 last."""
    made = make_parts(tmp_path)
    tell(made.db, made.blobs, time.time() - 400.0, 400.0)
    yield made
    made.db.close()


@pytest.fixture
def client(parts: Parts) -> TestClient:
    """A client of the application."""
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    return TestClient(create_app(parts), base_url="http://127.0.0.1/api/v1", headers=bearer)


@pytest.mark.parametrize(
    "name", ["", "3", "v3", "03", "-a", "a-", "A", "a_b", "a b", "latest", "none", "é", "a" * 33, "3a"]
)
def test_what_is_no_name(name: str) -> None:
    """Numbers, reserved words, and what is not small letters, digits and inner hyphens is refused."""
    with pytest.raises(UnknownAliasError):
        aliases.verify_name(name)


@pytest.mark.parametrize("name", ["a", "champion", "challenger", "line-b", "v3-try", "a" * 32])
def test_what_is_a_name(name: str) -> None:
    """Everything else is one."""
    aliases.verify_name(name)


def _rollout(session: Session, number: int) -> Rollout:
    return session.get_one(Rollout, number)


def test_an_alias_moves_and_goes(parts: Parts) -> None:
    """It means the version that it was moved to last; the event says which one it was before."""
    with parts.db.session() as session:
        aliases.move(session, MODEL, "line-b", 1)
        aliases.move(session, MODEL, "line-b", 2)
        aliases.move(session, MODEL, "line-b", 2)
        assert aliases.resolve(session, MODEL, "line-b") == 2
        told = session.exec(select(Event.sentence).where(col(Event.kind) == "alias.moved")).all()
        assert list(told) == [
            f"{MODEL} v1 is the line-b.",
            f"{MODEL} v2 is the line-b; it was v1.",
        ]
        aliases.remove(session, MODEL, "line-b")
        with pytest.raises(UnknownAliasError):
            aliases.resolve(session, MODEL, "line-b")


def test_what_no_alias_may_name(parts: Parts) -> None:
    """A version that is not here, or not ready, gets no alias, and nothing is written."""
    with parts.db.session() as session:
        session.get_one(ModelVersion, (MODEL, 1)).state = registry.WITHDRAWN
    with parts.db.session() as session:
        with pytest.raises(VersionNotReadyError):
            aliases.move(session, MODEL, "challenger", 1)
        with pytest.raises(UnknownModelError):
            aliases.move(session, MODEL, "challenger", 9)
        with pytest.raises(UnknownModelError):
            aliases.list_aliases(session, "no-such")
        assert not aliases.list_aliases(session)


def test_nobody_moves_the_champion_by_hand(client: TestClient, parts: Parts) -> None:
    """The champion is what a rollout finished with: setting and removing it are E112."""
    with parts.db.session() as session:
        aliases.crown(session, _rollout(session, 2))
    for answer in (
        client.put(f"{ALIASES}/champion", json={"version": 1}),
        client.delete(f"{ALIASES}/champion"),
    ):
        assert answer.json()["number"] == 112
    assert client.get(f"{ALIASES}/champion").json()["version"] == 2


def test_champions_of_older_controllers_are_named_at_the_start(parts: Parts) -> None:
    """Where rollouts finished before there were aliases, the newest of them names the champion; a second
    start changes nothing.
    """
    with parts.db.session() as session:
        aliases.settle(session)
        (row,) = aliases.list_aliases(session)
        assert (row.name, row.version, row.moved_by) == ("champion", 2, "controller")
    with parts.db.session() as session:
        session.add(_rollout(session, 1).model_copy(update={"id": 3}))
        aliases.settle(session)
        assert aliases.resolve(session, MODEL, "champion") == 2


def test_the_broker_keeps_the_champion(parts: Parts) -> None:
    """What is kept for late joiners is what the alias names, and nothing else of the model."""
    with parts.db.session() as session:
        aliases.crown(session, _rollout(session, 1))
        standings = gather(session, parts.repository)
    assert {s.version: s.is_champion for s in standings} == {1: True, 2: False}
    idle = [type(s)(s.model, s.version, is_champion=s.is_champion) for s in standings]
    assert live_versions(idle) == {(MODEL, 1): "late joiners get it"}


def test_moving_is_for_engineers_and_audited(parts: Parts) -> None:
    """An operator is refused with E107; an engineer's move stands in the audit log under the action's name,
    as it does on a token for this model only.
    """
    plant = make_plant(parts)
    operator, engineer = (plant.client(plant.tokens[role]) for role in (Role.OPERATOR, Role.ENGINEER))
    address = f"/api/v1{ALIASES}/challenger"
    assert operator.put(address, json={"version": 2}).json()["number"] == 107
    assert engineer.put(address, json={"version": 2}).status_code == 200
    other = plant.client(plant.people.tokens.add("Other", "engineer", ("bottle-sorting",)).text)
    assert other.put(address, json={"version": 1}).json()["number"] == 107
    with parts.db.reading() as session:
        rows = session.exec(select(AuditEntry).where(col(AuditEntry.action) == "model.alias")).all()
        assert session.get_one(Alias, (MODEL, "challenger")).moved_by.startswith(rows[1].actor)
    assert [row.outcome for row in rows] == ["E107", "done", "E107"]
    assert rows[1].detail["event"] == "alias.moved"


def test_an_alias_may_follow_another(client: TestClient) -> None:
    """A body names a number or an alias; what it means is fixed at that moment."""
    assert client.put(f"{ALIASES}/challenger", json={"version": 2}).json()["version"] == 2
    assert client.put(f"{ALIASES}/line-b", json={"version": "challenger"}).json()["version"] == 2
    client.put(f"{ALIASES}/challenger", json={"version": 1})
    assert [(a["name"], a["version"]) for a in client.get(ALIASES).json()] == [
        ("challenger", 1),
        ("line-b", 2),
    ]
    assert client.put(f"{ALIASES}/latest", json={"version": 1}).json()["number"] == 112
    assert client.get(f"{ALIASES}/nobody").status_code == 404


def test_a_rollout_takes_an_alias(client: TestClient, parts: Parts) -> None:
    """A rollout of an alias is one of the version that it means when it starts."""
    client.put(f"{ALIASES}/challenger", json={"version": 2})
    body = {"model": MODEL, "version": "challenger", "reason": "by name"}
    number = client.post("/rollouts", json=body).json()["id"]
    assert client.get(f"/rollouts/{number}").json()["version"] == 2
    assert client.post("/rollouts", json={**body, "version": "nobody"}).json()["number"] == 112


def test_a_withdrawal_names_the_aliases(parts: Parts) -> None:
    """Aliases of a withdrawn version stay, and the event says which they are."""
    with parts.db.session() as session:
        aliases.settle(session)
        aliases.move(session, MODEL, "line-b", 2)
        registry.withdraw(session, MODEL, 2, "bad light.")
        registry.withdraw(session, MODEL, 1)
        told = session.exec(select(Event.sentence).where(col(Event.kind) == "version.withdrawn")).all()
    assert list(told) == [
        f"{MODEL} v2 was withdrawn: bad light. Still named by: champion, line-b.",
        f"{MODEL} v1 was withdrawn.",
    ]


def test_a_part_of_the_fleet_names_no_champion_of_older_controllers(parts: Parts) -> None:
    """At the start the newest rollout that left nobody with another version names the champion, and not a
    newer one to a single robot.
    """
    with parts.db.session() as session:
        session.add(_rollout(session, 1).model_copy(update={"id": 3, "selector": "id=robot-1"}))
        for name in ("robot-1", "robot-2"):
            session.merge(
                Assignment(
                    device=name,
                    version=1,
                    model=MODEL,
                    model_version=2,
                    manifest_sha256="",
                    rollout=2,
                    issued=1.0,
                    document=b"",
                )
            )
        session.flush()
        aliases.settle(session)
        assert aliases.resolve(session, MODEL, "champion") == 2


def test_a_qualification_takes_an_alias(
    client: TestClient, parts: Parts, capsys: pytest.CaptureFixture[str]
) -> None:
    """A version to be measured is named as everywhere: it is found, and only a device lacks."""
    body = {"model": MODEL, "target": "x86_64-ort-cpu"}
    client.put(f"{ALIASES}/challenger", json={"version": 2})
    assert client.post("/qualifications", json={**body, "version": "challenger"}).json()["number"] == 114
    assert client.post("/qualifications", json={**body, "version": "nobody"}).json()["number"] == 112
    with served(parts):
        for name, status in (("challenger", 114), ("v2", 114), ("nobody", 112)):
            with pytest.raises(SystemExit) as ended:
                main(["qualify", f"{MODEL}@{name}", "--data", str(parts.data)])
            assert (ended.value.code, name) == (status, name)
    capsys.readouterr()
