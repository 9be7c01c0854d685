"""Which versions stay on the broker, and why: ``live_versions(standings)``, a pure function.

A broker holds what somebody may still need. That is what a device runs, has been assigned, or gets by a
rollout that has not ended; what an abort of such a rollout would send devices back to; the champion, which
late joiners get; and the last few versions that the fleet finished, for whoever rolls back in a hurry. The
newest version stays too: somebody is about to roll it out. ``KEEPS`` is the whole policy.

A version that nothing keeps is idle. After ``GRACE_S`` of idleness it is retired: its chunks are cleared. A
withdrawn version is retired at once, whatever else is true of it: no device may install it any more.
Retiring is no loss: the blobs stay in the data folder, and a rollout publishes them again first.

    >>> standing = Standing("packing", 7, running=2)
    >>> live_versions([standing, Standing("packing", 6)])
    {('packing', 7): 'a device runs it'}
"""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import msgspec

ROLLBACK_VERSIONS: Final = 3
"""So many of the versions that a model's rollouts finished last can be rolled back to at once."""

GRACE_S: Final = 24 * 3600.0
"""A version stays so long after its last use: a device may be on its way with the assignment before."""

Key = tuple[str, int]
"""Model and version."""


class Standing(msgspec.Struct, frozen=True):
    """What there is to say about one version.

    Attributes:
        model, version: which.
        withdrawn: it is out of the signed catalogue.
        newest: no version of its model that is ready is newer.
        running: devices that run it; revoked ones do not count, here and below.
        assigned: devices whose newest assignment names it, finished or not.
        rollouts: of it that have not ended.
        ways_back: devices that a rollout under way would send back to it.
        is_champion: its model's champion, which late joiners get; see ``aliases``.
        rank: how many versions of its model were finished by a rollout after it; None where none was of it.
        idle_since: when it became idle, seconds since the epoch; 0 while it is not.
        is_retired: its chunks were cleared, or are to be.
    """

    model: str
    version: int
    withdrawn: bool = False
    newest: bool = False
    running: int = 0
    assigned: int = 0
    rollouts: int = 0
    ways_back: int = 0
    is_champion: bool = False
    rank: int | None = None
    idle_since: float = 0.0
    is_retired: bool = False

    @property
    def key(self) -> Key:
        """Model and version."""
        return self.model, self.version


KEEPS: Final[tuple[tuple[str, Callable[[Standing], bool]], ...]] = (
    ("a device runs it", lambda s: s.running > 0),
    ("a device is assigned it", lambda s: s.assigned > 0),
    ("a rollout of it has not ended", lambda s: s.rollouts > 0),
    ("a rollout under way may send devices back to it", lambda s: s.ways_back > 0),
    ("late joiners get it", lambda s: s.is_champion),
    ("it can be rolled back to", lambda s: s.rank is not None and s.rank < ROLLBACK_VERSIONS),
    ("it is the newest", lambda s: s.newest),
)
"""Why a version stays; the first that holds is the reason that is shown."""


class Plan(NamedTuple):
    """What is to be done.

    Attributes:
        idle: versions that begin their grace time.
        retire: versions whose chunks are to be cleared.
        back: versions that are needed again after they were idle or retired.
    """

    idle: tuple[Key, ...]
    retire: tuple[Key, ...]
    back: tuple[Key, ...]


def live_versions(standings: Iterable[Standing]) -> dict[Key, str]:
    """Every version that has to be on the broker, and why."""
    reasons = ((standing.key, _reason(standing)) for standing in standings)
    return {key: reason for key, reason in reasons if reason}


def decide(standings: Iterable[Standing], now: float, grace_s: float = GRACE_S) -> Plan:
    """What follows from the standings at ``now``, seconds since the epoch."""
    standings = list(standings)
    live = live_versions(standings)
    others = [standing for standing in standings if standing.key not in live]
    return Plan(
        idle=tuple(s.key for s in others if not s.idle_since and not s.is_retired),
        retire=tuple(s.key for s in others if not s.is_retired and _is_over(s, now, grace_s)),
        back=tuple(s.key for s in standings if s.key in live and (s.idle_since or s.is_retired)),
    )


def _is_over(standing: Standing, now: float, grace_s: float) -> bool:
    return standing.withdrawn or now - (standing.idle_since or now) >= grace_s


def _reason(standing: Standing) -> str:
    if standing.withdrawn:
        return ""
    return next((reason for reason, holds in KEEPS if holds(standing)), "")
