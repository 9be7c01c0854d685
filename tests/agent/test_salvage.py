"""A database that the disk has damaged: the device lives on, and says what it no longer knows."""

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgewright.agent.database import Database
from edgewright.agent.journal import Journal
from edgewright.agent.salvage import open_database
from edgewright.wire.errors import DamagedDatabaseError
from simulators.disk.stories import Device, Stage

PAGE_BYTES = 4096


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """A fleet whose device has committed version 1, is off, and is assigned version 2."""
    fleet = Stage(tmp_path_factory.mktemp("fleet") / "device")
    fleet.release(1)
    fleet.assign(1)
    fleet.start()
    fleet.read()
    fleet.stop()
    fleet.release(2)
    fleet.assign(2)
    return fleet


@pytest.fixture
def stage(fleet: Stage, tmp_path: Path) -> Iterator[Stage]:
    """The fleet with a copy of the device's folder."""
    kept, fleet.folder = fleet.folder, tmp_path / "device"
    shutil.copytree(kept, fleet.folder, symlinks=True)
    yield fleet
    fleet.folder = kept
    fleet.simulator.topics.connected = True


def damage(stage: Stage, change: Callable[[bytearray], None]) -> None:
    """Change bytes of the database."""
    path = stage.folder / "agent.db"
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)


def page_of(stage: Stage, table: str) -> int:
    """Number of a table's first page, from 0."""
    connection = sqlite3.connect(stage.folder / "agent.db")
    (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    connection.close()
    return int(page) - 1


def wipe(stage: Stage, table: str) -> None:
    """Make the page of a table unreadable."""
    page = page_of(stage, table)
    noise = random.Random(1).randbytes(PAGE_BYTES)
    damage(
        stage, lambda content: content.__setitem__(slice(page * PAGE_BYTES, (page + 1) * PAGE_BYTES), noise)
    )


def test_a_whole_database_is_left_as_it_is(stage: Stage) -> None:
    """Without damage nothing is reported, and the next start finds what the last one left."""
    before = Journal(Database(stage.folder / "agent.db")).device()
    database, lost = open_database(stage.folder / "agent.db")
    assert lost is None
    assert Journal(database).device() == before
    assert not (stage.folder / "agent.db.damaged").exists()


@pytest.mark.parametrize("table", ["messages", "deployments", "floors", "device", "slots", "proofs"])
def test_the_device_lives_on(stage: Stage, table: str) -> None:
    """Whichever table is damaged, the device starts, reports E089 and reaches the next version."""
    wipe(stage, table)
    stage.start()
    assert "DamagedDatabase" in stage.device.names()
    assert stage.reaches_its_version()
    assert stage.device.running is not None
    assert stage.device.running.version == 2
    assert (stage.folder / "agent.db.damaged").exists()


@pytest.mark.parametrize("table", ["messages", "floors", "names", "device"])
def test_the_model_decides_without_network(stage: Stage, table: str) -> None:
    """Where the slots can still be read, the model decides before anybody is asked."""
    wipe(stage, table)
    stage.simulator.topics.connected = False
    stage.start()
    if table == "device":
        assert stage.device.running_artifact is None  # Nobody knows which slot was active.
    else:
        assert stage.device.running_artifact is not None


def test_the_accepted_assignment_is_read_again(stage: Stage) -> None:
    """A device that had reached its version reads its assignment once more, as no second one."""
    stage.start()
    assert stage.reaches_its_version()
    stage.stop()
    wipe(stage, "messages")
    stage.start()
    known = len(stage.device.journal.deployments(50))
    assert stage.reaches_its_version()
    assert len(stage.device.journal.deployments(50)) == known + 1
    assert stage.device.names() == ["DamagedDatabase"]


def test_a_floor_outlives_the_damage_of_other_tables(stage: Stage) -> None:
    """A release counter that was committed stays the floor where its page can be read."""
    wipe(stage, "messages")
    stage.start()
    assert stage.device.journal.floors() == {"garment-packing": 1}


def test_lost_floors_are_named(stage: Stage) -> None:
    """Where the floors cannot be read, the report says that they are lost: none sinks in silence."""
    wipe(stage, "floors")
    _, lost = open_database(stage.folder / "agent.db")
    assert lost is not None
    assert "floors of release counters" in lost.sentence


def test_numbers_of_messages_begin_a_new_stream(stage: Stage) -> None:
    """A number that the damaged outbox may have sent is not used again: the stream is another one."""
    before = Database(stage.folder / "agent.db").connection.execute("SELECT stream FROM outbox").fetchone()
    wipe(stage, "messages")
    database, _ = open_database(stage.folder / "agent.db")
    assert database.connection.execute("SELECT stream FROM outbox").fetchone() != before


@pytest.mark.parametrize("length", [0, 1, 100, PAGE_BYTES, 5 * PAGE_BYTES + 17])
def test_a_cut_file(stage: Stage, length: int) -> None:
    """A database that lost its end, or all of itself, is noticed; nobody takes it for a new one."""
    damage(stage, lambda content: content.__delitem__(slice(length, None)))
    stage.start()
    assert "DamagedDatabase" in stage.device.names()
    assert stage.reaches_its_version()


def test_a_file_that_is_gone(stage: Stage) -> None:
    """A database that is missing beside a filled store is reported, not taken for a first start."""
    (stage.folder / "agent.db").unlink()
    _, lost = open_database(stage.folder / "agent.db")
    assert lost is not None
    assert "floors" in lost.sentence


def test_a_first_start_is_no_damage(tmp_path: Path) -> None:
    """A device that has never had a database begins one without a word."""
    _, lost = open_database(tmp_path / "agent.db")
    assert lost is None


@pytest.mark.parametrize("seed", [*range(12), 15, 25, 35])
def test_random_damage(stage: Stage, seed: int) -> None:
    """Bytes changed anywhere in the file never keep the device from its next version."""
    draw = random.Random(seed)

    def change(content: bytearray) -> None:
        for _ in range(draw.choice((1, 4, 64))):
            start, length = draw.randrange(len(content)), draw.choice((1, 16, 512))
            content[start : start + length] = draw.randbytes(length)[: len(content) - start]

    damage(stage, change)
    stage.start()
    assert stage.reaches_its_version()


def test_a_foreign_schema_number_is_damage(stage: Stage) -> None:
    """A schema beyond any that a newer agent could have is a damaged number, and the device starts."""
    database = Database(stage.folder / "agent.db")
    database.connection.execute("PRAGMA user_version = 67108869")
    database.close()
    with pytest.raises(DamagedDatabaseError):
        Database(stage.folder / "agent.db")
    Device(stage.simulator, stage.folder)
    assert (stage.folder / "agent.db.damaged").exists()
