"""The report of what lies on a broker, on each broker, and what a bound of it refuses."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.controller.broker.embedded import EmbeddedBroker
from edgewright.controller.broker.report import BrokerProcess, BrokerWatch, resident_bytes
from edgewright.controller.downloads import DownloadCounts
from edgewright.controller.errors import BrokerFullError
from edgewright.controller.retained import Figure
from edgewright.wire import topics
from edgewright.wire.messages import Want
from tests.contract.brokers import Broker
from tests.contract.test_retirement_contract import HANG_S, Plant


@pytest.fixture
def plant(tmp_path: Path, broker: Broker) -> Iterator[Plant]:
    """A plant with nothing published yet."""
    made = Plant(tmp_path, broker)
    yield made
    made.link.stop()
    made.db.close()


def watch(plant: Plant, process: BrokerProcess) -> BrokerWatch:
    """Who reports."""
    return BrokerWatch(lambda: process, plant.link, plant.publisher, DownloadCounts)


def test_what_lies_there_is_counted_by_kind(plant: Plant) -> None:
    """Topics and bytes are those that the broker holds, and follow what is taken back."""
    plant.release(1)
    plant.publisher.publish_assignment("r1", b"x" * 700)
    chunks = {plant.manifests[1], *plant.artifacts[1].chunks}
    there = plant.link.retained([topics.chunk(name) for name in chunks], HANG_S)
    report = watch(plant, BrokerProcess("nats")).report()
    golden = report.retained.chunks.topics - len(there)
    assert golden == 1
    assert 0 < report.retained.chunks.bytes - sum(map(len, there.values())) < 1000
    assert report.retained.assignments == Figure(1, 700)
    assert report.retained.metadata.topics >= 5
    assert report.connected
    plant.publisher.publish_assignment("r1", b"")
    plant.publisher.withdraw_releases([plant.manifests[1]])
    after = plant.publisher.figures()
    assert (after.chunks, after.assignments) == (Figure(), Figure())


def test_the_memory_of_a_broker_on_this_machine(plant: Plant, broker: Broker) -> None:
    """A broker's process says what it takes; a process that is no broker says nothing."""
    report = watch(plant, BrokerProcess(broker.name, broker.pid)).report()
    assert report.memory_source == "process"
    assert report.memory_bytes is not None
    assert report.memory_bytes > 1_000_000
    assert watch(plant, BrokerProcess("nats", 1)).report().memory_source == "unknown"
    assert watch(plant, BrokerProcess("nats")).report().memory_bytes is None


def test_a_release_that_does_not_fit_is_refused(plant: Plant) -> None:
    """Nothing of it is sent, what is there stays, and one that was published before is not refused."""
    plant.release(1)
    taken = plant.publisher.figures().bytes
    plant.publisher.most_bytes = taken + 100_000
    with pytest.raises(BrokerFullError, match=r"E116 .*takes 0\.3 MB.*broker show"):
        plant.release(2)
    assert plant.publisher.figures().bytes == taken
    assert plant.there() == {1}
    plant.publisher.publish_release(plant.manifests[1])
    plant.publisher.most_bytes = taken // 2
    plant.publisher.republish_all([plant.manifests[1]])
    assert plant.there() == {1}


def test_wants_are_counted_by_how_they_end(plant: Plant) -> None:
    """A wanted chunk is answered, put off when it is asked for again at once, or unknown once retired."""
    plant.release(1)
    chunk = plant.artifacts[1].chunks[1]
    for asked in ((chunk,), (chunk,), ("0" * 64,)):
        plant.publisher.handle_want(Want(device="r1", sent_at=0.0, chunks=asked))
    plant.publisher.withdraw_releases([plant.manifests[1]])
    plant.publisher.handle_want(Want(device="r1", sent_at=0.0, chunks=(chunk,)))
    wants = watch(plant, BrokerProcess("nats")).report().wants
    assert (wants.answered, wants.limited, wants.unknown) == (1, 1, 2)


@pytest.mark.mosquitto
@pytest.mark.parametrize("broker", ["mosquitto"], indirect=True)
def test_a_mosquitto_elsewhere_says_what_it_takes(plant: Plant) -> None:
    """Where its process is not to be seen, its own word counts."""
    reporting = watch(plant, BrokerProcess("mosquitto"))
    deadline = time.monotonic() + HANG_S
    while reporting.report().memory_source != "broker":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (reporting.report().memory_bytes or 0) > 1000


def test_the_embedded_broker_knows_its_child(tmp_path: Path) -> None:
    """The child's process is named as the broker that it is, so its memory can be read."""
    embedded = EmbeddedBroker(tmp_path, None)
    embedded.start()
    try:
        assert (resident_bytes(embedded.pid) or 0) > 1_000_000
    finally:
        embedded.stop()
