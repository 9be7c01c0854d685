"""What trust costs a device: ``tuf_check_bytes``, ``tuf_release_bytes``, ``tuf_first_contact_bytes``.

A fleet's repository of a hundred models, ten releases of the device's own. The agent's repository code
reads retained topics in memory (a broker adds a frame), python-tuf's client the same files over HTTP. Bytes
are payloads on both sides: the headers of MQTT and HTTP are left out, which favours HTTP (200 bytes an answer
against 40). A round trip is a topic that was read, or a request. CPU is the client's thread.

- ``tuf_check_bytes``: nothing new. The agent also knows from the retained hint that there is no new root; the
  peer asks for one and is told 404.
- ``tuf_release_bytes``: a new release of the device's model, up to its verified target.
- ``tuf_first_contact_bytes``: the same with an empty cache; the root was enrolled.
"""

import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tuf.ngclient import Updater, UpdaterConfig

from edgewright.agent.fetcher import MetadataFetcher, TopicReader
from edgewright.agent.trust import ImageRepository
from edgewright.wire import topics
from simulators.releases import GOLDEN, make_manifest, random_artifact
from simulators.repository import MODEL, RepositorySimulator
from simulators.topics import Handler, MemoryTopics
from tests.benchmarks.http_files import HttpFiles, serving

MODELS = (MODEL, *(f"model-{number:02}" for number in range(99)))
RELEASES = 10
ARTIFACT = random_artifact(1, 1000)
PEER = "python-tuf ngclient over HTTP"


class Cost(NamedTuple):
    """What one refresh took: payload bytes, round trips, milliseconds of CPU."""

    size: int
    round_trips: int
    cpu_ms: float


class CountingTopics(MemoryTopics):
    """Retained topics that count the payload bytes that were delivered."""

    delivered = 0

    def subscribe(self, topic: str, handler: Handler, qos: int = 0) -> None:  # noqa: ARG002 - the seam has it
        """See ``MemoryTopics``."""

        def count(payload: bytes) -> None:
            self.delivered += len(payload)
            handler(payload)

        self.subscribed.append(topic)
        if topic in self.retained:
            count(self.retained[topic])

    def unsubscribe(self, topic: str, handler: Handler) -> None:
        """Nothing stands after the retained payload."""


class Agent:
    """The agent's metadata code over topics."""

    def __init__(self, simulator: RepositorySimulator, broker: CountingTopics, folder: Path) -> None:
        self._broker = broker
        fetcher = MetadataFetcher(TopicReader(broker), seconds=1.0)
        self._repository = ImageRepository(folder, simulator.image_root, fetcher)

    def refresh(self, path: str) -> Cost:
        """Verify what is new, and find a target."""
        self._broker.delivered, self._broker.subscribed = 0, []
        started = time.thread_time()
        _, found = self._repository.refresh(time.time(), path)
        cpu = time.thread_time() - started
        assert found is not None
        return Cost(self._broker.delivered, len(self._broker.subscribed), cpu * 1000)


class Peer:
    """python-tuf's client over HTTP."""

    def __init__(self, root: bytes, http: HttpFiles, folder: Path) -> None:
        self._root, self._http, self._folder = root, http, folder
        folder.mkdir()

    def refresh(self, path: str) -> Cost:
        """See ``Agent``."""
        self._http.delivered, self._http.requests = 0, 0
        started = time.thread_time()
        updater = Updater(
            str(self._folder),
            f"{self._http.address}/",
            config=UpdaterConfig(max_root_rotations=1024),
            bootstrap=self._root,
        )
        updater.refresh()
        assert updater.get_targetinfo(path) is not None
        cpu = time.thread_time() - started
        return Cost(self._http.delivered, self._http.requests, cpu * 1000)


def run() -> Iterator[dict[str, object]]:
    """Measure; one dictionary for each figure."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = CountingTopics()
        simulator = RepositorySimulator(MODELS, broker)
        path = [_release(simulator, version) for version in range(1, RELEASES + 1)][-1]
        http = stack.enter_context(_served(broker))
        clients = (Agent(simulator, broker, folder / "a"), Peer(simulator.image_root, http, folder / "p"))
        first = [client.refresh(path) for client in clients]
        check = [client.refresh(path) for client in clients]
        path = _release(simulator, RELEASES + 1)
        http.files = _as_http(broker)
        release = [client.refresh(path) for client in clients]
    yield _row("tuf_check_bytes", *check)
    yield _row("tuf_release_bytes", *release)
    yield _row("tuf_first_contact_bytes", *first)


def _release(simulator: RepositorySimulator, version: int) -> str:
    return simulator.release(make_manifest(version, ARTIFACT), ARTIFACT, GOLDEN)


@contextmanager
def _served(broker: CountingTopics) -> Iterator[HttpFiles]:
    with serving(_as_http(broker)) as http:
        yield http


def _as_http(broker: CountingTopics) -> dict[str, bytes]:
    """The same metadata files as they lie on a web server: not compressed."""
    prefix, hint = topics.head().removesuffix("head"), topics.head()
    return {
        topic.removeprefix(prefix): zlib.decompress(payload)
        for topic, payload in broker.retained.items()
        if topic.startswith(prefix) and topic != hint
    }


def _row(name: str, ours: Cost, theirs: Cost) -> dict[str, object]:
    return {
        "name": name,
        "value": ours.size,
        "unit": "bytes",
        "peer": PEER,
        "peer_value": theirs.size,
        "ratio": round(ours.size / theirs.size, 3),
        "round_trips": ours.round_trips,
        "peer_round_trips": theirs.round_trips,
        "cpu_ms": round(ours.cpu_ms, 2),
        "peer_cpu_ms": round(theirs.cpu_ms, 2),
        "models": len(MODELS),
    }
