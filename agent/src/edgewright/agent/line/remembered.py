"""Decisions that a truth may still come for: the last ones in memory, the older ones on the disk.

A truth finds its decision by the item's id, once: the first one counts, every other one is a repeated one,
also after a restart of the line. It finds only those of the model that runs: versions of two models have the
same numbers, and a window is one model's. Rules of the files:

- Nothing is written before the first truth was ever told: most lines hear none.
- Written is once a window, appended, and not synchronised: a line at ten items a second writes 350 bytes a
  second. A power cut loses what the system had not written, half a minute or so; those truths are unknown
  then.
- That an item's truth has come is written after the window that counts it was handed over. A line that is
  killed before has counted nothing, and a truth that is told again counts.
- There are two files of half the room each. When one is full, the older one goes; so does a file's end that
  was torn.

A model's item is known by 64 bits of BLAKE2b: of a million items two are taken for one with a chance of 3e-8.
"""

import logging
import os
from hashlib import blake2b
from pathlib import Path
from typing import Final, Literal

import msgspec
import numpy as np

from edgewright.agent.line.recent import Decided, RecentDecisions

FILE_NAMES: Final = ("decided-0.log", "decided-1.log")
SEALED_ITEMS: Final = 4096
_TAKEN: Final = 2**32 - 1
_HASH_BYTES: Final = 8
_MAX_RECORD_BYTES: Final = 255
_MAGIC: Final = b"EWD1"
_GENERATION_BYTES: Final = 4
_HEADER_BYTES: Final = len(_MAGIC) + _GENERATION_BYTES
_MAX_TEXT_CHARACTERS: Final = 64

Missing = Literal["unknown", "repeated"]

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[int, str, str, bool, float])
_log = logging.getLogger(__name__)


class _Block:
    """Places of items in a file, by hash: many in little memory, found by bisection."""

    def __init__(self, places: dict[int, int]) -> None:
        hashes = np.fromiter(places.keys(), np.uint64, len(places))
        order = np.argsort(hashes)
        self._hashes = hashes[order]
        self._places = np.fromiter(places.values(), np.uint32, len(places))[order]

    def find(self, key: int) -> int | None:
        """The item's place, ``_TAKEN`` once its truth has come."""
        at = int(np.searchsorted(self._hashes, np.uint64(key)))
        found = at < len(self._hashes) and int(self._hashes[at]) == key
        return int(self._places[at]) if found else None

    def take(self, key: int) -> None:
        """Its truth has come."""
        self._places[np.searchsorted(self._hashes, np.uint64(key))] = _TAKEN


