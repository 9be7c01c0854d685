"""``verify_100mb_cpu_s``: a blob of 100 MB, verified while it is downloaded.

The agent's downloader takes chunks from topics in memory and stores them; each is hashed once as it comes,
against its signed digest, and nothing is read back: ``bytes_read`` counts what the process read from files
while it ran (proc(5), io: rchar). The peer is ``download_target`` of python-tuf's client over HTTP: it
spools the whole into a temporary file, reads it back to verify it, and reads it again to copy it. Both write
100 MB to the disk. CPU is the client's thread; the peer's server has one of its own.

The agent takes the digest of the whole when the file is used, at the qualification and at each load, possibly
months later, and so would any client that does not trust its disk; that is not in this figure.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tuf.api.metadata import TargetFile
from tuf.ngclient import Updater

from edgewright.agent.chunks import TopicChunks
from edgewright.agent.downloader import Downloader, Hooks
from edgewright.agent.store import Store
from edgewright.agent.transfer import Limits, Transfer
from edgewright.wire import topics
from edgewright.wire.manifest import split_blob
from simulators.releases import random_artifact
from simulators.repository import RepositorySimulator
from simulators.topics import MemoryTopics
from tests.benchmarks.http_files import serving

SIZE_BYTES = 100_000_000
SYNC_CHUNKS = 64
"""A sync each 8 MiB: how often a disk is waited for is not the subject."""


class Cost(NamedTuple):
    """CPU seconds of the client's thread, and bytes that it read from files."""

    cpu_s: float
    bytes_read: int


def run() -> Iterator[dict[str, object]]:
    """Measure both."""
    data = random_artifact(1, SIZE_BYTES)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours = _measured(_agent(data, folder / "agent"))
        http = stack.enter_context(serving({"file": data}))
        theirs = _measured(_peer(data, http.address, folder / "peer"))
    yield {
        "name": "verify_100mb_cpu_s",
        "value": round(ours.cpu_s, 3),
        "unit": "s",
        "peer": "python-tuf ngclient download_target over HTTP",
        "peer_value": round(theirs.cpu_s, 3),
        "ratio": round(ours.cpu_s / theirs.cpu_s, 3),
        "bytes_read": ours.bytes_read,
        "peer_bytes_read": theirs.bytes_read,
    }


def _measured(work: Callable[[], None]) -> Cost:
    before, started = _bytes_read(), time.thread_time()
    work()
    return Cost(time.thread_time() - started, _bytes_read() - before)


def _bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


def _agent(data: bytes, folder: Path) -> Callable[[], None]:
    blob, chunks = split_blob(data)
    memory = MemoryTopics()
    for digest, chunk in zip(blob.chunks, chunks, strict=True):
        memory.publish(topics.chunk(digest), chunk)
    downloader = Downloader(
        TopicChunks(memory), Store(folder, sync_chunks=SYNC_CHUNKS), Hooks(), Transfer(Limits())
    )
    return lambda: downloader.fetch(blob)


def _peer(data: bytes, address: str, folder: Path) -> Callable[[], None]:
    folder.mkdir()
    root = RepositorySimulator().image_root
    target = TargetFile.from_data("file", data, ["sha256"])
    updater = Updater(str(folder), f"{address}/", str(folder), f"{address}/", bootstrap=root)
    updater.config.prefix_targets_with_hash = False

    def download() -> None:
        assert updater.download_target(target) == str(folder / "file")

    return download
