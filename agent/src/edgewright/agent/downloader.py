"""Fetching blobs by their chunks: each one checked, stored and let go.

Rules:

- A chunk is stored only if its bytes have the signed digest. Wrong bytes are counted, told once a digest,
  dropped and asked for again: a poisoned chunk cannot enter the store and cannot be waited out silently.
- Rounds, each over the chunks that still lack. The second round is the same question again (a lost QoS 0
  message). From the third on the controller is asked first, by ``Want``, to publish them again, and the
  patience grows, with jitter. A round that brought something starts the count anew, so the whole is bounded
  by the number of chunks.
- Resume needs no record: the partial file knows what it holds.
- How many chunks are asked for at a time, when one is lost and when the whole ends is the ``Transfer``'s.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from edgewright.agent.chunks import Arrival, ChunkReader, pieces_of
from edgewright.agent.store import Partial, Store
from edgewright.agent.transfer import Transfer
from edgewright.wire.errors import BlobTimeoutError, TamperedArtifactError
from edgewright.wire.manifest import Blob

SILENT_ROUNDS: Final = 2
"""Rounds before the controller is asked to publish again."""

MAX_WANTED_CHUNKS: Final = 512
"""Digests in one ``Want``; 512 of them are 34 KB."""


class Hooks(msgspec.Struct, frozen=True):
    """What a download tells while it runs; called on the downloading thread.

    Attributes:
        want: chunks that the controller shall publish again.
        tampered: a chunk arrived with wrong bytes, once a digest and download.
    """

    want: Callable[[tuple[str, ...]], None] = lambda _chunks: None
    tampered: Callable[[TamperedArtifactError], None] = lambda _error: None


class Downloader:
    """Brings blobs into a store.

    Attributes:
        fetched_bytes: payload bytes taken from the network so far, wrong ones included.
    """

    def __init__(self, chunks: ChunkReader, store: Store, hooks: Hooks, transfer: Transfer) -> None:
        self._chunks, self._store, self._hooks, self._transfer = chunks, store, hooks, transfer
        self._poisoned: set[str] = set()
        self.fetched_bytes = 0

    def fetch(self, blob: Blob) -> None:
        """Have the complete blob in the store; nothing is fetched that is there.

        Raises:
            BlobTimeoutError: chunks did not arrive.
            SlowRetrievalError: they arrive too slowly.
            TransferDeadlineError: the try takes too long.
            TamperedArtifactError: all that arrived for a chunk was wrong until the patience ended, or the
                chunks are right and the whole is not.
            StorageFullError: there is no room.
            Postponed: no more may be asked for now.
            Interrupted: the work was called off; what arrived is kept.
        """
        if self._store.has(blob.sha256):
            return
        with self._store.partial(blob) as partial:
            self._fill(partial, blob)
            partial.finish()

    def _fill(self, partial: Partial, blob: Blob) -> None:
        silent = 0
        while missing := partial.missing:
            if silent >= len(self._transfer.limits.patience):
                self._give_up(missing)
            if silent >= SILENT_ROUNDS and self._chunks.republishes:
                self._hooks.want(tuple(missing[:MAX_WANTED_CHUNKS]))
            until = self._transfer.begin_round(silent)
            if self._round(partial, blob, missing):
                silent = 0
            else:
                silent += 1
                # Wrong bytes come at once: the controller needs time to publish the right ones.
                self._transfer.wait_until(until, self._chunks)

    def _round(self, partial: Partial, blob: Blob, missing: list[str]) -> bool:
        """Ask once for every missing chunk; whether any came."""
        brought = False
        for arrival in self._chunks.read(blob.sha256, pieces_of(blob, missing), self._transfer):
            brought = self._take(partial, arrival) or brought
        return brought

    def _take(self, partial: Partial, arrival: Arrival) -> bool:
        """Store what came for a piece; whether it was right."""
        digest, data = arrival.piece.digest, arrival.data
        if data is None:
            return False
        self.fetched_bytes += len(data)
        try:
            partial.write(digest, data)
        except TamperedArtifactError:
            self._refuse(digest)
            return False
        self._transfer.took(len(data))
        return True

    def _refuse(self, digest: str) -> None:
        if digest not in self._poisoned:
            self._poisoned.add(digest)
            self._hooks.tampered(TamperedArtifactError(f"The chunk {digest[:12]} came with other bytes."))

    def _give_up(self, missing: list[str]) -> None:
        poisoned = [digest for digest in missing if digest in self._poisoned]
        if poisoned:
            raise TamperedArtifactError(f"{len(poisoned)} chunks came with other bytes each time.")
        raise BlobTimeoutError(f"{len(missing)} chunks did not arrive.")
