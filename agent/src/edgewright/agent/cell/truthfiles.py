"""Truths in CSV files that somebody puts into a folder.

Example::

    item,truth,source,probability
    0042.png,Bag,scanner-2,
    0043.png,Boot,weighing,0.1

Rules:

- A file of suffix ``.csv`` is taken when two looks a second apart found it the same, so one that is still
  being written is left alone; better rename it into the folder. It is UTF-8, with or without a mark, divided
  by commas, semicolons or tabs; the first line names the columns, in any order, and columns of other names
  are passed over. A value with the divider in it stands in double quotes; no value has a line's end in it.
- A line that is no truth is told by its number, and the others count. A file without a usable first line, or
  of more than 8 MiB, is told and left out.
- A file that was taken whole is remembered by name, size and time of change, so a restart does not take it
  again; it stays where it is. One that was being taken when the cell ended is taken from its beginning: an
  item counts once, whoever tells it again. A file that has changed is a new one.
"""

import csv
import logging
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from edgewright.agent.cell.truths import Truths, outcome_of
from edgewright.agent.privatefiles import write_private
from edgewright.wire.cell import Outcome
from edgewright.wire.errors import MalformedTruthError

LOOK_S: Final = 1.0
MAX_FILE_BYTES: Final = 8 * 1024 * 1024
MAX_LINE_BYTES: Final = 4096
MAX_FILES: Final = 10_000
"""That are remembered; a folder with more is to be tidied up."""

LINES_A_TURN: Final = 200
"""What is read between two pictures: some milliseconds."""

NAMED_LINES: Final = 5
MEMORY_FILE: Final = "labels-done.json"

Mark = tuple[int, int]
"""A file's size and its time of change, ns."""

_COLUMNS: Final = ("item", "truth", "source", "probability")
_log = logging.getLogger(__name__)


class Header(NamedTuple):
    """What the first line says: the divider, and the place of each column that counts."""

    divider: str
    places: dict[str, int]


def header_of(line: bytes) -> Header:
    """Read a first line.

    >>> header_of(b"Truth;ITEM;note").places
    {'truth': 0, 'item': 1}

    Raises:
        MalformedTruthError: it does not name ``item`` and ``truth``, or names a column twice.
    """
    text = line.decode("utf-8-sig", "replace").strip()
    divider = max(",;\t", key=text.count)
    names = [name.strip().lower() for name in _fields(text, divider)]
    places = {name: place for place, name in enumerate(names) if name in _COLUMNS}
    if len(places) < len([name for name in names if name in _COLUMNS]):
        raise MalformedTruthError("Its first line names a column twice.")
    if not {"item", "truth"} <= places.keys():
        raise MalformedTruthError("Its first line does not name the columns item and truth.")
    return Header(divider, places)


def outcome_in(line: bytes, header: Header) -> Outcome | None:
    """The truth in a line; None for an empty line.

    Raises:
        MalformedTruthError: it is none.
    """
    if len(line) > MAX_LINE_BYTES:
        raise MalformedTruthError(f"It is longer than {MAX_LINE_BYTES} bytes.")
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise MalformedTruthError("It is no UTF-8.") from error
    if not text.strip():
        return None
    fields = _fields(text.rstrip("\r\n"), header.divider)
    if len(fields) <= max(header.places["item"], header.places["truth"]):
        raise MalformedTruthError("It has too few values.")
    told = {name: fields[place].strip() for name, place in header.places.items() if place < len(fields)}
    return outcome_of(told)


def _fields(text: str, divider: str) -> list[str]:
    try:
        return next(csv.reader([text], delimiter=divider, strict=True), [])
    except csv.Error as error:
        raise MalformedTruthError("Its quotes do not fit.") from error


