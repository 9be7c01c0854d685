"""How many wrong tokens an address may show: a bounded table in memory.

Counted by address and by what the token claims to be, and asked only about a token that is wrong: whoever
guesses locks nobody out. Secrets have 256 random bits, which nobody guesses; the limit keeps noise away from
the audit log.
"""

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address
from typing import Final

from edgewright.controller.errors import TooManyAttemptsError

WRONG_AT_MOST: Final = 10
WINDOW_S: Final = 60.0
ROWS_AT_MOST: Final = 4096
"""Addresses that are remembered; the oldest goes first."""


class Attempts:
    """Wrong attempts of the last minute; used by several threads, each call is one step of the dictionary."""

    def __init__(self) -> None:
        self._rows: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    def verify_allowed(self, address: str, claim: str, now: float) -> None:
        """Refuse a wrong token without saying what is wrong with it.

        Raises:
            TooManyAttemptsError: too many were wrong within the last minute.
        """
        since, wrong = self._rows.get((network_of(address), claim), (now, 0))
        if wrong >= WRONG_AT_MOST and now - since < WINDOW_S:
            raise TooManyAttemptsError("This address has shown too many wrong tokens.")

    def count_wrong(self, address: str, claim: str, now: float) -> None:
        """Take note of a wrong token."""
        key = (network_of(address), claim)
        since, wrong = self._rows.pop(key, (now, 0))
        self._rows[key] = (since, wrong + 1) if now - since < WINDOW_S else (now, 1)
        while len(self._rows) > ROWS_AT_MOST:
            self._rows.popitem(last=False)


def network_of(address: str) -> str:
    """What one machine cannot leave by choosing another address: IPv4 itself, of IPv6 the /64.

    >>> network_of("192.0.2.7"), network_of("2001:db8::1:2:3:4")
    ('192.0.2.7', '2001:db8::')
    """
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        return str(IPv6Address(int(found) >> 64 << 64))
    return str(found)
