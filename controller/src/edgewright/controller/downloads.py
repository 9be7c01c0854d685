"""How many devices download over the HTTPS door at a time: pure bookkeeping, no clock of its own.

The door takes a bounded number of connections, and a smaller one from each address (``guests``). Devices that
download must leave room there for those that enrol or renew, also behind one address of a whole site. A
connection that has downloaded stays open for its next request, so it is not requests that are counted but
devices: one holds its place from its first request until ``LINGER_S`` after its last, with at most
``OF_A_DEVICE`` requests at once. So downloads take at most ``PLACES * OF_A_DEVICE`` of the door's connections
and ``OF_AN_ADDRESS * OF_A_DEVICE`` of an address's. A device without a place is asked to come back.

    >>> places = Places()
    >>> places.enter("r1", "10.0.0.1", 5.0), places.enter("r1", "10.0.0.1", 5.0), places.enter("r1", "", 5.0)
    (True, True, False)
"""

import random
from typing import Final

import msgspec

from edgewright.controller.guests import HEAD_S, MOST, MOST_OF_AN_ADDRESS

OF_A_DEVICE: Final = 2
"""Requests at once."""

PLACES: Final = 96
OF_AN_ADDRESS: Final = 6
assert PLACES * OF_A_DEVICE <= MOST * 3 // 4, "a quarter of the door is for everybody else"
assert OF_AN_ADDRESS * OF_A_DEVICE <= MOST_OF_AN_ADDRESS * 3 // 4, "and a quarter of each address"

LINGER_S: Final = HEAD_S
"""How long a connection may stay open without a request."""

RETRY_S: Final = (2.0, 10.0)
"""Between these a refused device is told to wait: they must not all come back at once."""


class DownloadCounts(msgspec.Struct, frozen=True):
    """Since the start, but for ``devices``, which is how many hold a place now."""

    devices: int = 0
    requests: int = 0
    bytes: int = 0
    refused: int = 0


class _Place:
    def __init__(self, address: str) -> None:
        self.address = address
        self.requests = 0
        self.last = 0.0


class Places:
    """The places; for one event loop, so without a lock."""

    def __init__(self) -> None:
        self._held: dict[str, _Place] = {}
        self._requests = self._bytes = self._refused = 0

    def enter(self, device: str, address: str, now: float) -> bool:
        """Whether a device's request is served at ``now`` (seconds); each that is has to ``leave``."""
        self._drop_old(now)
        place = self._held.get(device)
        if place is None and not self._is_full(address):
            place = self._held[device] = _Place(address)
        if place is None or place.requests >= OF_A_DEVICE:
            self._refused += 1
            return False
        place.requests += 1
        place.last = now
        self._requests += 1
        return True

    def leave(self, device: str, sent: int, now: float) -> None:
        """A request has ended, after ``sent`` bytes."""
        place = self._held[device]
        place.requests -= 1
        place.last = now
        self._bytes += sent

    def counts(self, now: float) -> DownloadCounts:
        """What there was, and who is there."""
        self._drop_old(now)
        return DownloadCounts(len(self._held), self._requests, self._bytes, self._refused)

    def retry_s(self) -> int:
        """How many seconds a refused device shall wait."""
        return round(random.uniform(*RETRY_S))  # noqa: S311 - jitter, no secret

    def _is_full(self, address: str) -> bool:
        there = sum(place.address == address for place in self._held.values())
        return len(self._held) >= PLACES or there >= OF_AN_ADDRESS

    def _drop_old(self, now: float) -> None:
        for device, place in list(self._held.items()):
            if not place.requests and now - place.last >= LINGER_S:
                del self._held[device]
