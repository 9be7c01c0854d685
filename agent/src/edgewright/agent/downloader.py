"""Fetching blobs by their chunks: a window of retained topics, each checked, stored and let go.

Rules:

- A chunk is stored only if its bytes have the signed digest. Wrong bytes are counted, told once a digest,
  dropped and asked for again: a poisoned chunk cannot enter the store and cannot be waited out silently.
- Rounds, each over the chunks that still lack. The second round is the same subscription again (a lost
  QoS 0 message). From the third on the controller is asked first, by ``Want``, to publish them again, and
  the wait grows. A round that brought something starts the count anew, so the whole is bounded by the
  number of chunks.
- Resume needs no record: the partial file knows what it holds.
- A broker that lets a chunk through from time to time would keep a download alive for ever. So right bytes
  have a lowest rate, and one below it ends as slow retrieval; what arrived is kept. A network that is away
  does not count: nobody drips there.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from edgewright.agent.fetcher import Interrupt, Reader, never
from edgewright.agent.store import Partial, Store
from edgewright.wire import topics
from edgewright.wire.errors import BlobTimeoutError, SlowRetrievalError, TamperedArtifactError
from edgewright.wire.manifest import Blob

WINDOW_CHUNKS: Final = 8
PATIENCE_SECONDS: Final = (5.0, 5.0, 10.0, 20.0, 40.0, 60.0)
"""Deadline of each chunk in each round that brings nothing; after the last the blob has timed out."""

SILENT_ROUNDS: Final = 2
"""Rounds before the controller is asked to publish again."""

MIN_BYTES_PER_SECOND: Final = 1024
"""A fifth of what the slowest mobile network brings (GPRS, 5 KB/s)."""

RATE_SECONDS: Final = 300.0
"""Over how long the rate is taken; longer than the patience with one silent chunk."""

MAX_WANTED_CHUNKS: Final = 512
"""Digests in one ``Want``; 512 of them are 34 KB."""


class Hooks(msgspec.Struct, frozen=True):
    """What a download tells while it runs; called on the downloading thread.

    Attributes:
        want: chunks that the controller shall publish again.
        tampered: a chunk arrived with wrong bytes, once a digest and download.
        interrupt: answers True when the work is called off.
    """

    want: Callable[[tuple[str, ...]], None] = lambda _chunks: None
    tampered: Callable[[TamperedArtifactError], None] = lambda _error: None
    interrupt: Interrupt = never


class Downloader:
    """Brings blobs into a store.

    Attributes:
        fetched_bytes: payload bytes taken from the network so far, wrong ones included.
    """

    def __init__(
        self,
        reader: Reader,
        store: Store,
        hooks: Hooks,
        *,
        window: int = WINDOW_CHUNKS,
        patience: Sequence[float] = PATIENCE_SECONDS,
        rate_seconds: float = RATE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader, self._store, self._hooks = reader, store, hooks
        self._rate_seconds, self._monotonic = rate_seconds, monotonic
        self._window = window
        self._patience = tuple(patience)
        self._poisoned: set[str] = set()
        self._rate_from, self._rate_bytes = 0.0, 0
        self.fetched_bytes = 0

    def fetch(self, blob: Blob) -> None:
        """Have the complete blob in the store; nothing is fetched that is there.

        Raises:
            BlobTimeoutError: chunks did not arrive.
            SlowRetrievalError: they arrive too slowly.
            TamperedArtifactError: all that arrived for a chunk was wrong until the patience ended, or the
                chunks are right and the whole is not.
            StorageFullError: there is no room.
            Interrupted: the work was called off; what arrived is kept.
        """
        if self._store.has(blob.sha256):
            return
        with self._store.partial(blob) as partial:
            self._rate_from, self._rate_bytes = self._monotonic(), 0
            self._fill(partial)
            partial.finish()

    def _fill(self, partial: Partial) -> None:
        silent = 0
        while missing := partial.missing:
            if silent >= len(self._patience):
                self._give_up(missing)
            if silent >= SILENT_ROUNDS:
                self._hooks.want(tuple(missing[:MAX_WANTED_CHUNKS]))
            brought = self._round(partial, missing, self._patience[silent])
            silent = 0 if brought else silent + 1

    def _round(self, partial: Partial, missing: list[str], seconds: float) -> bool:
        """Ask once for every missing chunk; whether any came."""
        wanted = (topics.chunk(digest) for digest in missing)
        brought = False
        for topic, data in self._reader.read_many(wanted, self._window, seconds, self._hooks.interrupt):
            brought = self._take(partial, topic, data) or brought
        return brought

    def _take(self, partial: Partial, topic: str, data: bytes | None) -> bool:
        """Store what came for a topic; whether it was right."""
        right = False
        if data is not None:
            self.fetched_bytes += len(data)
            digest = topics.parse_chunk(topic)
            try:
                partial.write(digest, data)
                right = True
            except TamperedArtifactError:
                self._refuse(digest)
        self._check_rate(len(data) if data and right else 0)
        return right

    def _check_rate(self, length: int) -> None:
        now = self._monotonic()
        self._rate_bytes += length
        elapsed = now - self._rate_from
        if elapsed < self._rate_seconds:
            return
        if 0 < self._rate_bytes < elapsed * MIN_BYTES_PER_SECOND:
            raise SlowRetrievalError(f"{self._rate_bytes} bytes of chunks came in {elapsed:.0f} s.")
        self._rate_from, self._rate_bytes = now, 0

    def _refuse(self, digest: str) -> None:
        if digest not in self._poisoned:
            self._poisoned.add(digest)
            self._hooks.tampered(TamperedArtifactError(f"The chunk {digest[:12]} came with other bytes."))

    def _give_up(self, missing: list[str]) -> None:
        poisoned = [digest for digest in missing if digest in self._poisoned]
        if poisoned:
            raise TamperedArtifactError(f"{len(poisoned)} chunks came with other bytes each time.")
        raise BlobTimeoutError(f"{len(missing)} chunks did not arrive.")
