"""Which orders stand in the documents that devices get, and under which numbers."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import Artifact, Assignment, Device, IssuedAssignment
from edgewright.controller.errors import DirectorUnavailableError
from edgewright.controller.rollouts.assigner import Assigner
from edgewright.controller.trust.acknowledgement import AcknowledgementKey
from edgewright.controller.trust.director import Director
from edgewright.controller.trust.director_seam import Order
from edgewright.controller.trust.keys import KeyStore
from edgewright.controller.trust.repository import ImageRepository, TargetEntry
from edgewright.wire.assignment import FIELD, TargetCustom
from edgewright.wire.canonical import sha256_hex
from tests.controller.parts import SimulatedPublisher

NONCE = "ab" * 16


class DeafDirector(Director):
    """A director that signs, and whose answer never comes."""

    def sign(self, orders: Sequence[Order]) -> list[bytes]:
        """Sign and say nothing."""
        super().sign(orders)
        raise DirectorUnavailableError("It does not answer.")


@dataclass
class Desk:
    """An assigner with what it writes to."""

    db: Database
    publisher: SimulatedPublisher
    repository: ImageRepository
    assigner: Assigner
    data: Path

    def order(self, device: str, version: int = 1, **orders: Any) -> None:
        """Assign a version of m to a device."""
        with self.assigner.issuing() as issue:
            issue.assign((device,), "m", version, rollout=orders.pop("rollout", 0), **orders)

    def newest(self) -> dict[str, Any]:
        """What stands in the document that was published last."""
        signed: dict[str, Any] = json.loads(self.publisher.published[-1][1])["signed"]
        return {**signed[FIELD], "version": signed["version"], "targets": signed["targets"]}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk with the devices r1 and r2, and m v1 and v2 for both."""
    db = Database.in_folder(tmp_path)
    db.create()
    with db.session() as session:
        for device in ("r1", "r2"):
            session.add(Device(id=device, target="t"))
        for version in (1, 2):
            session.add(_artifact(version))
    repository = ImageRepository(tmp_path / "tuf", KeyStore(tmp_path / "keys"))
    repository.ensure()
    publisher, director = SimulatedPublisher(), Director(tmp_path / "director")
    director.open(AcknowledgementKey(tmp_path / "keys/ack").ensure())
    assigner = Assigner(
        db,
        director,
        repository,
        publisher,  # type: ignore[arg-type]  # a simulator
        lambda device, artifact: f"{device} {artifact.model}",
    )
    yield Desk(db, publisher, repository, assigner, tmp_path)
    director.close()
    db.close()


def _artifact(version: int) -> Artifact:
    return Artifact(
        model="m",
        version=version,
        target="t",
        precision="int8",
        qualification="",
        manifest_sha256=f"{version}" * 64,
        manifest_length=1,
        artifact_sha256="",
        artifact_length=1,
        profile_sha256="",
    )


@pytest.mark.parametrize("allowed", [False, True])
def test_a_renewal_orders_exactly_what_was_ordered(desk: Desk, allowed: bool) -> None:
    """Rollback is allowed after a renewal where it was ordered, and nowhere else; the rollout stays."""
    desk.order("r1", rollout=4, allow_rollback=allowed)
    desk.assigner.renew(0.0)
    assert (desk.newest()["allow_rollback"], desk.newest()["rollout"], desk.newest()["version"]) == (
        allowed,
        4,
        2,
    )
    desk.order("r1", version=2)
    assert desk.newest()["allow_rollback"] is False


def test_a_document_demands_what_the_repository_has(desk: Desk) -> None:
    """The newest root and timestamp, the director's root, and a content key stand in the document."""
    desk.order("r1")
    said = desk.newest()
    assert (said["min_root"], said["min_director_root"]) == (desk.repository.root_version, 1)
    assert said["min_timestamp"] == desk.repository.timestamp_version
    assert said["content_key"] == "r1 m"


def test_the_target_stands_as_the_release_keys_signed_it(desk: Desk) -> None:
    """The custom part is the repository's own, with the floor of release counters that it was signed with."""
    custom = TargetCustom("m", "t", 2, 2, min_counter=2)
    desk.repository.add_release([TargetEntry("m/t/2.json", 1, "2" * 64, custom)])
    desk.order("r1", version=2)
    assert desk.newest()["targets"]["m/t/2.json"]["custom"]["min_counter"] == 2


