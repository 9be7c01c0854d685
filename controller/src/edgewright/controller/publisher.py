"""Putting on the broker what devices pull: the broker is the fleet's content network.

Every release lies on retained topics, at QoS 1 so that it is surely there; a device takes it from there
whenever it likes, whether this controller runs or not. The order matters, because a device reacts to the
timestamp and to its assignment at once and has to find everything else then:

1. chunks of a release, each published once however many releases share it;
2. metadata files and the director's roots, then the hint ``head`` that names them;
3. ``timestamp.json``;
4. assignments.

A device that misses chunks or metadata says so (``Want``), and gets them published again if they belong to
what is live, each at most once a second: a want cannot make this controller send without bounds.

``publish_assignment`` and ``handle_want`` hand over and return. The others wait for the broker; they must not
be called on the link's network thread.
"""

import logging
import threading
import time
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from edgewright.controller.blobs import BlobStore
from edgewright.controller.errors import DataFolderDamagedError
from edgewright.controller.link import BrokerLink
from edgewright.controller.trust.repository import ImageRepository
from edgewright.wire import messages, topics
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.manifest import CHUNK_BYTES, decode_manifest
from edgewright.wire.messages import Head, Want

WANT_INTERVAL_S: Final = 1.0
"""A chunk or file is published again at most this often, however many devices want it."""

WANTS_A_SECOND: Final = 256
"""32 MiB of chunks: what all wants together may cost."""

_TIMESTAMP: Final = "timestamp.json"
_CLEARED: Final = b""

logger = logging.getLogger(__name__)


class _Place(NamedTuple):
    """Where a chunk's bytes are."""

    blob: str
    offset: int


class WantLimiter:
    """Decides which wanted names are answered now; no clock of its own.

    >>> limiter = WantLimiter()
    >>> limiter.admit("a", now=10.0), limiter.admit("a", now=10.5), limiter.admit("a", now=11.5)
    (True, False, True)
    """

    def __init__(self) -> None:
        self._answered: dict[str, float] = {}

    def admit(self, name: str, now: float) -> bool:
        """Whether ``name`` is answered at ``now`` (seconds); counts it if so."""
        # Names stand in the order of their answers, so the old ones are at the front.
        while self._answered and now - next(iter(self._answered.values())) >= WANT_INTERVAL_S:
            del self._answered[next(iter(self._answered))]
        if name in self._answered or len(self._answered) >= WANTS_A_SECOND:
            return False
        self._answered[name] = now
        return True


