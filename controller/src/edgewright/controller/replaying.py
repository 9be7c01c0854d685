"""What a start makes of the stored windows: the monitor's evidence again, beside everything else.

A day of a fleet takes minutes to replay. No device, rollout or page waits for it: it has a thread of its own,
and the windows that come meanwhile are taken after it, in their order. It is bounded by number as well: a
detector may start at any time without breaking its promise.
"""

import logging
import threading
from collections.abc import Iterator
from typing import Final, Protocol

from edgewright.controller.database import col, select, tuple_
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import Window as WindowRow
from edgewright.wire.messages import Window, decode_up

MOST_WINDOWS: Final = 200_000
"""That are replayed, the newest: less than two minutes of one core."""

PAGE_WINDOWS: Final = 1000
"""Rows read at once."""

RETRY_S: Final = 15.0
"""After a replay that failed."""

_KEY: Final = (col(WindowRow.ts), col(WindowRow.device), col(WindowRow.stream), col(WindowRow.seq))

_log = logging.getLogger(__name__)


class Replayed(Protocol):
    """What is replayed: the monitor."""

    @property
    def is_held(self) -> bool:
        """Whether windows wait."""
        ...

    def hold(self) -> None:
        """Let windows wait."""
        ...

    def replay(self, stopping: threading.Event) -> None:
        """Make the evidence again, and then take what waits."""
        ...


class Replaying:
    """The thread; windows that are told from here on wait until it has replayed those before."""

    def __init__(self, monitor: Replayed) -> None:
        monitor.hold()
        self._monitor = monitor
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replay", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End it, finished or not."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while self._monitor.is_held and not self._stopping.is_set():
            try:
                self._monitor.replay(self._stopping)
            # The top of the thread: without a replay there would be no evidence at all.
            except Exception:  # noqa: BLE001
                _log.exception("The replay of the stored windows failed.")
                self._stopping.wait(RETRY_S)


def stored_windows(db: Database, since: float, most: int = MOST_WINDOWS) -> Iterator[list[Window]]:
    """Stored windows by time, some at once; those that tell of the past of their device are left out.

    No transaction outlives a page, so the database's log does not grow meanwhile, and what is stored during
    the reading is read as well.
    """
    evidence = (col(WindowRow.ts) >= since, col(WindowRow.is_past).is_(False))
    with db.reading() as session:
        newest = select(WindowRow).where(*evidence).order_by(*(column.desc() for column in _KEY))
        first = session.exec(newest.offset(most - 1).limit(1)).first()
    after = tuple_(*_KEY) >= _key_of(first) if first is not None else col(WindowRow.ts) >= since
    while True:
        page = select(WindowRow).where(*evidence, after).order_by(*_KEY).limit(PAGE_WINDOWS)
        with db.reading() as session:
            rows = session.exec(page).all()
        messages = [decode_up(row.payload) for row in rows]
        yield [message for message in messages if isinstance(message, Window)]
        if len(rows) < PAGE_WINDOWS:
            return
        after = tuple_(*_KEY) > _key_of(rows[-1])


def _key_of(row: WindowRow) -> tuple[float, str, str, int]:
    return row.ts, row.device, row.stream, row.seq