def test_a_question_for_the_time_is_answered_once_in_a_while(desk: Desk) -> None:
    """The nonce comes back in a new document; a second question at once gets none; a renewal forgets it."""
    desk.order("r1", allow_rollback=True)
    desk.assigner.ask({"r1": NONCE, "r2": "has no assignment", "stranger": "is not enrolled"})
    desk.assigner.answer()
    said = desk.newest()
    assert (said["device"], said["nonce"], said["version"], said["allow_rollback"]) == ("r1", NONCE, 2, True)
    desk.assigner.ask({"r1": "cd" * 16})
    desk.assigner.answer()
    assert len(desk.publisher.published) == 2
    desk.assigner.renew(0.0)
    assert (desk.newest()["nonce"], desk.newest()["version"]) == ("", 3)


@pytest.mark.parametrize("asked", ["ab" * 15, "ab" * 17, "AB" * 16, "zz" * 16, NONCE + "\n", "x" * 100_000])
def test_what_is_no_nonce_is_not_signed(desk: Desk, asked: str) -> None:
    """A hello's text comes back under the director's signature only if it is 32 hexadecimal digits."""
    desk.order("r1")
    desk.assigner.ask({"r1": asked})
    desk.assigner.answer()
    assert len(desk.publisher.published) == 1


def test_numbers_go_on_where_the_director_is(desk: Desk) -> None:
    """A controller that was restored from a backup, or killed before its commit, never reuses a number."""
    desk.order("r1")
    desk.order("r1", version=2)
    with desk.db.session() as session:
        session.delete(session.get_one(Assignment, "r1"))
    desk.order("r1")
    assert desk.newest()["version"] == 3


def test_numbers_go_on_where_the_device_is(desk: Desk) -> None:
    """After a restore of controller and director the next document is above what the device has accepted."""
    desk.order("r1")
    with desk.db.session() as session:
        device = session.get_one(Device, "r1")
        device.assignment_version = 9
        session.add(device)
    desk.order("r1", version=2)
    assert desk.newest()["version"] == 10
    desk.assigner.ask({"r1": ""})
    desk.assigner.answer()
    assert (desk.newest()["version"], desk.newest()["nonce"]) == (11, "")


def test_a_device_cannot_use_its_numbers_up(desk: Desk) -> None:
    """A number that no honest document reaches is not believed."""
    with desk.db.session() as session:
        device = session.get_one(Device, "r1")
        device.assignment_version = (1 << 52) + 1
        session.add(device)
    desk.order("r1")
    assert desk.newest()["version"] == 1


def test_a_director_that_does_not_answer_changes_nothing(desk: Desk) -> None:
    """Its answer is lost: no row, no publication; the next try has another number and other bytes."""
    deaf = DeafDirector(desk.data / "director")
    deaf.open(AcknowledgementKey(desk.data / "keys/ack").ensure())
    silent = Assigner(desk.db, deaf, desk.repository, desk.publisher)  # type: ignore[arg-type]  # a simulator
    with pytest.raises(DirectorUnavailableError), silent.issuing() as issue:
        issue.assign(("r1",), "m", 1, rollout=0)
    deaf.close()
    assert desk.publisher.published == []
    desk.order("r1")
    assert desk.newest()["version"] == 2


def test_every_issued_document_is_remembered_by_its_digest(desk: Desk) -> None:
    """So that a device which acts on any other one is found out; see the ingest."""
    desk.order("r1")
    desk.assigner.renew(0.0)
    with desk.db.reading() as session:
        kept = [session.get_one(IssuedAssignment, ("r1", n)).sha256 for n in (1, 2)]
    assert kept == [sha256_hex(document) for _, document in desk.publisher.published]


def test_documents_under_an_older_root_are_issued_again(desk: Desk) -> None:
    """Killed after the director's new root and before the renewal, the next start renews all, and once."""
    desk.order("r1")
    desk.order("r2")
    after = Director(desk.data / "director")
    after.open(AcknowledgementKey(desk.data / "keys/ack").ensure())
    roots = len(after.rotate("targets").roots)
    assigner = Assigner(desk.db, after, desk.repository, desk.publisher)  # type: ignore[arg-type]  # a simulator
    for _ in range(2):
        assigner.renew_behind(roots)
        assert [device for device, _ in desk.publisher.published] == ["r1", "r2", "r1", "r2"]
    assert (desk.newest()["min_director_root"], desk.newest()["version"]) == (2, 2)
    after.close()


def test_a_revoked_device_gets_nothing_more(desk: Desk) -> None:
    """Its assignment is not renewed: it expires."""
    desk.order("r1")
    with desk.db.session() as session:
        row = session.get_one(Device, "r1")
        row.revoked_at = 1.0
        session.add(row)
    desk.assigner.renew(0.0)
    assert len(desk.publisher.published) == 1
