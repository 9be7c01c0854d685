"""Pulling retained topics: the seam on which metadata is fetched, and its form over MQTT.

``Reader`` is the whole seam (chunks have their own, in ``chunks``). Its implementations are ``TopicReader``
(over a link: MQTT, or the simulators' memory) and whatever else can answer "what is retained on this topic".
A topic that does not exist answers with silence, so ``MetadataFetcher`` asks the retained hint ``tuf/head``
first: a file that is not in the hint is missing, without waiting. The hint is not signed; ``min_root`` in the
signed assignment exposes a hint that hides a root, and a hint that names too much costs a wait and nothing
else.

Every file has its own deadline and a refresh has one for all its files: a broker that answers each question
a moment before the deadline is noticed as slow retrieval.
"""

import queue
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final, Protocol

from edgewright.agent.subscriber import Subscriber
from edgewright.wire import messages, topics
from edgewright.wire.errors import (
    BlobTimeoutError,
    BrokerUnreachableError,
    MalformedMessageError,
    SlowRetrievalError,
    TamperedMetadataError,
)

METADATA_SECONDS: Final = 5.0
"""How long a metadata file that has to exist may take."""

PROBE_SECONDS: Final = 2.0
"""How long silence has to last before a file counts as missing where no hint is retained."""

REPEATED_PROBE_SECONDS: Final = 0.25
"""The same for a hint that was asked for in vain just before: a round trip, in case it came meanwhile."""

REFRESH_SECONDS: Final = 60.0
"""How long all files of one refresh may take together; a device that was away for forty roots needs one."""

MAX_METADATA_BYTES: Final = 5_000_000
"""After decompression: the largest file that ngclient accepts, its limit for targets metadata."""

_ROOT_SUFFIX: Final = ".root.json"


class Interrupted(Exception):  # noqa: N818 - a signal between our own threads, no error
    """The work was called off: a newer assignment came, or the agent stops."""


class MissingFile(Exception):  # noqa: N818 - the answer "not found", which TUF expects for roots
    """A metadata file that is not published."""


Interrupt = Callable[[], bool]
"""Whether the work was called off."""


def never() -> bool:
    """An interrupt that does not come."""
    return False


class Reader(ABC):
    """What is retained on a topic."""

    @abstractmethod
    def read(self, topic: str, timeout: float) -> bytes | None:
        """The retained payload of ``topic``; None after ``timeout`` seconds of silence.

        Raises:
            BrokerUnreachableError: nobody could be asked.
        """


class TopicReader(Reader):
    """Reads by subscribing."""

    def __init__(self, link: Subscriber) -> None:
        self._link = link

    def read(self, topic: str, timeout: float) -> bytes | None:
        """See ``Reader``."""
        arrived: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        handler = arrived.put
        self._link.subscribe(topic, handler)
        try:
            return _first_payload(arrived, timeout)
        except queue.Empty:
            if not self._link.connected:
                raise BrokerUnreachableError(f"No broker could be asked for {topic}.") from None
            return None
        finally:
            self._link.unsubscribe(topic, handler)


def _first_payload(arrived: "queue.SimpleQueue[bytes]", timeout: float) -> bytes:
    """The first payload that is not empty: an empty one says that the retained message was deleted."""
    deadline = time.monotonic() + timeout
    while True:
        payload = arrived.get(timeout=max(0.0, deadline - time.monotonic()))
        if payload:
            return payload


class MetadataSource(Protocol):
    """Where signed metadata comes from; ``MetadataFetcher`` says what each method does."""

    def begin(self) -> None:
        """Forget what was known: a refresh begins."""

    def fetch(self, file: str) -> bytes:
        """One metadata file of the image repository."""

    def fetch_director_root(self, version: int, demanded: int) -> bytes | None:
        """One root of the director."""


