"""The sinks: a topic of the cell's broker, a file of JSON lines, a Python function."""

import contextlib
import importlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edgewright.agent.cell.sink import DecisionRecord, Sink, as_json
from edgewright.agent.link import Link
from edgewright.wire.errors import SinkError

ACKNOWLEDGED_S: Final = 5.0
"""How long the broker may take to acknowledge one decision."""

SYNC_S: Final = 1.0
"""A file's lines are on disk after so long: what a power cut may take."""

_MIB: Final = 1024 * 1024


class TopicSink(Sink):
    """Publishes each decision at QoS 1 and waits for the broker's acknowledgement.

    A decision whose acknowledgement is lost is published again, so a subscriber may hear an item twice.
    """

    tries_again = True

    def __init__(self, topic: str, link: Link) -> None:
        self._topic, self._link = topic, link
        self.place = f"topic {topic}"

    def deliver(self, record: DecisionRecord) -> None:
        """Publish."""
        if not self._link.deliver(self._topic, as_json(record), ACKNOWLEDGED_S):
            raise SinkError("the cell's broker does not take them.")


class FileSink(Sink):
    """Appends JSON lines; at its size the file is renamed to ``.1``, older ones move on, the oldest goes.

    Each line is handed to the kernel at once and is on disk within ``SYNC_S``. A line that could not be
    written whole is cut off again; one that a power cut has torn is ended before the next line.
    """

    tries_again = True

    def __init__(self, path: Path, file_mb: float, files: int) -> None:
        self._path, self._most, self._files = path, int(file_mb * _MIB), files
        self.place = f"file {path}"
        self._file: int | None = None
        self._size = 0
        self._unsynced = False
        self._synced_at = 0.0

    def deliver(self, record: DecisionRecord) -> None:
        """Append one line."""
        line = as_json(record) + b"\n"
        try:
            if self._file is not None and self._size and self._size + len(line) > self._most:
                self._rotate()
            if self._file is None:
                self._open()
            self._append(line)
            if time.monotonic() - self._synced_at >= SYNC_S:
                self._sync()
        except OSError as error:
            self.close()
            raise SinkError(f"{error.strerror or error}.") from error

    def pause(self) -> None:
        """Bring the last lines to disk."""
        try:
            self._sync()
        except OSError as error:
            self.close()
            raise SinkError(f"{error.strerror or error}.") from error

    def close(self) -> None:
        """Sync and close; the next decision opens it again."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._sync()
            os.close(self._file)
            self._file = None

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._size = os.fstat(self._file).st_size
        if self._size and os.pread(self._file, 1, self._size - 1) != b"\n":
            self._append(b"\n")

    def _append(self, line: bytes) -> None:
        assert self._file is not None
        try:
            written = os.write(self._file, line)
            if written < len(line):
                os.write(self._file, line[written:])
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise
        self._size += len(line)
        self._unsynced = True

    def _sync(self) -> None:
        if self._file is not None and self._unsynced:
            os.fdatasync(self._file)
            self._unsynced = False
        self._synced_at = time.monotonic()

    def _rotate(self) -> None:
        self.close()
        older = [self._path.with_name(f"{self._path.name}.{number}") for number in range(1, self._files)]
        if not older:
            self._path.unlink()
            return
        for to, path in zip(reversed(older), [*reversed(older[:-1]), self._path], strict=True):
            with contextlib.suppress(FileNotFoundError):
                path.replace(to)


class CallbackSink(Sink):
    """Calls a function of the site's own with each decision, on a thread that may wait.

    Whatever the function raises is named and counted, and the next decision is passed on.
    """

    tries_again = False

    def __init__(self, name: str) -> None:
        self._name = name
        self.place = f"callback {name}"
        self._function: Callable[[DecisionRecord], object] | None = None

    def deliver(self, record: DecisionRecord) -> None:
        """Call it; it is imported at the first decision, and again while that fails."""
        try:
            if self._function is None:
                module, _, function = self._name.partition(":")
                self._function = getattr(importlib.import_module(module), function)
            self._function(record)
        except BaseException as error:
            # The site's own code: whatever it raises, also to end a task or a process, must not end the
            # thread that calls it.
            raise SinkError(f"{type(error).__name__}: {error!s:.200}.") from error