class _Open:
    """A file that is being taken."""

    def __init__(self, path: Path, mark: Mark) -> None:
        self.path, self.mark = path, mark
        self.lines = iter(path.read_bytes().splitlines())
        self.header = header_of(next(self.lines, b""))
        self.number = 1
        self.right = 0
        self.wrong: list[tuple[int, str]] = []
        self.wrong_lines = 0

    def read(self, most: int) -> Iterator[Outcome]:
        """The next truths."""
        for _ in range(most):
            line = next(self.lines, None)
            if line is None:
                return
            self.number += 1
            try:
                outcome = outcome_in(line, self.header)
            except MalformedTruthError as error:
                self.wrong_lines += 1
                if len(self.wrong) < NAMED_LINES:
                    self.wrong.append((self.number, error.sentence))
                continue
            if outcome is not None:
                self.right += 1
                yield outcome

    def said(self) -> str:
        """What was wrong with it."""
        named = " ".join(f"Line {number}: {why}" for number, why in self.wrong)
        more = (
            f" And {self.wrong_lines - len(self.wrong)} more." if self.wrong_lines > len(self.wrong) else ""
        )
        return f"{self.wrong_lines} lines are no truths, {self.right} are. {named}{more}"


class TruthFolder:
    """Looks into the folder and passes truths on; used by the cell's loop.

    Args:
        folder: where files are put.
        memory: file that remembers which ones are done.
        truths: takes what they say.
    """

    def __init__(self, folder: Path, memory: Path, truths: Truths) -> None:
        self._folder, self._memory, self._truths = folder, memory, truths
        self._done = _remembered(memory)
        self._seen: dict[str, Mark] = {}
        self._ready: deque[tuple[str, Mark]] = deque()
        self._open: _Open | None = None
        self._look_at = 0.0

    def turn(self, now: float) -> None:
        """Go on with the file that is being taken, or look for one."""
        if self._open is None and not self._ready and now >= self._look_at:
            self._look_at = now + LOOK_S
            self._look()
        if self._open is None and self._ready:
            self._begin(*self._ready.popleft())
        if self._open is not None and self._truths.room >= LINES_A_TURN:
            self._go_on(self._open)

    def _look(self) -> None:
        there: dict[str, Mark] = {}
        try:
            for path in self._folder.iterdir():
                if path.suffix.lower() == ".csv" and path.is_file() and len(there) < MAX_FILES:
                    found = path.stat()
                    there[path.name] = (found.st_size, found.st_mtime_ns)
        except OSError as error:
            self._truths.complain(f"folder {self._folder}", 0, f"It cannot be read: {error.strerror}.")
            return
        self._done = {name: mark for name, mark in self._done.items() if name in there}
        new = {name: mark for name, mark in there.items() if self._done.get(name) != mark}
        self._ready.extend(sorted((name, mark) for name, mark in new.items() if self._seen.get(name) == mark))
        self._seen = there

    def _begin(self, name: str, mark: Mark) -> None:
        path = self._folder / name
        try:
            if mark[0] > MAX_FILE_BYTES:
                raise MalformedTruthError(f"It is larger than {MAX_FILE_BYTES} bytes.")
            self._open = _Open(path, mark)
        except FileNotFoundError:
            return
        except (MalformedTruthError, OSError) as error:
            why = error.sentence if isinstance(error, MalformedTruthError) else f"{error.strerror}."
            self._truths.complain(f"file {_shown(path)}", 1, f"It is left out. {why}")
            self._remember(name, mark)

    def _go_on(self, file: _Open) -> None:
        before = file.number
        self._truths.keep(list(file.read(LINES_A_TURN)))
        if file.number - before < LINES_A_TURN:
            self._open = None
            _log.info("%d truths of %s were taken", file.right, _shown(file.path))
            if file.wrong_lines:
                self._truths.complain(f"file {_shown(file.path)}", file.wrong_lines, file.said())
            self._remember(file.path.name, file.mark)

    def _remember(self, name: str, mark: Mark) -> None:
        self._done[name] = mark
        shown = {_shown(Path(known)): known_mark for known, known_mark in self._done.items()}
        try:
            write_private(self._memory, msgspec.json.encode(shown))
        except OSError as error:
            _log.warning("it cannot be remembered which files are done: %s", error.strerror)


def _shown(path: Path) -> str:
    """A file's name as text; what is no UTF-8 in it is escaped."""
    return str(path.name).encode("utf-8", "surrogateescape").decode(errors="backslashreplace")


def _remembered(memory: Path) -> dict[str, Mark]:
    """What is done; a file that cannot be read remembers nothing, and an item counts once all the same."""
    try:
        return msgspec.json.decode(memory.read_bytes(), type=dict[str, Mark])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}
