"""Pictures from a topic of the cell's broker: each payload is a JPEG, PNG or BMP.

The link refuses packets above its limit of 2 MiB before it takes memory for them. Only the newest payload is
kept; it is decoded by whoever reads, not by the network thread.
"""

import itertools
import threading
import time

from edgewright.agent.cell.opencv import decode_picture
from edgewright.agent.cell.source import Picture, Source
from edgewright.agent.link import Link
from edgewright.agent.settings import SourceSettings
from edgewright.wire.errors import SourceLostError


class PictureTopic(Source):
    """See the module; the link is started and stopped by its owner."""

    live = True

    def __init__(self, settings: SourceSettings, link: Link) -> None:
        self._topic, self._link = settings.place, link
        self.place = f"topic {settings.place}"
        rate = settings.frames_per_second
        self.interval_s = 1 / rate if rate else None
        self._newest: tuple[bytes, float] | None = None
        self._came = threading.Condition()
        self._start_ms = time.time_ns() // 1_000_000
        self._numbers = itertools.count(1)
        self._subscribed = False

    def open(self) -> None:
        """Subscribe, once."""
        if not self._subscribed:
            self._subscribed = True
            self._link.subscribe(self._topic, self._take, 0)

    def read(self, timeout_s: float) -> Picture | None:
        """The newest payload."""
        with self._came:
            if not self._came.wait_for(lambda: self._newest is not None, timeout_s):
                if not self._link.connected:
                    raise SourceLostError(f"The cell's broker, and so {self.place}, cannot be reached.")
                return None
            assert self._newest is not None
            (payload, taken_at), self._newest = self._newest, None
        pixels = decode_picture(payload)
        detail = "" if pixels is not None else f"A payload of {self.place} is no picture or damaged."
        return Picture(f"{self._start_ms}-{next(self._numbers)}", taken_at, pixels, detail)

    def close(self) -> None:
        """Unsubscribe."""
        if self._subscribed:
            self._subscribed = False
            self._link.unsubscribe(self._topic, self._take)

    def _take(self, payload: bytes) -> None:
        """Called on the network thread."""
        with self._came:
            self.skipped += self._newest is not None
            self._newest = (payload, time.time())
            self._came.notify()
