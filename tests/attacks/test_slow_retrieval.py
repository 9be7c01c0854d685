"""The attacker keeps a transfer alive for ever, one byte a second, so that an update never comes."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.agent.chunks import TopicChunks
from edgewright.agent.downloader import Downloader, Hooks
from edgewright.agent.fetcher import MetadataFetcher, TopicReader
from edgewright.agent.httpreader import HttpReader
from edgewright.agent.link import Link
from edgewright.agent.store import Store
from edgewright.agent.transfer import Limits, Transfer
from edgewright.agent.trust import ImageRepository
from edgewright.wire import topics
from edgewright.wire.errors import BlobTimeoutError, SlowRetrievalError
from edgewright.wire.manifest import split_blob
from simulators.repository import RepositorySimulator
from simulators.topics import Handler, MemoryTopics
from tests.agent.agent_rig import wait_for
from tests.attacks.dripping import Drip, drip_before, dripping_server
from tests.attacks.stage import ONE
from tests.contract.brokers import Broker, running

BLOB, CHUNKS = split_blob(ONE)


class LateTopics(MemoryTopics):
    """Retained topics that come just in time, each for itself."""

    seconds = 0.0

    def subscribe(self, topic: str, handler: Handler, qos: int = 0) -> None:
        """See ``MemoryTopics``."""
        time.sleep(self.seconds)
        super().subscribe(topic, handler, qos)


def test_slow_retrieval_of_metadata(tmp_path: Path) -> None:
    """Files that each come just within their own time do not hold a refresh for ever: SlowRetrieval."""
    late = LateTopics()
    simulator = RepositorySimulator(broker=late)
    fetcher = MetadataFetcher(TopicReader(late), seconds=1.0, refresh_seconds=0.2)
    repository = ImageRepository(tmp_path, simulator.image_root, fetcher)
    assert repository.refresh(time.time())[0].timestamp == 1
    simulator.renew()
    late.seconds = 0.15
    with pytest.raises(SlowRetrievalError):
        repository.refresh(time.time())
    late.seconds = 0.0
    assert repository.refresh(time.time())[0].timestamp == 2


def test_slow_retrieval_over_http() -> None:
    """A server that sends one byte a second is left after the grace, by name, whatever it promised."""
    with dripping_server(100_000) as address, pytest.raises(SlowRetrievalError, match="came with"):
        HttpReader(address, grace=0.3).read_file("timestamp.json", 100_000, timeout=5.0)


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[Broker]:
    """The embedded broker's server."""
    with running("nats", tmp_path / "broker") as started:
        yield started


@pytest.fixture
def drip(nats: Broker) -> Iterator[Drip]:
    """A network before the embedded broker that can be slowed down."""
    with drip_before(nats.host, nats.port) as proxy:
        yield proxy


def test_slow_retrieval_of_a_blob(nats: Broker, drip: Drip, tmp_path: Path) -> None:
    """Answers at one byte a second end the download in its own time; later it comes through."""
    controller = Link(nats.host, nats.port, "controller")
    link = Link("127.0.0.1", drip.port, "robot-1")
    controller.start()
    link.start()
    try:
        wait_for(lambda: controller.connected and link.connected, "the connections")
        for digest, chunk in zip(BLOB.chunks, CHUNKS, strict=True):
            controller.publish(topics.chunk(digest), chunk, retain=True)
        store = Store(tmp_path / "store")
        patience = (0.3, 0.3, 0.3)
        drip.dripping.set()
        with pytest.raises(BlobTimeoutError):
            Downloader(TopicChunks(link), store, Hooks(), Transfer(Limits(patience=patience))).fetch(BLOB)
        assert not store.has(BLOB.sha256)
        drip.dripping.clear()
        Downloader(TopicChunks(link), store, Hooks(), Transfer(Limits())).fetch(BLOB)
        assert store.read(BLOB.sha256) == ONE
    finally:
        link.stop()
        controller.stop()
