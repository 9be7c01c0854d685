"""``transfer_100mb_*``: 100 MB to one, twenty and a hundred devices, until each has verified and stored it.

Ours is the agent's own ``Downloader`` with the product's settings, over the embedded broker with the
product's configuration. The peers run in the same run, one repeat of each in turn, with the same number of
client processes and threads, and their clients do the same work: check the SHA-256 and store the file,
synchronised.

* Plain HTTP: Debian's nginx with Debian's configuration (sendfile, tcp_nopush, one worker a core).
* Stop and wait: chunks of 64 KiB, each asked for when the one before has come, as ThingsBoard's devices do
  (``v2/fw/request/<id>/chunk/<n>``), over the same broker. One process serves them from memory, both ways at
  QoS 0, which favours it. Once on loopback and once with 5 ms each way: what a device pays for waiting is
  round trips, and loopback has none.

Files lie in memory (tmpfs): a hundred devices on one disk would measure that disk. Loopback, no TLS. The
first pull is not counted and printed as ``cold_s``: the broker loads what is retained into its cache then.
"""

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from edgewright.controller.broker.embedded import EmbeddedBroker
from edgewright.controller.link import BrokerLink
from edgewright.wire import topics
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.manifest import split_blob
from tests.contract.brokers import free_port

ARTIFACT_BYTES: Final = 100_000_000
DEVICES: Final = {1: 5, 20: 3, 100: 2}
"""How many devices, and how often each is repeated."""

WAITING_DEVICES: Final = 1
WAITING_REPEATS: Final = 3
DELAY_MS: Final = 5
PROCESSES: Final = 4
START_S: Final = 60.0
HANG_S: Final = 300.0

FIGURES = (*(f"transfer_100mb_{devices}_s" for devices in DEVICES), "transfer_vs_stop_and_wait")

HTTP: Final = "HTTP GET, Debian's nginx with its own configuration"
STOP_AND_WAIT: Final = "stop and wait, chunks of 64 KiB over the same broker"

NGINX: Final = """user {user};
worker_processes auto;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
daemon off;
events {{ worker_connections 768; }}
http {{
  sendfile on;
  tcp_nopush on;
  types_hash_max_size 2048;
  include /etc/nginx/mime.types;
  default_type application/octet-stream;
  access_log {folder}/access.log;
  gzip on;
  server {{
    listen 127.0.0.1:{port};
    root {root};
  }}
}}
"""
"""Debian's nginx.conf; only paths and the address differ."""


class Course(NamedTuple):
    """A way to get the file: the clients' mode, and where."""

    mode: str
    host: str
    port: int


