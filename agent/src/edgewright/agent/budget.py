"""What updates may take from the network in a day, kept over restarts and clocks that jump.

A day is any 24 hours, counted in quarters of an hour: no midnight at which two days' bytes may be taken at
once. What was taken is kept in ``spending.json``:

- Written ahead: before a chunk is asked for, the file already counts it. After a power cut up to
  ``STEP_BYTES`` may be counted that never came, never the other way.
- While this machine is up, its time since boot says how much time has passed (it goes on in standby and
  nobody sets it), whatever the clock says. Over a boot the trusted clock says it, and time never goes back.
  So a clock that jumps, or that starts years ago, refills nothing. What is left: a machine that boots with a
  clock that is ahead is believed, because nothing else witnessed how long it was off.
- It is never earlier than what was signed: a machine without a clock learns so how long it was off, from an
  assignment that comes after its start.
- A file that cannot be read counts as a day that is spent: the budget fails closed.
"""

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from edgewright.agent.privatefiles import sync_folder, write_private
from edgewright.wire.errors import ByteBudgetError, StorageFullError
from edgewright.wire.manifest import CHUNK_BYTES

SLOT_SECONDS: Final = 900
DAY_SLOTS: Final = 97
"""Quarters of an hour that count: those of a day, and the one that had begun when the day before did."""

STEP_BYTES: Final = 1024 * 1024
FILE_NAME: Final = "spending.json"

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Spending(msgspec.Struct, frozen=True):
    """What was taken, and when that was last looked at.

    Attributes:
        slots: bytes by quarter of an hour since the epoch.
        at: moment of the record, seconds since the epoch.
        boot: the boot in which it was made.
        uptime: seconds of that boot.
    """

    slots: dict[int, int]
    at: float
    boot: str
    uptime: float


def moment(record: Spending | None, trusted: float, boot: str, uptime: float) -> float:
    """Now, by what nobody can set while the machine is up.

    >>> record = Spending({}, at=1000.0, boot="one", uptime=50.0)
    >>> moment(record, 90_000.0, "one", 60.0)  # the clock has jumped a day ahead
    1010.0
    >>> moment(record, 0.0, "two", 5.0)  # another boot, without a clock
    1000.0
    """
    if record is None:
        return trusted
    if record.boot == boot:
        return record.at + max(0.0, uptime - record.uptime)
    return max(trusted, record.at)


def spent(slots: dict[int, int], now: float) -> int:
    """Bytes of the last day.

    >>> spent({0: 5, 1: 7}, 96 * 900.0), spent({0: 5, 1: 7}, 97 * 900.0)
    (12, 7)
    """
    first = int(now // SLOT_SECONDS) - DAY_SLOTS
    return sum(taken for slot, taken in slots.items() if slot > first)


def seconds_until(slots: dict[int, int], now: float, limit: int, length: int) -> float:
    """When ``length`` bytes fit again, at most the whole day's; 0 where they fit now.

    >>> seconds_until({0: 60, 4: 40}, 5 * 900.0, 100, 50) == 92 * 900.0
    True
    """
    over = spent(slots, now) + min(length, limit) - limit
    first = int(now // SLOT_SECONDS) - DAY_SLOTS
    for slot in sorted(slot for slot in slots if slot > first):
        if over <= 0:
            break
        over -= slots[slot]
        first = slot
    return max(0.0, (first + DAY_SLOTS) * SLOT_SECONDS - now)


class Budget:
    """The bytes of a day; used by one thread.

    Args:
        path: of the record.
        limit: bytes a day; 0 for no limit, and then nothing is written.
        uptime: seconds since this machine booted, standby included.
        boot: tells one boot from another.

    Attributes:
        limit: up to which the job that has begun may spend the day.
        uptime: the same.
    """

    def __init__(
        self,
        path: Path,
        limit: int,
        uptime: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        boot: str = "",
    ) -> None:
        self._path, self._day, self.limit = path, limit, limit
        self.uptime, self._boot = uptime, boot or _boot_id()
        self._slots: dict[int, int] = {}
        self._at, self._since = 0.0, 0.0
        self._unwritten = 0  # what the file may still take in: bytes that it counts ahead

    def begin(self, trusted: float, signed: float = 0.0, share: float = 1.0) -> None:
        """A job begins.

        Args:
            trusted: the trusted clock's now, seconds since the epoch.
            signed: the newest time that was signed for this device; now is not before it.
            share: of the day's bytes that are there for this job, other jobs' spending included; over 0 to 1.

        Raises:
            StorageFullError: what is spent cannot be written down.
        """
        if not self._day:
            return
        self.limit = max(1, int(self._day * share))
        self._since = self.uptime()
        try:
            record: Spending | None = msgspec.json.decode(self._path.read_bytes(), type=Spending)
            self._at = moment(record, trusted, self._boot, self._since)
            self._slots = dict(record.slots) if record else {}
        except FileNotFoundError:
            self._at, self._slots = trusted, {}
        except (OSError, msgspec.DecodeError):
            self._at, self._slots = trusted, {int(trusted // SLOT_SECONDS): self._day}
        self._at = max(self._at, signed)
        first = int(self._at // SLOT_SECONDS) - DAY_SLOTS
        self._slots = {slot: taken for slot, taken in self._slots.items() if slot > first}
        self._unwritten = 0
        self._write(0)

    @property
    def left(self) -> int:
        """Bytes that may be taken now."""
        return self.limit - spent(self._slots, self._now())

    def seconds_until(self, length: int) -> float:
        """When ``length`` bytes fit, at most the whole day's."""
        return seconds_until(self._slots, self._now(), self.limit, length)

    def demand(self, length: int) -> None:
        """So many bytes are about to be asked for, everything on its way included.

        Raises:
            ByteBudgetError: they do not fit; nothing may be asked for.
            StorageFullError: they cannot be written down; nothing may be asked for either.
        """
        if not self.limit:
            return
        if length > self.left:
            raise ByteBudgetError(f"{length} bytes do not fit: {max(0, self.left)} of {self.limit} are left.")
        if length > self._unwritten:
            self._write(length + min(STEP_BYTES, max(CHUNK_BYTES, self.limit // 16)))

    def spend(self, taken: int) -> None:
        """So many bytes have come, whatever they were."""
        if self.limit and taken > 0:
            slot = int(self._now() // SLOT_SECONDS)
            self._slots[slot] = self._slots.get(slot, 0) + taken
            self._unwritten -= taken

    def end(self) -> None:
        """A job has ended: what was written ahead and did not come is given back.

        Raises:
            StorageFullError: it cannot be written.
        """
        if self.limit:
            self._write(0)

    def _write(self, ahead: int) -> None:
        now, slots = self._now(), dict(self._slots)
        slot = int(now // SLOT_SECONDS)
        slots[slot] = slots.get(slot, 0) + ahead
        record = Spending(
            {key: taken for key, taken in slots.items() if taken}, now, self._boot, self.uptime()
        )
        try:
            write_private(self._path, msgspec.json.encode(record))
            sync_folder(self._path.parent)
        except OSError as error:
            raise StorageFullError(f"What updates have taken cannot be written down: {error}.") from error
        self._unwritten = ahead

    def _now(self) -> float:
        return self._at + self.uptime() - self._since


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return secrets.token_hex(16)  # Each process counts as a boot of its own.
