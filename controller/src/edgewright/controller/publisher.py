"""Putting on the broker what devices pull: the broker is the fleet's content network.

Every release lies on retained topics, at QoS 1 so that it is surely there; a device takes it from there
whenever it likes, whether this controller runs or not. The order matters, because a device reacts to the
timestamp and to its assignment at once and has to find everything else then:

1. chunks of a release, each published once however many releases share it;
2. metadata files and the director's roots, then the hint ``head`` that names them;
3. ``timestamp.json``;
4. assignments.

A device that misses chunks or metadata says so (``Want``), and gets them published again if they belong to
what is live, within the limits of ``wants``: a want cannot make this controller send without bounds. Nor can
a broker that does not take them: wants are not answered while ``WAITING_BYTES`` wait for it, and everything
else is read from disk as the broker takes it.

What lies on the broker is written down topic by topic as the broker acknowledges it. So a publication that
broke off goes on where it was, and what all of it takes is known (``figures``) and bounded: a new release
that does not fit is refused before its first chunk.

One blob that is damaged on disk takes nothing else with it: whatever can be read is published, and what
cannot is returned, by manifest.

``publish_assignment`` and ``handle_want`` hand over and return. The others wait for the broker; they must not
be called on the link's network thread.
"""

import logging
import random
import threading
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from edgewright.controller.blobs import BlobStore
from edgewright.controller.errors import BrokerFullError, DataFolderDamagedError
from edgewright.controller.link import BrokerLink
from edgewright.controller.release import Place, Release, read_release
from edgewright.controller.retained import Figures, Retained
from edgewright.controller.trust.repository import ImageRepository
from edgewright.controller.wants import WantCounts, WantLimiter
from edgewright.wire import messages, topics
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.errors import EdgewrightError, MalformedMessageError
from edgewright.wire.messages import Head, Want

WAITING_BYTES: Final = 8 * 1024 * 1024
"""A broker that has left so much unacknowledged gets no answers to wants; devices ask again."""

NEWEST_LOOKED_FOR: Final = 8
OTHERS_LOOKED_FOR: Final = 8
LOOK_S: Final = 5.0
"""So many topics are asked for of a broker that came back, until none has come for so long."""

_TIMESTAMP: Final = "timestamp.json"
_CLEARED: Final = b""

logger = logging.getLogger(__name__)


Damaged = dict[str, EdgewrightError]
"""SHA-256 of a manifest to why its release cannot be published, or taken back, whole."""


class PublishedBlob(NamedTuple):
    """A file that devices may have, and its length in bytes."""

    path: Path
    length: int


