"""The one writer, on a broker link that is not connected: what it queues is what it would send."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from edgewright.agent.devicekey import DeviceKey
from edgewright.controller.blobs import BlobStore
from edgewright.controller.database import select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import Device, Window
from edgewright.controller.ingest.writer import WARNINGS, Ingest, Listeners
from edgewright.controller.link import BrokerLink
from edgewright.wire import messages, topics
from edgewright.wire.sealed import seal
from tests.controller.test_ingest import HELLO, a_window

KEY = DeviceKey.generate()


def sealed(message: messages.Upward, key: DeviceKey = KEY) -> bytes:
    """A message as its device sends it."""
    return seal(messages.encode(message), "up", key.sign)


def test_a_listener_that_fails_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """Windows are stored and rollouts woken although whoever looks at evidence fails."""
    db = Database.in_folder(tmp_path)
    db.create()
    with db.session() as session:
        session.add(Device(id="r1", target="t", public_key=KEY.public_der()))
    woken: list[bool] = []

    def fail(windows: Sequence[messages.Window]) -> None:
        raise RuntimeError(len(windows))

    link = BrokerLink("127.0.0.1", 1, "test")
    listeners = Listeners(fail, print, lambda: woken.append(True), print)
    ingest = Ingest(db, BlobStore(tmp_path / "blobs"), link, messages.encode, listeners)
    ingest.start()
    for message in (HELLO, a_window(1)):
        ingest._receive(topics.up("r1", "window"), sealed(message))
    ingest.stop()
    assert woken
    with db.reading() as session:
        assert [row.seq for row in session.exec(select(Window))] == [1]
    db.close()


def test_warnings_are_bounded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Sentences that a device makes up fill neither memory nor log; after a while each may be said again."""
    db = Database.in_folder(tmp_path)
    db.create()
    link, listeners = BrokerLink("127.0.0.1", 1, "test"), Listeners(print, print, lambda: None, print)
    ingest = Ingest(db, BlobStore(tmp_path / "blobs"), link, messages.encode, listeners)
    for _ in range(2):
        caplog.clear()
        for number in range(3 * WARNINGS):
            ingest._warn(f"key {number}", "A sentence.")
        assert len(caplog.records) == len(ingest._warned) == WARNINGS
        ingest._prune()
    db.close()


def test_after_a_start_only_those_who_speak_are_connected(tmp_path: Path) -> None:
    """A device that died while no controller ran is not connected; one that says hello is."""
    db = Database.in_folder(tmp_path)
    db.create()
    with db.session() as session:
        for name in ("dead", "r1"):
            session.add(Device(id=name, target="t", connected=True, public_key=KEY.public_der()))
    listeners = Listeners(print, print, lambda: None, print)
    ingest = Ingest(
        db, BlobStore(tmp_path / "blobs"), BrokerLink("127.0.0.1", 1, "test"), messages.encode, listeners
    )
    ingest.start()
    ingest._receive(topics.up("r1", "hello"), sealed(HELLO))
    ingest.stop()
    with db.reading() as session:
        assert {row.id: row.connected for row in session.exec(select(Device))} == {"dead": False, "r1": True}
    db.close()
