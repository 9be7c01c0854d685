"""The attacker has a device's valid identity, signs what he says, and wants more than it was given."""

import base64
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edgewright.agent.certificates import make_request
from edgewright.agent.devicekey import DeviceKey
from edgewright.controller.database.tables import Device
from edgewright.controller.ingest.batch import Batch
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
