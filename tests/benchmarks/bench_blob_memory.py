"""``blob_memory_mb``: how much larger a process gets while a blob of 200 MiB comes into its store.

The value is the larger one of the two ways, by chunks and by a patch (``blob_memory``). There is no peer.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.benchmarks.blob_memory import measure

SIZE_MIB: Final = 200


def run() -> Iterator[dict[str, object]]:
    """Measure both ways."""
    with tempfile.TemporaryDirectory() as folder:
        mib = {
            way: round(measure(way, SIZE_MIB, Path(folder) / way) / 1024, 2) for way in ("chunks", "patch")
        }
    yield {
        "name": "blob_memory_mb",
        "value": max(mib.values()),
        "unit": "MiB",
        "peer": None,
        "peer_value": None,
        "ratio": None,
        "by_way": mib,
    }
