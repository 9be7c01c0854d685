"""Files of labels: comma-separated, in UTF-8, with a header. Nothing in them is believed before it is read.

A header names the columns, in any order: ``device``, ``item``, ``truth`` and, where it is known, the
``probability`` with which the item was chosen; other columns are passed over. Semicolons and tabs separate as
well. What cannot be read for sure refuses the whole file, with the line: another encoding (guessing it would
make classes out of umlauts), null bytes, a quote that never ends, a column that stands there twice, a line
or a file beyond its bound. A row that can be read and says nothing useful is refused alone.

Files that go out are opened in spreadsheets, so a cell that a spreadsheet would take for a formula gets an
apostrophe in front.
"""

import csv
from collections.abc import Iterable, Iterator
from functools import partial
from typing import BinaryIO, Final, NamedTuple

from edgewright.controller.errors import InvalidRequestError
from edgewright.controller.labels import Told

BYTES_AT_MOST: Final = 128 << 20
LINES_AT_MOST: Final = 1_000_000
LINE_BYTES_AT_MOST: Final = 8192

NEEDED: Final = ("device", "item", "truth")
CHANCE: Final = "probability"
SEPARATORS: Final = ",;\t"
FORMULA: Final = tuple("=+-@\t\r")
"""What a spreadsheet takes for the beginning of a formula."""


class Row(NamedTuple):
    """One row of a file: its line's number, and the label or why there is none."""

    line: int
    told: Told | None
    why: str = ""


def read_labels(file: BinaryIO) -> Iterator[Row]:
    """The rows of a file, read as they are asked for.

    Raises:
        InvalidRequestError: the file cannot be read, with the line.
    """
    lines = _lines(file)
    header = next(lines, "")
    separator = _separator(header)
    names = [name.strip().lower() for name in next(csv.reader([header], delimiter=separator), [])]
    places = _places(names)
    rows = csv.reader(lines, delimiter=separator, strict=True)
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise InvalidRequestError(f"Line {rows.line_num + 1} cannot be read: {error}.") from error
        if row is None:
            return
        if row:
            yield _read(rows.line_num + 1, row, len(names), places)


def _lines(file: BinaryIO) -> Iterator[str]:
    for number, raw in enumerate(iter(partial(file.readline, LINE_BYTES_AT_MOST + 1), b""), 1):
        if len(raw) > LINE_BYTES_AT_MOST:
            raise InvalidRequestError(f"Line {number} has more than {LINE_BYTES_AT_MOST} bytes.")
        if number > LINES_AT_MOST:
            raise InvalidRequestError(f"A file has {LINES_AT_MOST} lines at most; split it.")
        try:
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            raise InvalidRequestError(f"Line {number} is no text in UTF-8; save the file as CSV in UTF-8.")
        yield text


def _separator(header: str) -> str:
    """The separator that cuts most columns out of a header.

    >>> _separator("device;item;truth")
    ';'
    """
    return max(SEPARATORS, key=header.count)


def _places(names: list[str]) -> dict[str, int]:
    """Where the columns stand.

    Raises:
        InvalidRequestError: one is missing, or stands there twice.
    """
    for name in (*NEEDED, CHANCE):
        if names.count(name) > 1:
            raise InvalidRequestError(f"The header names the column {name!r} twice.")
    missing = [name for name in NEEDED if name not in names]
    if missing:
        raise InvalidRequestError(f"The header has no column {missing[0]!r}; it needs {', '.join(NEEDED)}.")
    return {name: names.index(name) for name in (*NEEDED, CHANCE) if name in names}


def _read(line: int, row: list[str], columns: int, places: dict[str, int]) -> Row:
    if len(row) != columns:
        return Row(line, None, f"It has {len(row)} columns, the header {columns}.")
    device, item, truth = (row[places[name]].strip() for name in NEEDED)
    chance = row[places[CHANCE]].strip() if CHANCE in places else ""
    try:
        probability = float(chance.replace(",", ".")) if chance else 1.0
    except ValueError:
        return Row(line, None, f"{chance[:40]!r} is no probability.")
    return Row(line, Told(device, item, truth, probability))


def write_labels(rows: Iterable[Iterable[str | float]]) -> Iterator[bytes]:
    """The bytes of a file, a line at a time; the first row is the header."""
    for row in rows:
        cells = (safe_cell(cell) if isinstance(cell, str) else f"{cell:.6g}" for cell in row)
        yield (",".join(_quoted(cell) for cell in cells) + "\r\n").encode()


def safe_cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula.

    >>> safe_cell("=1+1"), safe_cell("Bag")
    ("'=1+1", 'Bag')
    """
    return f"'{text}" if text.startswith(FORMULA) else text


def _quoted(cell: str) -> str:
    doubled = cell.replace('"', '""')
    return f'"{doubled}"' if any(character in cell for character in ',;"\r\n\t') else cell