class Publisher:
    """Publishes releases, metadata and assignments; safe to use from several threads."""

    def __init__(
        self,
        link: BrokerLink,
        blobs: BlobStore,
        repository: ImageRepository,
        director_roots: Callable[[], Sequence[bytes]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link = link
        self._blobs = blobs
        self._repository = repository
        self._director_roots = director_roots
        self._clock = clock
        self._waiting = threading.RLock()
        self._lock = threading.Lock()
        self._places: dict[str, _Place] = {}
        self._published: set[str] = set()
        self._limiter = WantLimiter()

    def publish_release(self, manifest_sha256: str) -> None:
        """Publish the manifest and the chunks of its blobs, as far as this process has not yet.

        Raises:
            BrokerUnreachableError: the broker did not take them all; calling again goes on.
            DataFolderDamagedError: a blob is not here, or not what the manifest says.
            MalformedMessageError: the blob is no manifest.
        """
        with self._waiting:
            manifest = decode_manifest(self._blobs.read(manifest_sha256))
            places = {manifest_sha256: _Place(manifest_sha256, 0)}
            patches = (*manifest.patches, *manifest.golden_patches)
            for blob in (manifest.artifact, manifest.golden, *(patch.blob for patch in patches)):
                for index, chunk in enumerate(blob.chunks):
                    places[chunk] = _Place(blob.sha256, index * CHUNK_BYTES)
            with self._lock:
                self._places.update(places)
            fresh = {name: place for name, place in places.items() if name not in self._published}
            self._link.publish_paced(self._chunk_message(name, place) for name, place in fresh.items())
            self._published.update(fresh)

    def publish_metadata(self) -> None:
        """Publish the repository's files, the director's roots, the hint and, last, the timestamp; clear
        superseded files.

        Raises:
            BrokerUnreachableError: the broker did not take them all; calling again goes on.
        """
        with self._waiting:
            files = self._repository.files()
            numbered = [name for name in files if name != _TIMESTAMP]
            fresh = [name for name in numbered if name not in self._published]
            self._link.publish_paced(_metadata_message(name, files[name]) for name in fresh)
            self._published.update(fresh)
            roots = self._publish_director_roots()
            # Each call returns when the broker has it: a device that sees the timestamp finds the rest.
            self._link.publish_paced([(topics.head(), _head(files, roots))])
            self._link.publish_paced([_metadata_message(_TIMESTAMP, files[_TIMESTAMP])])
            old = self._repository.superseded()
            self._clear(topics.metadata(name) for name in old)
            self._repository.discard(old)
            self._published.difference_update(old)

    def publish_assignment(self, device: str, document: bytes) -> None:
        """Publish a device's signed assignment; an empty document takes it back.

        Does not wait for the broker: thousands may be published in a row, ``link.drain`` waits for them.

        Raises:
            BrokerUnreachableError: too many messages wait for the broker already.
        """
        self._link.publish(topics.assignment(device), document, retain=True)

    def withdraw_chunks(self, sha256s: Collection[str]) -> None:
        """Clear chunks that no live or rollback-allowed release needs; the caller knows which.

        Raises:
            BrokerUnreachableError: the broker did not take it; calling again is harmless.
        """
        with self._waiting:
            with self._lock:
                for sha256 in sha256s:
                    self._places.pop(sha256, None)
            self._published.difference_update(sha256s)
            self._clear(topics.chunk(sha256) for sha256 in sha256s)

    def handle_want(self, want: Want) -> int:
        """Publish again what a device misses, if it is live and not just published; returns how many.

        Does not wait for the broker: devices ask again.

        Raises:
            BrokerUnreachableError: too many messages wait for the broker already.
            DataFolderDamagedError: a blob is not here, or has changed.
        """
        live = frozenset(self._repository.names()) if want.metadata else frozenset()
        with self._lock:
            now = self._clock()
            chunks = {
                name: self._places[name]
                for name in want.chunks
                if name in self._places and self._limiter.admit(name, now)
            }
            names = [name for name in want.metadata if name in live and self._limiter.admit(name, now)]
        for sha256, place in chunks.items():
            self._link.publish(*self._chunk_message(sha256, place), retain=True)
        # Files are read only for a want that is answered: a device can ask without end.
        files = self._repository.files(names) if names else {}
        for name, data in files.items():
            self._link.publish(*_metadata_message(name, data), retain=True)
        if chunks or files:
            logger.info("%s missed %d chunks and %d files.", want.device, len(chunks), len(files))
        return len(chunks) + len(files)

    def republish_all(self, manifest_sha256s: Sequence[str]) -> None:
        """Publish every live release and its metadata, whatever was published before.

        Call it at the start and when the broker came back without its store, then
        ``republish_assignments``: a device that sees its assignment has to find everything else.

        Args:
            manifest_sha256s: of all live and rollback-allowed releases.

        Raises:
            BrokerUnreachableError: the broker did not take everything; calling again is harmless.
            DataFolderDamagedError: a blob is not here, or not what its manifest says.
        """
        with self._waiting:
            self._published.clear()
            for manifest_sha256 in manifest_sha256s:
                self.publish_release(manifest_sha256)
            self.publish_metadata()

    def republish_assignments(self, documents: Mapping[str, bytes]) -> None:
        """Publish devices' current documents again, by device; returns when the broker has them.

        Raises:
            BrokerUnreachableError: the broker did not take them all; calling again is harmless.
        """
        self._link.publish_paced((topics.assignment(device), data) for device, data in documents.items())

    def _publish_director_roots(self) -> int:
        """Publish the roots that this process has not yet; how many there are."""
        roots = self._director_roots()
        named = {topics.director_root(n): root for n, root in enumerate(roots, start=1)}
        fresh = [name for name in named if name not in self._published]
        self._link.publish_paced((name, zlib.compress(named[name], 9)) for name in fresh)
        self._published.update(fresh)
        return len(roots)

    def _clear(self, names: Iterator[str]) -> None:
        self._link.publish_paced((name, _CLEARED) for name in names)

    def _chunk_message(self, sha256: str, place: _Place) -> tuple[str, bytes]:
        """Topic and bytes of a chunk, read when it is sent: a blob may be larger than memory."""
        try:
            with self._blobs.path(place.blob).open("rb") as file:
                file.seek(place.offset)
                data = file.read(CHUNK_BYTES)
        except OSError as error:
            raise DataFolderDamagedError(
                f"The blob {place.blob[:12]} cannot be read: {error.strerror}."
            ) from error
        if sha256_hex(data) != sha256:
            raise DataFolderDamagedError(f"The blob {place.blob[:12]} has changed on disk.")
        return topics.chunk(sha256), data


def _head(files: Collection[str], director_root: int) -> bytes:
    roots = [name for name in files if name.partition(".")[2] == "root.json"]
    return messages.encode(Head(root=len(roots), director_root=director_root))


def _metadata_message(name: str, data: bytes) -> tuple[str, bytes]:
    return topics.metadata(name), zlib.compress(data, 9)
