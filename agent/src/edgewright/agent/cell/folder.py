"""A folder of pictures: sorted by name, each decided once, new ones picked up.

Done files stay where they are: the folder may be read-only, and it belongs to whoever writes it. What is done
is remembered in a file of the agent's own, one line a picture (name, size, time of change), written but not
synced, so that no flash wears out; after a power cut some pictures may be decided again. Names that have left
the folder are forgotten, and the file is written anew when most of it is of those. A file that has changed is
a new picture.

A file is read once two looks have found it the same, so one that is still being written is left alone. One
that cannot be read or decoded is tried again until it has not changed for 2 s, because its writer may have
paused; then it is decided without pixels, so that no file holds up those behind it.

A picture's item is the file's name and the time of its change, ns: what ``latest.png`` shows on Tuesday is
not Monday's item. Who tells a truth may give the name only, which means what was read last under it.
"""

import contextlib
import json
import os
import re
import time
from collections import deque
from pathlib import Path
from typing import Final

from edgewright.agent.cell.opencv import decode_picture
from edgewright.agent.cell.source import Picture, Source
from edgewright.agent.settings import SourceSettings
from edgewright.wire.errors import SourceLostError

SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp"})
LOOK_SECONDS: Final = 0.25
"""Between two looks into the folder, and at least four times what a look takes."""

SPARE_LINES: Final = 1000
"""Forgotten ones that the memory may hold beside as many as are remembered."""

DAMAGED_SECONDS: Final = 2.0
"""A file that cannot be decoded and has not changed for so long is damaged."""

MAX_FILE_BYTES: Final = 64 * 1024 * 1024
"""A larger file is no picture that a line can take; it is not read into memory."""

MAX_NAMES: Final = 10_000
"""Files whose last item is known by their name."""

MAX_NAME_CHARACTERS: Final = 200
"""Of a name in an item; a file's may have 255 bytes."""

_ITEM: Final = re.compile(r"@\d+(#\d+)?$")
"""What an item has beyond the file's name."""

Mark = tuple[int, int]
"""A file's size and its time of change, ns."""