def run() -> Iterator[dict[str, object]]:
    """Measure; one dictionary a figure and peer."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's workers are another user
        plan = _write_plan(folder)
        broker = EmbeddedBroker(folder / "broker", None)
        ours = Course("chunks", *broker.start())
        stack.callback(broker.stop)
        _publish(ours, plan)
        http = Course("http", "127.0.0.1", stack.enter_context(_nginx(folder)))
        cold = _seconds(ours, plan, 1)
        for devices, repeats in DEVICES.items():
            _verify_room(devices)
            times = _interleaved([ours, http], plan, devices, repeats)
            more = {"cold_s": round(cold, 2)} if devices == 1 else {}
            yield _row(f"transfer_100mb_{devices}_s", times[ours], HTTP, times[http]) | more
        yield from _waiting(stack, ours, plan)


def _waiting(stack: ExitStack, ours: Course, plan: Path) -> Iterator[dict[str, object]]:
    """Against stop and wait, on loopback and over a slower way."""
    stack.enter_context(_child("tests.benchmarks.transfer_waiting", ours.host, str(ours.port), str(plan)))
    with _child("tests.benchmarks.transfer_delay", ours.host, str(ours.port), str(DELAY_MS)) as port:
        for host, where, way in (
            (ours.host, ours.port, "loopback"),
            ("127.0.0.1", int(port), f"{DELAY_MS} ms each way"),
        ):
            own, peer = Course("chunks", host, where), Course("waiting", host, where)
            times = _interleaved([own, peer], plan, WAITING_DEVICES, WAITING_REPEATS)
            row = _row("transfer_vs_stop_and_wait", times[own], STOP_AND_WAIT, times[peer])
            yield row | {"network": way, "devices": WAITING_DEVICES}


def _row(name: str, own: list[float], peer: str, peers: list[float]) -> dict[str, object]:
    value, peer_value = statistics.median(own), statistics.median(peers)
    return {
        "name": name,
        "value": round(value, 2),
        "unit": "s",
        "peer": peer,
        "peer_value": round(peer_value, 2),
        "ratio": round(value / peer_value, 3),
        "spread": [round(min(own), 2), round(max(own), 2)],
        "peer_spread": [round(min(peers), 2), round(max(peers), 2)],
        "repeats": len(own),
    }


def _interleaved(courses: list[Course], plan: Path, devices: int, repeats: int) -> dict[Course, list[float]]:
    """Seconds until the last device is done, the courses in turn."""
    times: dict[Course, list[float]] = {course: [] for course in courses}
    for _ in range(repeats):
        for course in courses:
            times[course].append(_seconds(course, plan, devices))
    return times


def _seconds(course: Course, plan: Path, devices: int) -> float:
    """One run of all devices, shared out over processes: the time from the first word to the last done."""
    with ExitStack() as stack:
        store = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=plan.parent)))
        processes = min(devices, PROCESSES)
        clients = [
            stack.enter_context(_clients(course, plan, store, range(first, devices, processes)))
            for first in range(processes)
        ]
        for client in clients:
            _expect(client, "ready")
        for client in clients:
            assert client.stdin is not None
            client.stdin.write("go\n")
            client.stdin.flush()
        spans = [json.loads(_expect(client, "")) for client in clients]
        return max(float(span["ended"]) for span in spans) - min(float(span["began"]) for span in spans)


@contextmanager
def _clients(course: Course, plan: Path, store: Path, numbers: range) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "tests.benchmarks.transfer_clients", *map(str, course)]
    command += [str(plan), str(store), ",".join(map(str, numbers))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _expect(client: "subprocess.Popen[str]", word: str) -> str:
    assert client.stdout is not None
    line = client.stdout.readline()
    if not line.startswith(word) or not line:
        raise RuntimeError("A client process of the transfer failed; its error stands above.")
    return line


@contextmanager
def _child(module: str, *arguments: str) -> Iterator[str]:
    """A process that prints a line when it serves, and ends with its standard input."""
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield _expect(process, "")
        finally:
            process.kill()


@contextmanager
def _nginx(folder: Path) -> Iterator[int]:
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise RuntimeError("The peer is missing: apt-get install nginx.")
    port, config = free_port(), folder / "nginx.conf"
    root = folder / "www"
    user = "www-data" if os.geteuid() == 0 else "nobody"
    config.write_text(NGINX.format(folder=folder, port=port, root=root, user=user))
    with subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL) as server:
        try:
            yield port
        finally:
            server.terminate()


def _publish(course: Course, plan: Path) -> None:
    blob, chunks = split_blob((plan.parent / "www" / "artifact").read_bytes())
    link = BrokerLink(course.host, course.port, "controller")
    link.start()
    try:
        link.wait_connected(START_S)
        link.publish_paced(zip(map(topics.chunk, blob.chunks), chunks, strict=True))
    finally:
        link.stop()


def _write_plan(folder: Path) -> Path:
    """The artifact and what the clients have to know of it."""
    artifact = random.Random(100).randbytes(ARTIFACT_BYTES)
    (folder / "www").mkdir(mode=0o755)
    (folder / "www" / "artifact").write_bytes(artifact)
    plan = folder / "plan.json"
    chunks = split_blob(artifact)[0].chunks
    plan.write_text(
        json.dumps({"sha256": sha256_hex(artifact), "length": len(artifact), "chunks": list(chunks)})
    )
    return plan


def _verify_room(devices: int) -> None:
    """Refuse to fill a machine's memory: every device stores the artifact there."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    cached = _cached_bytes()
    if free + cached < 1.3 * devices * ARTIFACT_BYTES:
        raise RuntimeError(f"{devices} devices need {1.3 * devices * ARTIFACT_BYTES / 1e9:.0f} GB of memory.")


def _cached_bytes() -> int:
    """Memory that the system would give up for us."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return (int(lines["MemAvailable"].split()[0]) - int(lines["MemFree"].split()[0])) * 1024


if __name__ == "__main__":
    for row in run():
        print(json.dumps(row), flush=True)
