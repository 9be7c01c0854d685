"""What a connection to the broker makes the controller do when something of a version is damaged."""

import errno
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edgewright.controller.database import select
from edgewright.controller.database.tables import Event
from edgewright.controller.errors import DataFolderDamagedError
from edgewright.controller.qualification.service import Qualifications
from edgewright.controller.republishing import Republishing
from edgewright.controller.rollouts.assigner import Assigner
from edgewright.controller.trust.keys import KeyStore
from edgewright.controller.trust.repository import ImageRepository
from edgewright.controller.up import _Again, _put_back
from edgewright.wire import topics
from edgewright.wire.manifest import encode_manifest
from simulators.releases import make_manifest, random_artifact
from tests.contract.brokers import running
from tests.contract.test_retirement_contract import HANG_S, LOOK_S, SHARED, Plant
from tests.controller.parts import make_director


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    """Two versions on a broker, and a device with an assignment of the second."""
    with running("nats", tmp_path / "broker") as broker:
        made = Plant(tmp_path, broker)
        for version in (1, 2):
            made.release(version)
        made.assign("r1", 2, runs=True)
        yield made
        made.link.stop()
        made.db.close()


def republishing(plant: Plant) -> Republishing:
    """That of a controller with a director in this process."""
    director = make_director(plant.folder)
    assigner = Assigner(plant.db, director, plant.repository, plant.publisher)
    return Republishing(plant.db, plant.repository, plant.publisher, plant.retirement, assigner, lambda: 1)


def damage_said(plant: Plant) -> list[tuple[str, int, str]]:
    """Events of damaged versions."""
    with plant.db.reading() as session:
        rows = session.exec(select(Event).where(Event.kind == "version.damaged")).all()
    return [(row.model, row.version, row.sentence) for row in rows]


def test_a_damaged_version_is_told_once_and_holds_up_no_assignment(plant: Plant) -> None:
    """A broker without anything gets the whole version and the assignment; an event names the other version
    and the remedy, once; and when the file is back that version is published too.
    """
    path = plant.blobs.path(plant.artifacts[1].sha256)
    kept = path.read_bytes()
    path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    plant.publisher.withdraw_releases(list(plant.manifests.values()))
    part = republishing(plant)
    for _ in range(2):
        with pytest.raises(DataFolderDamagedError, match=r"^E062 1 releases"):
            part.run()
    ((model, version, sentence),) = damage_said(plant)
    assert version == 1
    assert f"{model} v1 for " in sentence
    assert "Restore it from a backup" in sentence
    own = [topics.chunk(name) for name in plant.artifacts[2].chunks]
    assignment = topics.assignment("r1")
    assert plant.link.retained([*own, assignment], LOOK_S).keys() == {*own, assignment}
    path.write_bytes(kept)
    part.run()
    assert plant.there() == {1, 2}
    assert len(damage_said(plant)) == 1


def test_nothing_is_cleared_before_all_that_is_live_is_known(plant: Plant) -> None:
    """Where a new process cannot put releases back, an order that is over waits: its candidate's chunks are
    cleared only when it is known which of them a release has too.
    """
    now = time.time()
    candidate = SHARED + random_artifact(9)
    plant.blobs.put(candidate)
    sha256 = plant.blobs.put(encode_manifest(make_manifest(9, candidate)))
    director = make_director(plant.folder)

    def new_process() -> Qualifications:
        return Qualifications(
            plant.db, plant.blobs, director, plant.publisher, plant.retirement.need, lambda: now
        )

    def part(repository: ImageRepository) -> Republishing:
        assigner = Assigner(plant.db, director, repository, plant.publisher)
        return Republishing(plant.db, repository, plant.publisher, plant.retirement, assigner, lambda: 1)

    asked = new_process()
    asked.propose({"int8": sha256}, ["q1"], limit_s=60.0)
    asked.reconnected()
    asked.step()
    plant.link.stop()
    plant.start()
    now += 61.0
    asked = new_process()
    with pytest.raises(DataFolderDamagedError):
        _put_back(part(full_disk(plant)), asked)
    asked.step()
    own = topics.chunk(sha256)
    assert plant.there() == {1, 2}
    assert plant.link.retained([own], LOOK_S).keys() == {own}
    _put_back(part(plant.repository), asked)
    asked.step()
    assert plant.there() == {1, 2}
    assert not plant.link.retained([own], LOOK_S)
    director.close()


def full_disk(plant: Plant) -> ImageRepository:
    """The same repository on a disk that takes no more, when it is time to sign again."""

    def write(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, f"{path.name}: {len(data)} bytes", str(path))

    later = datetime.now(UTC) + timedelta(days=300)
    return ImageRepository(
        plant.folder / "tuf", KeyStore(plant.folder / "keys"), write=write, clock=lambda: later
    )


def test_what_failed_is_tried_again_without_a_connection() -> None:
    """A thread that is woken once does its work again by the clock until it succeeds, and then rests."""
    done = threading.Event()
    tries: list[int] = []

    def work() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise DataFolderDamagedError("A blob is damaged.")
        done.set()

    part = _Again(work, "work", retry_s=0.01)
    part.start()
    part.wake()
    try:
        assert done.wait(HANG_S)
    finally:
        part.stop()
    assert len(tries) == 3
