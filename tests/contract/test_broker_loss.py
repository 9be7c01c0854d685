"""A broker that loses its store, stalls, or cannot write: what the controller does about it."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from edgewright.controller import link as controller_link
from edgewright.controller.broker.embedded import EmbeddedBroker
from edgewright.controller.database.tables import ModelVersion
from edgewright.controller.link import WAITING_BYTES, BrokerLink
from edgewright.controller.publisher import WAITING_BYTES as WANTS_WAITING
from edgewright.wire import topics
from edgewright.wire.errors import BrokerUnreachableError
from edgewright.wire.manifest import CHUNK_BYTES
from edgewright.wire.messages import Want
from simulators.releases import random_artifact
from simulators.repository import MODEL
from tests.contract.brokers import NatsBroker, running
from tests.contract.test_retirement_contract import HANG_S, Plant


class Embedded:
    """The embedded broker with a plant on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "broker"
        self.broker = EmbeddedBroker(self.folder, None)
        self.plant = Plant(folder, self.broker.start())

    def lose_everything(self) -> None:
        """Kill the broker and delete its store, and wait until the controller is connected again."""
        back = threading.Event()
        self.plant.link.on_connected(back.set)
        pid = self.broker.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder / "store")
        assert back.wait(HANG_S)


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Embedded]:
    """An embedded broker on which two versions lie."""
    made = Embedded(tmp_path)
    for version in (1, 2):
        made.plant.release(version)
    yield made
    made.plant.link.stop()
    made.plant.db.close()
    made.broker.stop()


def test_an_embedded_broker_that_lost_its_store_gets_everything_again(embedded: Embedded) -> None:
    """After SIGKILL and without its store, all that devices need lies there again, metadata included."""
    embedded.lose_everything()
    assert embedded.plant.there() == set()
    # Version 2 is just being made ready: the database does not know it yet.
    with embedded.plant.db.session() as session:
        session.get_one(ModelVersion, (MODEL, 2)).state = "building"
    embedded.plant.come_back()
    assert embedded.plant.there() == {1, 2}
    live = {topics.head(), *map(topics.metadata, embedded.plant.repository.names())}
    assert embedded.plant.link.retained(live, HANG_S).keys() == live


def test_a_connection_that_was_only_lost_costs_no_chunk(embedded: Embedded) -> None:
    """A broker that still has everything is asked for a few topics and gets no chunk again."""
    heard: list[str] = []
    witness = BrokerLink(embedded.plant.broker.host, embedded.plant.broker.port, "witness")
    witness.subscribe(f"{topics.ROOT}/chunk/+", lambda topic, _: heard.append(topic))
    witness.start()
    witness.wait_connected(HANG_S)
    every = embedded.plant.publisher.figures().chunks.topics
    deadline = time.monotonic() + HANG_S
    while len(heard) < every:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    embedded.plant.come_back()
    mark = "ew/1/chunk/mark"
    embedded.plant.link.publish(mark, b"1")
    while mark not in heard:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    witness.stop()
    assert len(heard) == every + 1


def test_what_a_killed_broker_brings_back_is_cleared_again(embedded: Embedded) -> None:
    """The embedded broker forgets a deletion when it is killed; a retired version does not stay there."""
    plant = embedded.plant
    for version in (3, 4, 5):
        plant.release(version)
    plant.step()
    plant.step(60)
    assert plant.there() == {3, 4, 5}
    back = threading.Event()
    plant.link.on_connected(back.set)
    os.kill(embedded.broker.pid or 0, signal.SIGKILL)
    assert back.wait(HANG_S)
    plant.come_back()
    assert plant.there() == {3, 4, 5}


def publish_all(link: BrokerLink, retained: list[tuple[str, bytes]]) -> None:
    """Hand everything over without waiting."""
    for topic, data in retained:
        link.publish(topic, data, retain=True)


@pytest.fixture
def stalled(tmp_path: Path) -> Iterator[tuple[Plant, NatsBroker]]:
    """A plant on a broker that will be stopped."""
    with running("nats", tmp_path / "broker") as broker:
        assert isinstance(broker, NatsBroker)
        plant = Plant(tmp_path, broker)
        plant.release(1)
        yield plant, broker
        psutil.Process(broker.pid).resume()
        plant.link.stop()
        plant.db.close()


def test_a_stalled_broker_does_not_fill_the_controllers_memory(
    stalled: tuple[Plant, NatsBroker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nothing is acknowledged a release waits with 4 MiB on its way, wants are put off from 8 MiB on,
    and everything else ends with an error at 64 MiB.
    """
    plant, broker = stalled
    monkeypatch.setattr(controller_link, "PACED_PATIENCE_S", 0.5)
    psutil.Process(broker.pid).suspend()
    artifact = random_artifact(2, 40 * CHUNK_BYTES)
    blocks = [(topics.chunk(f"{n:064x}"), artifact[:CHUNK_BYTES]) for n in range(400)]
    with pytest.raises(BrokerUnreachableError, match="did not acknowledge"):
        plant.link.publish_paced(blocks)
    assert plant.link.waiting_bytes <= controller_link.PACED_BYTES
    publish_all(plant.link, blocks[:40])
    assert plant.link.waiting_bytes >= WANTS_WAITING
    want = Want(device="r1", sent_at=0.0, chunks=plant.artifacts[1].chunks)
    assert plant.publisher.handle_want(want) == 0
    assert plant.publisher.wants.limited == len(want.chunks)
    with pytest.raises(BrokerUnreachableError, match="64 MiB unanswered"):
        publish_all(plant.link, blocks * 2)
    assert plant.link.waiting_bytes <= WAITING_BYTES
    psutil.Process(broker.pid).resume()
    assert plant.link.drain(HANG_S)
    assert plant.link.waiting_bytes == 0
    plant.release(2)
    assert plant.there() == {1, 2}


class FullBroker(NatsBroker):
    """A broker whose disk holds three megabytes."""

    def _command(self) -> list[str]:
        command = super()._command()
        config = Path(command[-1])
        said = config.read_text()
        config.write_text(said.replace("jetstream {\n", "jetstream {\n  max_file_store: 3MB\n"))
        return command


def test_a_full_broker_ends_a_publication(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit on the broker's disk ends with an error and fills no memory here."""
    monkeypatch.setattr(controller_link, "PACED_PATIENCE_S", 1.0)
    broker = FullBroker(tmp_path / "broker")
    broker.start()
    try:
        plant = Plant(tmp_path, broker)
        plant.release(1)
        artifact = random_artifact(7, CHUNK_BYTES)
        with pytest.raises(BrokerUnreachableError):
            plant.link.publish_paced((topics.chunk(f"{n:064x}"), artifact) for n in range(200))
        assert plant.link.waiting_bytes <= controller_link.PACED_BYTES
        plant.link.stop()
        plant.db.close()
    finally:
        broker.crash()
