"""The attacker forges or repeats what devices say, or what they are told about it; or copies a device."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edgewright.agent.devicekey import DeviceKey
from edgewright.controller.database import select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import Device, Event
from edgewright.controller.ingest.opening import Opener
from edgewright.controller.ingest.suspicion import Known, Name, suspect
from edgewright.wire import messages, topics
from edgewright.wire.messages import Hello, Want
from edgewright.wire.sealed import seal
from simulators.device import DeviceStub
from simulators.repository import StolenKeys
from tests.attacks.stage import PATHS, assert_runs_one, set_stage

ROBOT = "robot-1"
WANT = Want(device=ROBOT, sent_at=1.0)


@pytest.fixture
def enrolled(tmp_path: Path) -> Iterator[tuple[Database, DeviceKey]]:
    """A controller's database with one device, and that device's key."""
    db, key = Database.in_folder(tmp_path), DeviceKey.generate()
    db.create()
    with db.session() as session:
        session.add(Device(id=ROBOT, target="t", tags={}, enrolled_at=1.0, public_key=key.public_der()))
    yield db, key
    db.close()


def _say(db: Database, *payloads: bytes, device: str = ROBOT) -> list[messages.Upward]:
    return Opener(db).open([(topics.up(device, "want"), payload) for payload in payloads])[0]


def _events(db: Database) -> list[str]:
    with db.reading() as session:
        return [event.kind for event in session.exec(select(Event)).all()]


def test_forged_report(enrolled: tuple[Database, DeviceKey]) -> None:
    """A report without the device's signature, or with another key's, is dropped, and one event names it."""
    db, key = enrolled
    body = messages.encode(WANT)
    assert _say(db, seal(body, "up", key.sign)) == [WANT]
    stranger = DeviceKey.generate()
    assert _say(db, body, seal(body, "up", stranger.sign), seal(body, "down", key.sign)) == []
    assert _events(db) == ["device.unsigned"]


def test_report_about_another_device(enrolled: tuple[Database, DeviceKey]) -> None:
    """What a device signs about another one, or on another's topic, does not count."""
    db, key = enrolled
    other = msgspec.structs.replace(WANT, device="robot-2")
    assert _say(db, seal(messages.encode(other), "up", key.sign)) == []
    assert _say(db, seal(messages.encode(other), "up", key.sign), device="robot-2") == []


def test_report_of_a_revoked_device(enrolled: tuple[Database, DeviceKey]) -> None:
    """A revoked device's signature is good, and what it says does not count any more."""
    db, key = enrolled
    with db.session() as session:
        row = session.exec(select(Device)).one()
        row.revoked_at = 1.0
        session.add(row)
    assert _say(db, seal(messages.encode(WANT), "up", key.sign)) == []
    assert _events(db) == ["device.unsigned"]


def test_forged_acknowledgement(device: DeviceStub) -> None:
    """An acknowledgement by anybody but the director's key deletes no report: UnsignedMessage."""
    stream, waiting, sent = device.outbox.stream, device.outbox.waiting, device.send()
    body = messages.encode(messages.Ack(stream=stream, through=sent))
    for forged in (body, device.simulator.acknowledge(stream, sent, keys=StolenKeys.made_up())):
        device.hear_ack(forged)
    assert device.outbox.waiting >= waiting
    assert "UnsignedMessage" in device.names()
    assert_runs_one(device)
    device.hear_ack(device.simulator.acknowledge(stream, sent))
    assert device.outbox.waiting < waiting


def _known(hello: Hello) -> Known:
    return Known(
        hello.counter,
        hello.sent_at,
        hello.assignment_version,
        hello.seen_root,
        hello.seen_timestamp,
        hello.director_root,
        hello.stream,
    )


def test_whole_disk_restored(tmp_path: Path) -> None:
    """A device whose whole disk went back to an older copy cannot know it; its counters tell: restored."""
    folder = tmp_path / "device"
    device = set_stage(folder)
    before = _known(device.hello())
    device.cut_power()
    shutil.copytree(folder, tmp_path / "copy")
    device = DeviceStub(device.simulator, folder).start()
    device.simulator.assign(PATHS[2])
    device.read_topics()
    newest = device.hello()
    assert suspect(before, newest, stream_is_old=False) is None
    device.hello()
    known = _known(device.hello())
    device.cut_power()
    restored = DeviceStub(device.simulator, tmp_path / "copy").start()
    found = suspect(known, restored.hello(), stream_is_old=False)
    assert found is not None
    assert found.name is Name.RESTORED


def test_cloned_device(tmp_path: Path) -> None:
    """Two machines with one identity count their connections each for itself: clone."""
    folder = tmp_path / "device"
    original = set_stage(folder)
    known = _known(original.hello())
    original.cut_power()
    shutil.copytree(folder, tmp_path / "copy")
    original = DeviceStub(original.simulator, folder).start()
    clone = DeviceStub(original.simulator, tmp_path / "copy").start()
    first, second = original.hello(), clone.hello()
    assert suspect(known, first, stream_is_old=False) is None
    found = suspect(_known(first), second, stream_is_old=False)
    assert found is not None
    assert found.name is Name.CLONE
