"""The attacker has a device's valid identity, signs what he says, and wants more than it was given."""

import base64
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edgewright.agent.certificates import make_request
from edgewright.agent.devicekey import DeviceKey
from edgewright.controller.database import func, select
from edgewright.controller.database.tables import Device, Event, Position, Sample
from edgewright.controller.ingest.batch import Batch
from edgewright.controller.ingest.bounds import (
    DAY_S,
    EVENTS_A_DAY,
    IMAGE_BYTES,
    LEAST_SAMPLE_BYTES,
    SAMPLE_BYTES_A_DAY,
    STREAMS,
)
from edgewright.controller.ingest.pruning import KEPT_S, prune
from edgewright.wire import messages
from tests.controller.parts import Parts, make_parts

ROBOT = "robot-1"
HELLO = messages.Hello(
    device=ROBOT, agent_version="1", target="t", tags={}, runtime="", sent_at=1.0, counter=1, stream="s-1"
)


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """A controller that has enrolled the device with a token for Lyon."""
    made = make_parts(tmp_path)
    request = base64.b64decode(make_request(DeviceKey.generate(), ROBOT))
    made.enrolment.admit(ROBOT, "t", {}, made.enrolment.new_token(tags={"site": "lyon"}), request)
    yield made
    made.db.close()


def say(parts: Parts, *said: messages.Upward) -> int:
    """What the device says is stored; how many messages were refused."""
    with parts.db.session() as session:
        batch = Batch(session, parts.blobs, time.time())
        for message in said:
            batch.apply(message)
        batch.finish()
        return len(batch.rejected)


def greeting(number: int, **changes: object) -> messages.Hello:
    """The hello of its so-manieth connection."""
    return msgspec.structs.replace(HELLO, counter=number, sent_at=float(number), **changes)


def report(number: int, **changes: object) -> messages.Report:
    """An event that it tells."""
    said = messages.Report(device=ROBOT, stream="s-1", seq=number, sent_at=1.0, name="RunnerReplaced")
    return msgspec.structs.replace(said, **changes)


def sample(number: int, **changes: object) -> messages.Sample:
    """A frame that it captured."""
    taken = messages.Sample(
        device=ROBOT,
        stream="s-1",
        seq=number,
        taken_at=1.0,
        item=f"item-{number}",
        tag="",
        model="m",
        version=1,
        label="ok",
        confidence=0.5,
        truth=None,
        reason="random",
        probability=1.0,
        image=number.to_bytes(4, "big"),
    )
    return msgspec.structs.replace(taken, **changes)


def device(parts: Parts) -> Device:
    """The device as the controller knows it."""
    with parts.db.reading() as session:
        return session.get_one(Device, ROBOT)


def test_device_takes_anothers_tags_or_hardware(parts: Parts) -> None:
    """It stays in the site of its token and what it enrolled as, and cannot heap tags up."""
    for number in range(1, 6):
        tags = {"site": "paris"} | {f"{number}-{n}": "x" for n in range(1000)}
        say(parts, greeting(number, tags=tags, target="other"))
    known = device(parts)
    assert (known.tags["site"], known.target) == ("lyon", "t")
    assert len(known.tags) < 40
    assert known.suspicion.startswith("retargeted")


def test_device_fills_the_database_with_long_texts(parts: Parts) -> None:
    """Long names are refused and counted as received, a long sentence is cut, and the next message counts."""
    long = "x" * 100_000
    assert say(parts, greeting(1), greeting(2, agent_version=long), greeting(3, stream=long)) == 2
    assert say(parts, report(1, name=long), report(2, detail=long), sample(3, label=long)) == 2
    assert say(parts, sample(4, image=bytes(IMAGE_BYTES + 1)), sample(5), report(6)) == 1
    with parts.db.reading() as session:
        assert max(len(event.sentence) for event in session.exec(select(Event)).all()) < 600
        assert [row.item for row in session.exec(select(Sample)).all()] == ["item-5"]
        assert session.exec(select(Position.through)).all() == [6]


def test_device_names_outboxes_without_end(parts: Parts) -> None:
    """Of the outboxes that a device names the newest eight are remembered, and the newest one goes on."""
    for number in range(1, 30):
        say(parts, greeting(number, stream=f"s-{number}"))
    say(parts, *(greeting(number, stream=f"s-{number}") for number in range(30, 60)))
    assert say(parts, report(1, stream="s-59")) == 0
    with parts.db.reading() as session:
        known = session.exec(select(Position)).all()
    assert len(known) == STREAMS == 8
    assert [row.through for row in known if row.stream == "s-59"] == [1]


def test_device_fills_the_disk_with_samples_and_events(parts: Parts) -> None:
    """What is kept of one device and day is bounded; events are kept for a time and to a number."""
    say(parts, greeting(1))
    with parts.db.session() as session:
        row = session.get_one(Device, ROBOT)
        row.budget_day = int(time.time() // DAY_S)
        row.events_today, row.sample_bytes_today = (
            EVENTS_A_DAY - 3,
            SAMPLE_BYTES_A_DAY - 3 * LEAST_SAMPLE_BYTES,
        )
        before = session.exec(select(func.count()).select_from(Event)).one()
    assert say(parts, *(sample(n) for n in range(1, 6)), *(report(n) for n in range(6, 11))) == 2
    with parts.db.session() as session:
        assert session.exec(select(func.count()).select_from(Sample)).one() == 3
        assert session.exec(select(func.count()).select_from(Event)).one() == before + 3
        prune(session, time.time(), events=2)
        assert session.exec(select(func.count()).select_from(Event)).one() == 2
        prune(session, time.time() + KEPT_S + 60)
        assert session.exec(select(func.count()).select_from(Event)).one() == 0
    with parts.db.session() as session:
        session.get_one(Device, ROBOT).budget_day -= 1
    assert say(parts, sample(11)) == 0