class MetadataFetcher:
    """Metadata files by name, decompressed, with "missing" as an answer that costs no waiting.

    Args:
        reader: where files come from.
        seconds: how long a file that has to exist may take.
        want: asks the controller to publish a file again.
        refresh_seconds: how long all files after one ``begin`` may take together.
        address: what the reader calls a file; on a broker, its topic.
        unpack: makes a file's content, of at most so many bytes, out of what was read.
    """

    def __init__(
        self,
        reader: Reader,
        seconds: float = METADATA_SECONDS,
        want: Callable[[str], None] = lambda _file: None,
        refresh_seconds: float = REFRESH_SECONDS,
        address: Callable[[str], str] = topics.metadata,
        unpack: "Callable[[bytes, int], bytes] | None" = None,
    ) -> None:
        self._reader, self._seconds, self._want = reader, seconds, want
        self._refresh_seconds = refresh_seconds
        self._address, self._unpack = address, unpack or inflate
        self._head: messages.Head | None = None
        self._begun_at = time.monotonic()
        self._hint_seconds = PROBE_SECONDS

    def begin(self) -> None:
        """Read the hint again; a refresh starts with it. Where there is none, only the first look is patient.

        Raises:
            BrokerUnreachableError: nobody could be asked.
        """
        self._head, self._begun_at = None, time.monotonic()
        raw = self._reader.read(topics.head(), self._hint_seconds)
        self._hint_seconds = REPEATED_PROBE_SECONDS if raw is None else PROBE_SECONDS
        if raw is None:
            return
        try:
            head = messages.decode_down(raw)
        except MalformedMessageError:
            return  # An unsigned hint that cannot be read is no hint: silence will say what is missing.
        if isinstance(head, messages.Head):
            self._head = head

    def fetch(self, file: str) -> bytes:
        """The content of one metadata file.

        Only a next root may be missing; everything else has to be there once something names it.

        Raises:
            MissingFile: there is no such root yet.
            BlobTimeoutError: the file does not arrive.
            SlowRetrievalError: the refresh takes too long.
            TamperedMetadataError: it is no zlib stream, or larger than any metadata may be.
            BrokerUnreachableError: nobody could be asked.
            UnknownTopicError: the name is none of a metadata file.
        """
        topic = self._address(file)
        is_root = file.endswith(_ROOT_SUFFIX)
        if is_root and self._head is not None and not _is_hinted(file, self._head):
            raise MissingFile(file)
        probing = is_root and self._head is None
        raw = self._read(topic, PROBE_SECONDS if probing else self._seconds)
        if raw is not None:
            return self._unpack(raw, MAX_METADATA_BYTES)
        if probing:
            raise MissingFile(file)
        self._want(file)
        raise BlobTimeoutError(f"The metadata file {file} did not arrive.")

    def fetch_director_root(self, version: int, demanded: int) -> bytes | None:
        """One root of the director; None where neither a demand nor the hint says that it exists.

        Args:
            version: of the root.
            demanded: version up to which roots have to exist, whatever the hint says.

        Raises:
            SlowRetrievalError: the refresh takes too long.
            TamperedMetadataError: it is no zlib stream, or larger than any metadata may be.
            BrokerUnreachableError: nobody could be asked.
        """
        hinted = self._head.director_root if self._head else 0
        if version > max(hinted, demanded):
            return None
        raw = self._read(topics.director_root(version), self._seconds)
        return None if raw is None else inflate(raw, MAX_METADATA_BYTES)

    def _read(self, topic: str, seconds: float) -> bytes | None:
        if time.monotonic() - self._begun_at > self._refresh_seconds:
            raise SlowRetrievalError(f"Metadata takes more than {self._refresh_seconds:.0f} s.")
        return self._reader.read(topic, seconds)


def _is_hinted(root_file: str, head: messages.Head) -> bool:
    number = root_file.removesuffix(_ROOT_SUFFIX)
    return number.isdecimal() and int(number) <= head.root


def inflate(data: bytes, limit: int) -> bytes:
    """Decompress a zlib stream that makes at most ``limit`` bytes.

    Raises:
        TamperedMetadataError: it is none, it is not complete, or it makes more.
    """
    if len(data) > limit:
        raise TamperedMetadataError(f"A metadata file of {len(data)} bytes exceeds {limit}.")
    decoder = zlib.decompressobj()
    try:
        content = decoder.decompress(data, limit)
    except zlib.error as error:
        raise TamperedMetadataError(f"A metadata file is no zlib stream: {error}.") from error
    if not decoder.eof:
        raise TamperedMetadataError(f"A metadata file is cut, or larger than {limit} bytes.")
    return content
