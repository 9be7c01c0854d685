"""What a connection to the broker makes the controller do when something of a version is damaged."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.controller.database import select
from edgewright.controller.database.tables import Event
from edgewright.controller.errors import DataFolderDamagedError
from edgewright.controller.republishing import Republishing
from edgewright.controller.rollouts.assigner import Assigner
from edgewright.controller.up import _Again
from edgewright.wire import topics
from tests.contract.brokers import running
from tests.contract.test_retirement_contract import HANG_S, LOOK_S, Plant
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