class PictureFolder(Source):
    """See the module.

    Args:
        settings: of the source.
        memory: file that remembers what is done.
    """

    live = False

    def __init__(self, settings: SourceSettings, memory: Path) -> None:
        self._settings, self._memory = settings, memory
        self._folder = Path(settings.place)
        self.place = settings.place
        self._done: dict[str, Mark] = {}
        self._seen: dict[str, tuple[Mark, float]] = {}
        self._waiting: deque[tuple[str, Mark]] = deque()
        self._items: dict[str, str] = {}
        self._run = 1
        self._lines = 0
        self._look_at = self._due_at = 0.0
        rate = settings.frames_per_second
        self._pace_s = 1 / rate if rate else 0.0

    def open(self) -> None:
        """Look into the folder, and read what was done before."""
        there = self._look()
        if not self._settings.repeat:
            self._done = {name: mark for name, mark in _remembered(self._memory).items() if name in there}
            self._write_anew()
            for name, mark in self._done.items():
                self._name_item(name, mark)

    def item_of(self, told: str) -> str:
        """A name's last item."""
        return self._items.get(told, told)

    def name_of(self, item: str) -> str:
        """The file's name."""
        return _ITEM.sub("", item)

    def names_nothing_yet(self, told: str) -> bool:
        """Whether it is a name that was not read; who tells a whole item means that one."""
        return told not in self._items and not _ITEM.search(told)

    def read(self, timeout_s: float) -> Picture | None:
        """The next file that is complete and not done."""
        until = time.monotonic() + timeout_s
        while not self._waiting:
            now = time.monotonic()
            if now >= self._look_at:
                self._take_in()
                self._look_at = time.monotonic() + max(LOOK_SECONDS, 4 * (time.monotonic() - now))
            elif now >= until:
                return None
            else:
                time.sleep(max(0.0, min(self._look_at, until) - now))
        if (wait := self._due_at - time.monotonic()) > timeout_s:
            time.sleep(timeout_s)
            return None
        time.sleep(max(0.0, wait))
        self._due_at = time.monotonic() + self._pace_s
        return self._load(*self._waiting.popleft())

    def close(self) -> None:
        """Forget what waits; what is done stays remembered."""
        self._waiting.clear()
        self._seen.clear()

    def _take_in(self) -> None:
        there, now = self._look(), time.monotonic()
        before, self._seen = self._seen, {}
        ready = []
        for name, mark in sorted(there.items()):
            seen = before.get(name)
            self._seen[name] = seen if seen and seen[0] == mark else (mark, now)
            if seen and seen[0] == mark:
                ready.append((name, mark))
        self._done = {name: mark for name, mark in self._done.items() if name in there}
        new = [(name, mark) for name, mark in ready if self._done.get(name) != mark]
        if not new and ready and self._settings.repeat:
            self._run += 1
            self._done.clear()
            new = ready
        self._waiting.extend(new)

    def _look(self) -> dict[str, Mark]:
        try:
            found = {}
            for path in self._folder.iterdir():
                if path.suffix.lower() in SUFFIXES and path.is_file():
                    stat = path.stat()
                    found[path.name] = (stat.st_size, stat.st_mtime_ns)
        except FileNotFoundError as error:
            if self._folder.is_dir():  # A file went between two calls; the next look sees it.
                return {}
            raise SourceLostError(f"The folder {self.place} is not there.") from error
        except OSError as error:
            raise SourceLostError(f"The folder {self.place} cannot be read: {error.strerror}.") from error
        return found

    def _load(self, name: str, mark: Mark) -> Picture | None:
        wrong = "is no picture or damaged"
        try:
            data = (self._folder / name).read_bytes() if mark[0] <= MAX_FILE_BYTES else b""
        except FileNotFoundError:
            return None
        except OSError as error:
            data, wrong = b"", f"cannot be read: {error.strerror}"
        pixels = decode_picture(data)
        if pixels is None and time.monotonic() - self._seen[name][1] < DAMAGED_SECONDS:
            return None
        self._remember(name, mark)
        detail = "" if pixels is not None else f"The file {_shown(name)} in {self.place} {wrong}."
        return Picture(self._name_item(name, mark), time.time(), pixels, detail)

    def _name_item(self, name: str, mark: Mark) -> str:
        """The item of a file as it is now, which is known by its name from here on."""
        shown = _shown(name)
        item = f"{shown[:MAX_NAME_CHARACTERS]}@{mark[1]}"
        if self._run > 1:
            item += f"#{self._run}"
        self._items.pop(shown, None)
        self._items[shown] = item
        if len(self._items) > MAX_NAMES:
            del self._items[next(iter(self._items))]
        return item

    def _remember(self, name: str, mark: Mark) -> None:
        self._done[name] = mark
        if not self._settings.repeat:
            # On a full disk the pictures go on; after a restart these are decided again.
            with contextlib.suppress(OSError), self._memory.open("a", encoding="utf-8") as file:
                file.write(_line((name, mark)))
            self._lines += 1
            if self._lines > 2 * len(self._done) + SPARE_LINES:
                self._write_anew()

    def _write_anew(self) -> None:
        """Leave what is forgotten out of the memory."""
        self._lines = len(self._done)
        beside = self._memory.with_name(f"{self._memory.name}.new")
        with contextlib.suppress(OSError):  # A full disk costs no more than a longer file.
            beside.write_text("".join(map(_line, self._done.items())), encoding="utf-8")
            beside.replace(self._memory)


def _shown(name: str) -> str:
    r"""A file's name as text; what is no UTF-8 in it is escaped.

    >>> _shown(os.fsdecode(b"caf\xe9.png"))
    'caf\\xe9.png'
    """
    return os.fsencode(name).decode(errors="backslashreplace")


def _line(entry: tuple[str, Mark]) -> str:
    name, (size, changed) = entry
    return json.dumps([name, size, changed]) + "\n"


def _remembered(memory: Path) -> dict[str, Mark]:
    """What the file holds; a line that was torn is left out."""
    done: dict[str, Mark] = {}
    try:
        lines = memory.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return done
    for line in lines:
        try:
            name, size, changed = json.loads(line)
            done[str(name)] = (int(size), int(changed))
        except (ValueError, TypeError):
            continue
    return done
