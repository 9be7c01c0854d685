"""``fanout_20mb_50_devices_mb_s``: how fast fifty devices pull one artifact from the broker, all together.

A 20 MB artifact lies on retained topics in chunks of 128 KiB; fifty clients in one process pull it by
windowed SUBSCRIBE and check every hash. The peers run in the same run, one repeat of each in turn, each
server in a process of its own and the clients in another:

* plain HTTP download by as many clients, from a static file server that uses sendfile(2);
* the same broker without windows and without hashing: what it can deliver at all.

The figure is of the embedded broker; mosquitto, where it is installed, has its own name. Loopback, no TLS.
One pull goes before and is not counted: NATS keeps retained messages in memory for two minutes after their
first load, and a first load costs it several times as much.
"""

import hashlib
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from edgewright.controller.broker.embedded import EmbeddedBroker
from edgewright.controller.link import BrokerLink
from edgewright.wire import topics
from edgewright.wire.manifest import split_blob
from tests.contract.brokers import running

FIGURES = ("fanout_20mb_50_devices_mb_s", "fanout_20mb_50_devices_mosquitto_mb_s")

DEVICES = 50
ARTIFACT_BYTES = 20_000_000
REPEATS = 3
START_S = 60.0

_HTTP = "HTTP GET, http.server with sendfile"
_RAW = "the same broker, all topics at once, no hashing"


class Course(NamedTuple):
    """One thing to be measured: a mode of the clients at an address."""

    mode: str
    host: str
    port: int


def run() -> Iterator[dict[str, object]]:
    """Measure; one dictionary for each figure and peer."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        artifact = random.Random(20).randbytes(ARTIFACT_BYTES)
        plan = _write_plan(folder, artifact)
        http = Course("http", "127.0.0.1", stack.enter_context(_http_server(folder / "artifact")))
        brokers = _brokers(stack, folder)
        courses = [http]
        for host, port in brokers.values():
            _publish(host, port, artifact)
            courses += [Course("window", host, port), Course("raw", host, port)]
        rates = _interleaved(courses, plan)
        for figure, (host, port) in brokers.items():
            own = rates[Course("window", host, port)]
            yield _row(figure, own, _HTTP, rates[http])
            yield _row(figure, own, _RAW, rates[Course("raw", host, port)])


def _row(name: str, own: list[float], peer: str, peers: list[float]) -> dict[str, object]:
    value, peer_value = statistics.median(own), statistics.median(peers)
    return {
        "name": name,
        "value": round(value, 1),
        "unit": "MB/s",
        "peer": peer,
        "peer_value": round(peer_value, 1),
        "ratio": round(value / peer_value, 3),
        "spread": [round(min(own), 1), round(max(own), 1)],
        "peer_spread": [round(min(peers), 1), round(max(peers), 1)],
    }


def _interleaved(courses: list[Course], plan: Path) -> dict[Course, list[float]]:
    """MB/s of each course, ``REPEATS`` times, the courses in turn."""
    rates: dict[Course, list[float]] = {course: [] for course in courses}
    for course in courses:
        if course.mode == "window":
            _seconds(course, plan)
    for _ in range(REPEATS):
        for course in courses:
            rates[course].append(DEVICES * ARTIFACT_BYTES / 1e6 / _seconds(course, plan))
    return rates


def _seconds(course: Course, plan: Path) -> float:
    command = [sys.executable, "-m", "tests.benchmarks.fanout_clients"]
    arguments = [course.mode, course.host, str(course.port), str(DEVICES), str(plan)]
    with subprocess.Popen(
        [*command, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as clients:
        assert clients.stdin is not None
        assert clients.stdout is not None
        if clients.stdout.readline() != "ready\n":
            raise RuntimeError(f"The {course.mode} clients did not connect.")
        output, _ = clients.communicate("go\n")
    if clients.returncode:
        raise RuntimeError(f"The {course.mode} clients failed.")
    return float(json.loads(output)["seconds"])


def _brokers(stack: ExitStack, folder: Path) -> dict[str, tuple[str, int]]:
    embedded = EmbeddedBroker(folder / "embedded", None)
    found: dict[str, tuple[str, int]] = {FIGURES[0]: embedded.start()}
    stack.callback(embedded.stop)
    if shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin"):
        site = stack.enter_context(running("mosquitto", folder / "mosquitto"))
        found[FIGURES[1]] = (site.host, site.port)
    return found


def _publish(host: str, port: int, artifact: bytes) -> None:
    blob, chunks = split_blob(artifact)
    link = BrokerLink(host, port, "controller")
    link.start()
    try:
        link.wait_connected(START_S)
        link.publish_paced(zip(map(topics.chunk, blob.chunks), chunks, strict=True))
    finally:
        link.stop()


def _write_plan(folder: Path, artifact: bytes) -> Path:
    (folder / "artifact").write_bytes(artifact)
    plan = folder / "plan.json"
    plan.write_text(
        json.dumps(
            {
                "chunks": split_blob(artifact)[0].chunks,
                "sha256": hashlib.sha256(artifact).hexdigest(),
                "length": len(artifact),
            }
        )
    )
    return plan


@contextmanager
def _http_server(file: Path) -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.fanout_http", str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as server:
        assert server.stdout is not None
        yield int(server.stdout.readline())
        server.communicate()


if __name__ == "__main__":
    for row in run():
        print(json.dumps(row), flush=True)
