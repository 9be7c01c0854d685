"""``network_<case>_time_ratio`` and ``network_<case>_bytes_ratio``: transfers over networks that fail.

A real broker, or the controller's real HTTPS door, and the agent's own connection and downloader, over two
network namespaces in which packets are delayed and lost one by one (``simulators.network``). Each case runs
three times side by side, each time beside one bare TCP stream of the same bytes, over a network of its own
with the same conditions and the same cuts: the peer. Rows have the median and all three values.

``bytes_ratio`` is everything that the network carried, both ways, headers and repetitions included, over the
artifact's bytes. ``kind`` says over what: without namespaces it is a ``proxy`` of streams, which has no
packets. The promises: time within 2.0, bytes within 1.2.
"""

import statistics
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.system.network_cases import IN_BENCHMARKS, Case, cases, https_cases, over_https, over_mqtt
from tests.system.transfers import Compared

REPEATS: Final = 3

Way = Callable[[Case, Path, int, int], Compared]


def run() -> Iterator[dict[str, object]]:
    """Measure; two rows a case."""
    ways: dict[str, tuple[Way, Case]] = {
        **{name: (over_mqtt, case) for name, case in cases(IN_BENCHMARKS).items()},
        **{name: (over_https, case) for name, case in https_cases(IN_BENCHMARKS).items()},
    }
    for name, (way, case) in ways.items():
        yield from _rows(name, _repeated(way, case))


def _repeated(way: Way, case: Case) -> list[Compared]:
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(REPEATS) as pool:
        folders = [Path(name) / str(number) for number in range(REPEATS)]
        for folder in folders:
            folder.mkdir()
        works = [pool.submit(way, case, folder, 100 * n + 1, 1) for n, folder in enumerate(folders)]
        return [work.result() for work in works]


def _rows(name: str, found: list[Compared]) -> Iterator[dict[str, object]]:
    times = sorted(one.time_ratio for one in found)
    sizes = sorted(one.bytes_ratio for one in found)
    bare = [one.allowed_s for one in found]
    yield {
        "name": f"network_{name}_time_ratio",
        "value": round(statistics.median(times), 3),
        "unit": "",
        "peer": "one bare TCP stream on the same network",
        "ratios": [round(value, 3) for value in times],
        "seconds": [round(one.took.seconds, 1) for one in found],
        "peer_value": round(statistics.median(bare), 1),
        "peer_seconds": [round(value, 1) for value in bare],
        "tries": [one.took.tries for one in found],
    }
    yield {
        "name": f"network_{name}_bytes_ratio",
        "value": round(statistics.median(sizes), 3),
        "unit": "",
        "ratios": [round(value, 3) for value in sizes],
        "artifact_bytes": found[0].length,
        "payload_ratio": [round(one.took.fetched / one.length, 3) for one in found],
        "kind": found[0].kind,
    }