class _Segment:
    """One file.

    It begins with its generation, by which the newer one is known whatever the clock does. A record is its
    length in a byte, eight bytes of hash, and of a decision what is kept of it.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.generation = path, 0
        self._blocks: list[_Block] = []
        self._open: dict[int, int] = {}
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self.size = 0

    def begin(self, generation: int) -> None:
        """Forget what the file holds.

        Raises:
            OSError: the disk does not take it.
        """
        os.ftruncate(self._file, 0)
        os.write(self._file, _MAGIC + generation.to_bytes(_GENERATION_BYTES))
        self.generation, self.size = generation, _HEADER_BYTES

    def load(self) -> set[int]:
        """Read what the file holds; what is torn at its end is cut off.

        Returns:
            Items whose truth came while this file was written and that stand in the one before.

        Raises:
            OSError: the file cannot be read.
        """
        data = os.pread(self._file, os.fstat(self._file).st_size, 0)
        if len(data) < _HEADER_BYTES or not data.startswith(_MAGIC):
            self.begin(0)
            return set()
        self.generation, self.size = int.from_bytes(data[len(_MAGIC) : _HEADER_BYTES]), _HEADER_BYTES
        elsewhere: set[int] = set()
        while self.size < len(data):
            length = data[self.size]
            record = data[self.size + 1 : self.size + 1 + length]
            if length < _HASH_BYTES or len(record) < length:
                break
            key = int.from_bytes(record[:_HASH_BYTES])
            if not self._note(key, self.size, taken=length == _HASH_BYTES):
                elsewhere.add(key)
            self.size += 1 + length
        if self.size < len(data):
            os.ftruncate(self._file, self.size)
        return elsewhere

    def find(self, key: int) -> Decided | Missing:
        """What is kept of an item."""
        place = self._place(key)
        if place is None:
            return "unknown"
        return "repeated" if place == _TAKEN else self._read(key, place)

    def take(self, key: int) -> bool:
        """Its truth has come; whether it stands here."""
        if key in self._open:
            self._open[key] = _TAKEN
            return True
        for block in reversed(self._blocks):
            if block.find(key) is not None:
                block.take(key)
                return True
        return False

    def append(self, records: list[tuple[int, bytes]]) -> None:
        """Write decisions, and with an empty rest that truths have come.

        Raises:
            OSError: the disk does not take it.
        """
        data = b"".join(
            bytes([_HASH_BYTES + len(rest)]) + key.to_bytes(_HASH_BYTES) + rest for key, rest in records
        )
        if os.write(self._file, data) < len(data):
            os.ftruncate(self._file, self.size)
            raise OSError("the disk is full")
        for key, rest in records:
            self._note(key, self.size, taken=not rest)
            self.size += 1 + _HASH_BYTES + len(rest)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _note(self, key: int, place: int, *, taken: bool) -> bool:
        """Index a record; False for the truth of an item that does not stand here."""
        if taken:
            return self.take(key)
        self._open[key] = place
        if len(self._open) >= SEALED_ITEMS:
            self._blocks.append(_Block(self._open))
            self._open = {}
        return True

    def _place(self, key: int) -> int | None:
        if key in self._open:
            return self._open[key]
        found = (block.find(key) for block in reversed(self._blocks))
        return next((place for place in found if place is not None), None)

    def _read(self, key: int, place: int) -> Decided | Missing:
        record = os.pread(self._file, 1 + _MAX_RECORD_BYTES, place)
        if record[1 : 1 + _HASH_BYTES] != key.to_bytes(_HASH_BYTES):
            return "unknown"  # Another line writes here too, or the disk has changed it.
        try:
            return Decided(*_decoder.decode(record[1 + _HASH_BYTES : 1 + record[0]]))
        except (msgspec.DecodeError, UnicodeDecodeError, IndexError):
            return "unknown"


class Remembered:
    """Decisions by item.

    Args:
        folder: of the files; None keeps none.
        room_bytes: what they may take; 0 keeps none.

    Attributes:
        repeated: truths of items whose truth had come before.
    """

    def __init__(self, folder: Path | None = None, room_bytes: int = 0) -> None:
        self._young = RecentDecisions()
        self._folder = folder if room_bytes else None
        self._half = room_bytes // 2
        self._model = ""
        self._segments: list[_Segment] = []
        self._unwritten: dict[str, Decided] = {}
        self._taken: list[int] = []
        self._told: dict[str, None] = {}
        self.repeated = 0
        if self._folder is not None and any((self._folder / name).exists() for name in FILE_NAMES):
            self._begin()

    def of(self, model: str) -> None:
        """From now on decisions are this model's; those of another one are kept in the files only."""
        if model == self._model:
            return
        self.flush()
        self._model = model
        self._young = RecentDecisions()
        self._told.clear()

    def remember(self, item: str, decided: Decided) -> None:
        """Keep a decision; one on the same item gives way."""
        self._young.remember(item, decided)
        if self._told:
            self._told.pop(item, None)
        if self._segments:
            self._unwritten[item] = decided

    def take(self, item: str) -> Decided | Missing:
        """The decision on an item whose truth has come; why there is none."""
        if self._folder is not None and not self._segments:
            self._begin()
        found: Decided | Missing | None = self._young.take(item)
        if found is None:
            found = "repeated" if item in self._told else self._find(item)
        if isinstance(found, str):
            self.repeated += found == "repeated"
            return found
        self._told[item] = None
        if len(self._told) > SEALED_ITEMS:
            del self._told[next(iter(self._told))]
        if self._segments:
            key = self._key(item)
            self._taken.append(key)
            for segment in self._segments:
                segment.take(key)
        return found

    def flush(self) -> None:
        """Write what has come since; to be called after the window that counts it was handed over."""
        if not self._segments or not (self._unwritten or self._taken):
            return
        records = [(self._key(item), _rest(decided)) for item, decided in self._unwritten.items()]
        records += [(key, b"") for key in self._taken]
        self._unwritten, self._taken = {}, []
        try:
            self._rotate()
            self._segments[-1].append(records)
        except OSError as error:
            _log.warning("decisions cannot be remembered on the disk: %s", error.strerror or error)

    def close(self) -> None:
        """Write what is left."""
        self.flush()
        for segment in self._segments:
            segment.close()
        self._segments, self._folder = [], None

    def _key(self, item: str) -> int:
        name = f"{self._model}\0{item}".encode(errors="replace")
        return int.from_bytes(blake2b(name, digest_size=_HASH_BYTES).digest())

    def _find(self, item: str) -> Decided | Missing:
        if not self._segments:
            return "unknown"
        key = self._key(item)
        for segment in reversed(self._segments):
            if (found := segment.find(key)) != "unknown":
                return found
        return "unknown"

    def _begin(self) -> None:
        """Read the files, the older one first."""
        assert self._folder is not None
        paths = [self._folder / name for name in FILE_NAMES]
        try:
            found = [_Segment(path) for path in paths if path.exists()] or [_Segment(paths[0])]
            came = [(segment, segment.load()) for segment in found]
        except OSError as error:
            _log.warning("decisions cannot be remembered on the disk: %s", error.strerror or error)
            self._folder = None
            return
        came.sort(key=lambda one: one[0].generation)
        self._segments = [segment for segment, _ in came]
        for key in came[-1][1]:
            self._segments[0].take(key)

    def _rotate(self) -> None:
        """Go on with the other file where this one is full; what that held is forgotten."""
        if self._segments[-1].size < self._half:
            return
        full = self._segments[-1]
        for segment in self._segments[:-1]:
            segment.close()
        self._segments = [full]
        new = _Segment(full.path.with_name(FILE_NAMES[FILE_NAMES[0] == full.path.name]))
        new.begin(full.generation + 1)
        self._segments.append(new)


def _rest(decided: Decided) -> bytes:
    texts = decided.label[:_MAX_TEXT_CHARACTERS], decided.tag[:_MAX_TEXT_CHARACTERS]
    kept = _encoder.encode((decided.version, *texts, decided.grace, round(decided.confidence, 4)))
    if len(kept) > _MAX_RECORD_BYTES - _HASH_BYTES:  # Of texts in four bytes a character.
        kept = _encoder.encode((decided.version, texts[0][:16], texts[1][:16], decided.grace, 0.0))
    return kept