class Publisher:
    """Publishes releases, metadata and assignments; safe to use from several threads.

    Args:
        link: to the broker.
        blobs: what releases are made of.
        repository: signed metadata.
        director_roots: the director's roots, the first first.
        most_bytes: what everything on the broker may take together; 0 sets no bound.
        clock: seconds, for the limits of wants.
    """

    def __init__(
        self,
        link: BrokerLink,
        blobs: BlobStore,
        repository: ImageRepository,
        director_roots: Callable[[], Sequence[bytes]],
        most_bytes: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link = link
        self._blobs = blobs
        self._repository = repository
        self._director_roots = director_roots
        self._clock = clock
        self.most_bytes = most_bytes
        self._waiting = threading.RLock()
        self._lock = threading.Lock()
        self._releases: dict[str, Release] = {}
        self._places: dict[str, Place] = {}
        self._retained = Retained()
        self._limiter = WantLimiter()
        self._counts = WantCounts()

    def publish_release(self, manifest_sha256: str) -> None:
        """Publish the manifest and the chunks of its blobs, as far as the broker does not have them.

        Raises:
            BrokerFullError: it does not fit beside what is published; nothing of it was sent.
            BrokerUnreachableError: the broker did not take them all; calling again goes on.
            DataFolderDamagedError: a blob is not here, or not what the manifest says; the rest was sent.
            MalformedMessageError: the blob is no manifest.
        """
        with self._waiting:
            release = self._read(manifest_sha256)
            self.verify_fit([manifest_sha256])
            damage = self._publish(release)
            if damage:
                raise damage[0]

    def verify_fit(self, manifest_sha256s: Iterable[str]) -> None:
        """Refuse releases that would together make too much of what the broker holds.

        What is published already is counted, and no reason to refuse.

        Raises:
            BrokerFullError: they would.
            DataFolderDamagedError: a manifest is not here, or has changed.
            MalformedMessageError: a blob is no manifest.
        """
        with self._waiting:
            new = [self._read(sha256) for sha256 in manifest_sha256s if sha256 not in self._releases]
            lengths = {name: place.length for each in new for name, place in each.places.items()}
            fresh = sum(
                length for name, length in lengths.items() if topics.chunk(name) not in self._retained
            )
            there = self.figures().bytes
        if fresh and self.most_bytes and there + fresh > self.most_bytes:
            raise BrokerFullError(
                f"The version takes {fresh / 1e6:.1f} MB on the broker, where {there / 1e6:.1f} of "
                f"{self.most_bytes / 1e6:.1f} MB are taken."
            )

    def publish_metadata(self) -> None:
        """Publish the repository's files, the director's roots, the hint and, last, the timestamp; clear
        superseded files.

        Raises:
            BrokerUnreachableError: the broker did not take them all; calling again goes on.
        """
        with self._waiting:
            files = self._repository.files()
            fresh = [name for name in files if topics.metadata(name) not in self._retained]
            self._send(_metadata_message(name, files[name]) for name in fresh if name != _TIMESTAMP)
            roots = self._publish_director_roots()
            # Each call returns when the broker has it: a device that sees the timestamp finds the rest.
            self._send([(topics.head(), _head(files, roots))])
            self._send([_metadata_message(_TIMESTAMP, files[_TIMESTAMP])])
            old = self._repository.superseded()
            self._clear(topics.metadata(name) for name in old)
            self._repository.discard(old)

    def publish_assignment(self, device: str, document: bytes) -> None:
        """Publish a device's signed assignment; an empty document takes it back.

        Does not wait for the broker: thousands may be published in a row, ``link.drain`` waits for them.

        Raises:
            BrokerUnreachableError: too many messages wait for the broker already.
        """
        topic = topics.assignment(device)
        self._link.publish(topic, document, retain=True)
        self._retained.note(topic, len(document))

    def publish_order(self, device: str, document: bytes) -> None:
        """Publish what a device shall measure; an empty document takes it back.

        Raises:
            BrokerUnreachableError: the broker did not take it; calling again is harmless.
        """
        with self._waiting:
            self._send([(topics.qualification(device), document)])

    def withdraw_releases(self, manifest_sha256s: Collection[str]) -> Damaged:
        """Clear the chunks of releases that nothing needs, but for those that another published one has.

        Returns:
            Releases whose manifests cannot be read; nobody knows their chunks.

        Raises:
            BrokerUnreachableError: the broker did not take it; calling again is harmless.
        """
        with self._waiting:
            gone, damaged = self._read_all(manifest_sha256s)
            with self._lock:
                for release in gone:
                    self._releases.pop(release.manifest, None)
                self._places = {}
                for kept in self._releases.values():
                    self._places.update(kept.places)
                chunks = {name for release in gone for name in release.places} - self._places.keys()
            self._clear(topics.chunk(sha256) for sha256 in sorted(chunks))
        return damaged

    def handle_want(self, want: Want) -> int:
        """Publish again what a device misses, if it is live and within the limits; returns how many.

        Does not wait for the broker: devices ask again. What is retired or unknown is answered by nothing,
        and counted.

        Raises:
            BrokerUnreachableError: too many messages wait for the broker already.
            DataFolderDamagedError: a blob is not here, or has changed; what else was wanted is sent.
        """
        live = frozenset(self._repository.names()) if want.metadata else frozenset()
        asked = len(want.chunks) + len(want.metadata)
        busy = self._link.waiting_bytes >= WAITING_BYTES
        with self._lock:
            known = {name: self._places[name] for name in want.chunks if name in self._places}
            files = [name for name in want.metadata if name in live]
            chunks = {
                name: place
                for name, place in known.items()
                if not busy and self._admit(want.device, name, place.length)
            }
            names = [name for name in files if not busy and self._admit(want.device, name, 0)]
            answered, found = len(chunks) + len(names), len(known) + len(files)
            self._counts = WantCounts(
                self._counts.answered + answered,
                self._counts.limited + found - answered,
                self._counts.unknown + asked - found,
            )
        damage: list[DataFolderDamagedError] = []
        for message in self._readable(chunks, damage):
            self._link.publish(*message, retain=True)
        # Files are read only for a want that is answered: a device can ask without end.
        for name, data in (self._repository.files(names) if names else {}).items():
            self._link.publish(*_metadata_message(name, data), retain=True)
        if answered:
            logger.info("%s missed %d chunks and %d files.", want.device, len(chunks), len(names))
        if damage:
            raise damage[0]
        return answered

    def republish_all(self, manifest_sha256s: Sequence[str]) -> Damaged:
        """Have every live release and its metadata on the broker, whatever it has lost.

        Call it at the start and when the broker came back, then ``republish_assignments``: a device that
        sees its assignment has to find everything else. A broker that has some chunks, the newest among
        them, is taken to have kept all, and gets only what this process knows it to lack; should it lack
        more, devices want it.

        Args:
            manifest_sha256s: of all live and rollback-allowed releases.

        Returns:
            Releases that are not there whole, because a blob is not here, or not what its manifest says.

        Raises:
            BrokerUnreachableError: the broker did not take everything; calling again is harmless.
            DataFolderDamagedError: the signed metadata cannot be read.
        """
        with self._waiting:
            # A release that is just being made ready stands in no list yet.
            releases, damaged = self._read_all({**dict.fromkeys(manifest_sha256s), **self._releases})
            lengths = {
                topics.chunk(name): place.length for each in releases for name, place in each.places.items()
            }
            is_start = not self._retained.of_kind("chunks")
            if not self._is_kept(list(lengths) if is_start else self._retained.of_kind("chunks")):
                self._retained.forget()
            elif is_start:
                for topic, length in lengths.items():
                    self._retained.note(topic, length)
            for release in releases:
                for damage in self._publish(release)[:1]:
                    damaged[release.manifest] = damage
            strays = [name for name in self._retained.of_kind("chunks") if _chunk(name) not in self._places]
            self._clear(strays)
            self.publish_metadata()
        return damaged

    def republish_assignments(self, documents: Mapping[str, bytes]) -> None:
        """Publish devices' current documents again, by device; returns when the broker has them.

        Raises:
            BrokerUnreachableError: the broker did not take them all; calling again is harmless.
        """
        self._send((topics.assignment(device), data) for device, data in documents.items())

    def find_blob(self, sha256: str) -> PublishedBlob | None:
        """A blob of a release that is published now."""
        with self._lock:
            lengths = (each.blobs[sha256] for each in self._releases.values() if sha256 in each.blobs)
            length = next(lengths, None)
        return None if length is None else PublishedBlob(self._blobs.path(sha256), length)

    def figures(self) -> Figures:
        """What lies on the broker by this controller."""
        return self._retained.figures()

    @property
    def wants(self) -> WantCounts:
        """What became of wants."""
        return self._counts

    def _read(self, manifest_sha256: str) -> Release:
        return self._releases.get(manifest_sha256) or read_release(
            manifest_sha256, self._blobs.read(manifest_sha256)
        )

    def _read_all(self, manifest_sha256s: Iterable[str]) -> tuple[list[Release], Damaged]:
        found: list[Release] = []
        damaged: Damaged = {}
        for sha256 in manifest_sha256s:
            try:
                found.append(self._read(sha256))
            except (DataFolderDamagedError, MalformedMessageError) as error:
                damaged[sha256] = error
        return found, damaged

    def _publish(self, release: Release) -> list[DataFolderDamagedError]:
        """Send what the broker does not have of a release; returns why chunks of it could not be read."""
        with self._lock:
            self._releases[release.manifest] = release
            self._places.update(release.places)
        missing = map(_chunk, self._retained.missing(map(topics.chunk, release.places)))
        damage: list[DataFolderDamagedError] = []
        self._send(self._readable({name: release.places[name] for name in missing}, damage))
        return damage

    def _is_kept(self, known: list[str]) -> bool:
        """Whether the broker has what it once took: some of it is asked for, above all the newest."""
        older, newest = known[:-NEWEST_LOOKED_FOR], known[-NEWEST_LOOKED_FOR:]
        # Any broker may know where we look.
        others = random.sample(older, min(OTHERS_LOOKED_FOR, len(older)))
        asked = {*newest, *others}
        kept = bool(asked) and self._link.retained(asked, LOOK_S).keys() >= asked
        if asked and not kept:
            logger.warning("The broker does not have what was published; all of it is published again.")
        return kept

    def _publish_director_roots(self) -> int:
        """Publish the roots that the broker does not have; how many there are."""
        roots = self._director_roots()
        named = {topics.director_root(n): root for n, root in enumerate(roots, start=1)}
        self._send((name, zlib.compress(named[name], 9)) for name in self._retained.missing(named))
        return len(roots)

    def _clear(self, names: Iterable[str]) -> None:
        self._send((name, _CLEARED) for name in names)

    def _send(self, retained: Iterable[tuple[str, bytes]]) -> None:
        """Publish, and write down what the broker has acknowledged, also when it breaks off."""
        self._link.publish_paced(retained, self._retained.note)

    def _admit(self, device: str, name: str, length: int) -> bool:
        return self._limiter.admit(device, name, length, self._clock())

    def _readable(
        self, chunks: Mapping[str, Place], damage: list[DataFolderDamagedError]
    ) -> Iterator[tuple[str, bytes]]:
        """Topics and bytes of chunks, read as they are taken; why one cannot be read goes to ``damage``."""
        for sha256, place in chunks.items():
            try:
                message = self._chunk_message(sha256, place)
            except DataFolderDamagedError as error:
                damage.append(error)
            else:
                yield message

    def _chunk_message(self, sha256: str, place: Place) -> tuple[str, bytes]:
        """Topic and bytes of a chunk, read when it is sent: a blob may be larger than memory."""
        try:
            with self._blobs.path(place.blob).open("rb") as file:
                file.seek(place.offset)
                data = file.read(place.length)
        except OSError as error:
            raise DataFolderDamagedError(
                f"The blob {place.blob[:12]} cannot be read: {error.strerror}."
            ) from error
        if sha256_hex(data) != sha256:
            raise DataFolderDamagedError(f"The blob {place.blob[:12]} has changed on disk.")
        return topics.chunk(sha256), data


def _chunk(topic: str) -> str:
    return topic.rpartition("/")[2]


def _head(files: Collection[str], director_root: int) -> bytes:
    roots = [name for name in files if name.partition(".")[2] == "root.json"]
    return messages.encode(Head(root=len(roots), director_root=director_root))


def _metadata_message(name: str, data: bytes) -> tuple[str, bytes]:
    return topics.metadata(name), zlib.compress(data, 9)
