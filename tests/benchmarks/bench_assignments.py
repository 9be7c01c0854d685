"""``assignments_10k_s`` and ``report_verify_us``: what signing costs a controller, each way.

``assignments_10k_s``: 10,000 assignments through the director's real process, as a rollout asks for them:
encoded, over the socket, built and signed there, recorded durably, and back. Wall time, because somebody
waits for it. The peer is python-tuf in a loop in this process, the same documents under one key, with no
record of what was signed.

``report_verify_us``: processor time to open one sealed report of a telemetry window, the look-up of the
sender's key included, in batches as the ingest takes them; with the percentage of a core that 10,000
reports a minute cost. The peer is the bare signature check of ``cryptography``.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from time import process_time_ns

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, TargetFile, Targets
from tuf.api.serialization.json import JSONSerializer

from edgewright.agent.devicekey import DeviceKey
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import Device
from edgewright.controller.ingest.opening import Opener
from edgewright.controller.ingest.writer import BATCH_MESSAGES
from edgewright.controller.trust.acknowledgement import AcknowledgementKey
from edgewright.controller.trust.director_process import DirectorProcess
from edgewright.controller.trust.director_seam import Order
from edgewright.controller.trust.repository import TargetEntry
from edgewright.wire import messages, topics
from edgewright.wire.assignment import FIELD, Orders, TargetCustom
from edgewright.wire.sealed import seal, signed_bytes
from tests.controller.test_ingest import a_window

DEVICES = 10_000
ROUNDS = 3
REPORTS = 5_000
SENDERS = 200
REPORTS_A_MINUTE = 10_000


def run() -> Iterator[dict[str, object]]:
    """Measure; two dictionaries."""
    with tempfile.TemporaryDirectory() as folder:
        yield _assignments(Path(folder))
        yield _reports(Path(folder))


def _assignments(folder: Path) -> dict[str, object]:
    director = DirectorProcess(folder / "director", AcknowledgementKey(folder / "ack"))
    director.start()
    try:
        own = [_timed(partial(director.sign, _orders(n))) for n in range(1, ROUNDS + 1)]
    finally:
        director.stop()
    signer = CryptoSigner.generate_ed25519()
    peer = [_timed(partial(_sign_with_tuf, _orders(n), signer)) for n in range(1, ROUNDS + 1)]
    value, peer_value = statistics.median(own), statistics.median(peer)
    return {
        "name": "assignments_10k_s",
        "value": round(value, 2),
        "unit": "s",
        "peer": "python-tuf signing the same documents in a loop in this process, without a record",
        "peer_value": round(peer_value, 2),
        "ratio": round(value / peer_value, 3),
        "spread": [round(min(own), 2), round(max(own), 2)],
    }


def _reports(folder: Path) -> dict[str, object]:
    keys = [DeviceKey.generate() for _ in range(SENDERS)]
    db = Database.in_folder(folder)
    db.create()
    with db.session() as session:
        for i, key in enumerate(keys):
            session.add(Device(id=f"r{i}", target="t", public_key=key.public_der()))
    batch = [_report(i, keys[i % SENDERS]) for i in range(REPORTS)]
    opener = Opener(db)
    own = [_cpu_us(lambda: _open(opener, batch)) for _ in range(ROUNDS)]
    bare = [_cpu_us(lambda: _verify(batch, keys)) for _ in range(ROUNDS)]
    db.close()
    value, peer_value = statistics.median(own), statistics.median(bare)
    return {
        "name": "report_verify_us",
        "value": round(value, 1),
        "unit": "us",
        "peer": "the bare P-256 check of cryptography, keys loaded",
        "peer_value": round(peer_value, 1),
        "ratio": round(value / peer_value, 3),
        "spread": [round(min(own), 1), round(max(own), 1)],
        "percent_of_a_core_at_10k_a_minute": round(value * REPORTS_A_MINUTE / 60 / 1e6 * 100, 2),
    }


def _orders(version: int) -> list[Order]:
    entry = TargetEntry("m/t/3.json", 2100, "ab" * 32, TargetCustom("m", "t", 3, 3))
    return [
        Order(version, entry, Orders(f"robot-{i}", time.time(), rollout=7, min_root=1, min_timestamp=4))
        for i in range(DEVICES)
    ]


def _sign_with_tuf(orders: list[Order], signer: CryptoSigner) -> None:
    expires = datetime.now(UTC) + timedelta(days=7)
    for order in orders:
        entry, said = order.entry, msgspec.to_builtins(order.orders)
        target = TargetFile(entry.length, {"sha256": entry.sha256}, entry.path)
        fields = {FIELD: {**said, "issued": int(order.orders.issued)}}
        targets = Targets(order.version, None, expires, {entry.path: target}, None, fields)
        metadata = Metadata(targets)
        metadata.sign(signer)
        metadata.to_bytes(JSONSerializer(compact=True))


def _report(number: int, key: DeviceKey) -> tuple[str, bytes]:
    device = f"r{number % SENDERS}"
    window = a_window(number, device=device)
    return topics.up(device, "window"), seal(messages.encode(window), "up", key.sign)


def _open(opener: Opener, batch: list[tuple[str, bytes]]) -> None:
    for first in range(0, len(batch), BATCH_MESSAGES):
        opened, _ = opener.open(batch[first : first + BATCH_MESSAGES])
        if len(opened) != len(batch[first : first + BATCH_MESSAGES]):
            raise RuntimeError("The opener dropped an honest report.")


def _verify(batch: list[tuple[str, bytes]], keys: list[DeviceKey]) -> None:
    publics = [key.private.public_key() for key in keys]
    for i, (_, payload) in enumerate(batch):
        body, signature = msgspec.msgpack.decode(payload)
        publics[i % SENDERS].verify(signature, signed_bytes(body, "up"), ec.ECDSA(hashes.SHA256()))


def _timed(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def _cpu_us(work: Callable[[], None]) -> float:
    """Processor time of ``REPORTS`` reports, per report."""
    started = process_time_ns()
    work()
    return (process_time_ns() - started) / REPORTS / 1000
