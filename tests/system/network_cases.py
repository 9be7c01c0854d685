"""The networks over which versions have to arrive, for tests and, with longer transfers, benchmarks."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from edgewright.agent.tls import TlsContext
from edgewright.controller.publisher import PublishedBlob
from simulators.network.conditions import Conditions
from simulators.network.link import NetworkLink
from tests.contract.brokers import Broker, running
from tests.controller.doors import opened
from tests.controller.test_est import enrolled
from tests.system.fullbroker import FILLER, full_broker
from tests.system.transfers import (
    STREAMS,
    Compared,
    Trouble,
    compare,
    over_broker,
    over_door,
    partitions,
    publish,
    random_blob,
    restarts,
)

KIB: Final = 1024
DEAREST: Final = 1.2
"""Bytes on the wire, both ways with all headers, over the artifact's."""

SLOWEST: Final = 2.0
"""Time over that of bare TCP on the same network."""

Troubling = Callable[[Broker | None, int], Trouble]


class Case(NamedTuple):
    """One network, how much goes over it, and what happens meanwhile."""

    conditions: Conditions
    length: int
    trouble: Troubling | None = None


class Lengths(NamedTuple):
    """How long transfers last: seconds at the rate of the link, about, and between disturbances."""

    seconds: float
    restart_s: float
    longest_partition_s: float


IN_TESTS: Final = Lengths(3.0, 2.0, 2.0)
IN_BENCHMARKS: Final = Lengths(40.0, 10.0, 12.0)


def cases(lengths: Lengths) -> dict[str, Case]:
    """Over MQTT, by name."""
    fast, slow, far = 400e3, 8e3, 1e6

    def length(rate: float) -> int:
        return round(lengths.seconds * rate)

    def cut(_broker: Broker | None, seed: int) -> Trouble:
        return partitions(seed, lengths.longest_partition_s / 4, lengths.longest_partition_s)

    def restart(broker: Broker | None, _seed: int) -> Trouble:
        assert broker is not None, "only a broker is restarted"
        return restarts(broker, lengths.restart_s)

    return {
        "loss_1": Case(Conditions(fast, 0.01, 0.01), length(fast)),
        "loss_5": Case(Conditions(fast, 0.01, 0.05), length(fast) // 2),
        "loss_20": Case(Conditions(fast, 0.01, 0.2), length(fast) // 12),
        "delay_500ms": Case(Conditions(far, 0.5), length(far) // 3),
        "64kbit": Case(Conditions(slow, 0.05), length(slow)),
        "partitions": Case(Conditions(fast, 0.01), length(fast), cut),
        "restarts": Case(Conditions(fast, 0.01), 2 * length(fast), restart),
    }


def https_cases(lengths: Lengths) -> dict[str, Case]:
    """Over HTTPS, by name."""
    known = cases(lengths)
    return {f"https_{name}": known[name] for name in ("loss_5", "partitions")}


def over_mqtt(case: Case, folder: Path, seed: int = 1, streams: int = STREAMS) -> Compared:
    """One transfer from the embedded broker's program; see ``compare``."""
    blob, data = random_blob(case.length)
    with running("nats", folder / "broker") as broker:
        publish(broker, data)
        trouble = case.trouble(broker, seed) if case.trouble else None
        goal = (broker.host, broker.port)
        return compare(
            goal, over_broker, blob, case.conditions, folder / "store", trouble, seed=seed, streams=streams
        )


def over_https(case: Case, folder: Path, seed: int = 1, streams: int = STREAMS) -> Compared:
    """One transfer from the controller's real door; see ``compare``."""
    blob, data = random_blob(case.length)
    with _door(folder, blob.sha256, data) as (port, context):
        trouble = case.trouble(None, seed) if case.trouble else None
        goal = ("127.0.0.1", port)
        reader, store = over_door(context), folder / "store"
        return compare(goal, reader, blob, case.conditions, store, trouble, seed=seed, streams=streams)


def from_full(kind: str, length: int, folder: Path, room_after_s: float = 0.0) -> Compared:
    """One transfer from a broker whose disk is full; for good, or until it gets room and is started again."""
    blob, data = random_blob(length)
    with full_broker(kind, folder / "broker", data) as broker:

        def give_room(_networks: list[NetworkLink], over: threading.Event) -> None:
            over.wait(room_after_s)
            broker.crash()
            (folder / "broker" / FILLER).unlink()
            broker.start()

        goal, conditions = (broker.host, broker.port), cases(IN_TESTS)["loss_1"].conditions
        trouble = give_room if room_after_s else None
        return compare(goal, over_broker, blob, conditions, folder / "store", trouble)


@contextmanager
def _door(folder: Path, digest: str, data: bytes) -> Iterator[tuple[int, TlsContext]]:
    with opened(folder / "controller") as door:
        own, _ = enrolled(door, folder)
        context = ssl.create_default_context(cadata=door.authority.root_pem)
        context.load_cert_chain(own)
        path = door.parts.blobs.path(door.parts.blobs.put(data))
        door.parts.publisher.found[digest] = PublishedBlob(path, len(data))
        yield int(door.url.rpartition(":")[2]), context
