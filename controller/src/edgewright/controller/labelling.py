"""Which frame a person looks at next, and how far the looking has come.

A random frame comes first. Only random ones are an unbiased picture of the line: the capture drew them with a
known chance before it knew anything of them, and the order here does not look at them either (a digest gives
it, among the newest that wait). Their share of errors is therefore the line's. After ``ENOUGH`` random looks
at the newest version every second frame is one that teaches more: one on which sources contradict each other,
on which a candidate disagreed, that resembles none before, or on which the model was least sure.

A frame is lent to one person at a time, for ``LEASE_S``. Leases, skipped frames and what a person may undo
live in this process: when it ends, two people may see one frame, and the second is told so.
"""

import hashlib
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from edgewright.controller.database import Session, col, func, select
from edgewright.controller.database.evidencetables import Label
from edgewright.controller.database.tables import Sample
from edgewright.controller.errors import InvalidRequestError
from edgewright.controller.labels import AUDIT, LabelOutcome, has_audit, labels_of, tell
from edgewright.controller.people import audit
from edgewright.controller.people.person import Person

ENOUGH: Final = 350
"""Random looks at one version: they find an error rate that rose by ten points, four times in five."""

LEASE_S: Final = 90.0
SKIPPED_S: Final = 3600.0
"""How long a skipped frame is not shown to the same person again."""

CANDIDATES: Final = 500
"""The newest that wait, of each device as many, from which the next frame is taken."""

UNDO: Final = 20
AHEAD_AT_MOST: Final = 10
PACE_S: Final = 60.0
"""Answers further apart than this are two sittings."""

RANKS: Final = {"disagreeing": 1, "novel": 2, "undecided": 3, "uncertain": 4}
"""What teaches most, below frames on which sources contradict each other."""

Key = tuple[str, str]
"""Device and item."""


class Candidate(NamedTuple):
    """A frame that waits for a person."""

    key: Key
    reason: str
    confidence: float
    contested: bool = False


def order(candidates: Iterable[Candidate]) -> tuple[list[Key], list[Key]]:
    """Random frames in an order that does not look at them, and the others, most instructive first.

    >>> order([Candidate(("r", "1"), "uncertain", 0.5), Candidate(("r", "2"), "uncertain", 0.4)])
    ([], [('r', '2'), ('r', '1')])
    """
    candidates = list(candidates)
    random = sorted((c.key for c in candidates if c.reason == "random"), key=_drawn)
    other = [c for c in candidates if c.reason != "random"]
    other.sort(key=lambda c: (not c.contested, RANKS.get(c.reason, 9), c.confidence))
    return random, [c.key for c in other]


def _drawn(key: Key) -> bytes:
    return hashlib.sha256("\0".join(key).encode()).digest()


def merged(random: Sequence[Key], other: Sequence[Key], *, enough: bool) -> list[Key]:
    """One queue: all random frames first, or in turn with the others once there are enough looks.

    >>> merged([("r", "1"), ("r", "2")], [("r", "3")], enough=True)
    [('r', '3'), ('r', '1'), ('r', '2')]
    """
    if not enough:
        return [*random, *other]
    turns = [key for pair in zip(other, random, strict=False) for key in pair]
    both = min(len(other), len(random))
    return [*turns, *other[both:], *random[both:]]


class Desk:
    """Who has which frame, what they skipped, and what they may undo; for all threads of a process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._lent: dict[tuple[str, Key], tuple[str, float]] = {}
        self._skipped: dict[tuple[str, str, Key], float] = {}
        self._done: dict[tuple[str, str], deque[Key]] = defaultdict(lambda: deque(maxlen=UNDO))
        self._times: dict[tuple[str, str], deque[float]] = defaultdict(lambda: deque(maxlen=UNDO))

    def lend(self, model: str, who: str, queue: Sequence[Key], count: int) -> list[Key]:
        """Lend somebody the first ``count`` frames that are free: those they have first, in their order."""
        now = self._clock()
        with self._lock:
            self._clear(now)
            mine = [key for (of, key), (whose, _) in self._lent.items() if of == model and whose == who]
            here = set(queue)
            chosen = [key for key in mine if key in here][:count]
            for key in queue:
                if len(chosen) >= count:
                    break
                if (model, key) not in self._lent and (model, who, key) not in self._skipped:
                    chosen.append(key)
            for key in chosen:
                self._lent[model, key] = (who, now + LEASE_S)
            return chosen

    def finish(self, model: str, who: str, key: Key) -> None:
        """Somebody has labelled a frame."""
        with self._lock:
            self._lent.pop((model, key), None)
            self._done[model, who].append(key)
            self._times[model, who].append(self._clock())

    def skip(self, model: str, who: str, key: Key) -> None:
        """Somebody does not want this frame now; others may have it at once."""
        with self._lock:
            self._give_back(model, who, key)
            self._skipped[model, who, key] = self._clock() + SKIPPED_S

    def undo(self, model: str, who: str) -> Key | None:
        """The frame that somebody labelled last, which is theirs again; None where there is none."""
        with self._lock:
            done = self._done[model, who]
            if not done:
                return None
            key = done.pop()
            if self._times[model, who]:
                self._times[model, who].pop()
            others = {lent: lease for lent, lease in self._lent.items() if lent != (model, key)}
            self._lent = {(model, key): (who, self._clock() + LEASE_S), **others}
            return key

    def last(self, model: str, who: str) -> Key | None:
        """What somebody labelled last; None where there is nothing to undo."""
        with self._lock:
            done = self._done[model, who]
            return done[-1] if done else None

    def pace(self, model: str, who: str) -> float:
        """Labels a minute of the present sitting; 0 before the third."""
        with self._lock:
            times = list(self._times[model, who])
        start = next((i for i in range(len(times) - 1, 0, -1) if times[i] - times[i - 1] > PACE_S), 0)
        sitting = times[start:]
        if len(sitting) < 3 or self._clock() - sitting[-1] > PACE_S:
            return 0.0
        return 60.0 * (len(sitting) - 1) / max(sitting[-1] - sitting[0], 1e-3)

    def _give_back(self, model: str, who: str, key: Key) -> None:
        if self._lent.get((model, key), ("", 0.0))[0] == who:
            del self._lent[model, key]

    def _clear(self, now: float) -> None:
        self._lent = {key: lease for key, lease in self._lent.items() if lease[1] > now}
        self._skipped = {key: until for key, until in self._skipped.items() if until > now}


class Look(NamedTuple):
    """What a person saw, and what the model had said."""

    sample: Sample
    truth: str
    outcome: LabelOutcome


def look(session: Session, model: str, person: Person, key: Key, truth: str, at: float) -> Look:
    """Take what a person saw in a frame; the audit log gets one entry.

    Raises:
        InvalidRequestError: there is no such frame of this model, or somebody else has labelled it meanwhile.
    """
    sample = session.get(Sample, key)
    if sample is None or sample.model != model:
        raise InvalidRequestError(f"{model} has no such frame.")
    before = session.get(Label, (*key, AUDIT))
    detail = {"device": key[0], "item": key[1], "truth": truth}
    if before is not None:
        detail["before"] = before.truth
    outcome = tell(session, *key, truth, AUDIT, person.actor, 1.0, at, model=model)
    detail["outcome"] = outcome.value
    audit.enter(session, "label.tell", model, detail=detail)
    return Look(sample, truth, outcome)


def take_look_back(session: Session, model: str, person: Person, key: Key) -> bool:
    """Forget what this person saw in a frame; whether there was anything."""
    label = session.get(Label, (*key, AUDIT))
    if label is None or label.model != model or label.told_by != person.actor:
        return False
    session.delete(label)
    detail = {"device": key[0], "item": key[1], "truth": label.truth}
    audit.enter(session, "label.take-back", model, detail=detail)
    return True


def next_to_label(session: Session, model: str, who: str, desk: Desk, count: int = 1) -> list[Sample]:
    """The frames that somebody shall look at next, lent to them; none where nothing waits."""
    random, other = order(waiting(session, model))
    newest = newest_version(session, model)
    enough = bool(random and other) and count_random_looks(session, model, newest) >= ENOUGH
    lent = desk.lend(model, who, merged(random, other, enough=enough), min(count, AHEAD_AT_MOST))
    return [sample for sample in (session.get(Sample, key) for key in lent) if sample is not None]


def waiting(session: Session, model: str) -> list[Candidate]:
    """The newest frames at which nobody has looked, random ones and others, as many of each device.

    Newest is what came last: a device's clock, and how much it sends, give it no larger part.
    """
    found: list[Sample] = []
    newest = func.row_number().over(partition_by=col(Sample.device), order_by=col(Sample.at).desc())
    for reason in (col(Sample.reason) == "random", col(Sample.reason) != "random"):
        here = select(Sample.device, Sample.item, newest.label("place"))
        each = here.where(Sample.model == model, reason, ~has_audit()).subquery()
        same = (col(Sample.device) == each.c.device) & (col(Sample.item) == each.c.item)
        statement = select(Sample).join(each, same).order_by(each.c.place, col(Sample.at).desc())
        found += session.exec(statement.limit(CANDIDATES))
    told = labels_of(session, [sample for sample in found if sample.reason != "random"])
    return [
        Candidate(key, sample.reason, sample.confidence, is_contested(sample.truth, told.get(key, ())))
        for sample in found
        for key in ((sample.device, sample.item),)
    ]


def is_contested(line: str, told: Iterable[Label]) -> bool:
    """Whether line and sources contradict each other.

    >>> is_contested("Bag", [])
    False
    """
    return len({truth for truth in (line, *(label.truth for label in told)) if truth}) > 1


def newest_version(session: Session, model: str) -> int:
    """The version that decided on the newest frame; 0 where there is none."""
    newest = select(Sample.version).where(Sample.model == model).order_by(col(Sample.taken_at).desc())
    return session.exec(newest.limit(1)).first() or 0


def count_random_looks(session: Session, model: str, version: int) -> int:
    """How many random frames of a version a person has looked at and could tell."""
    same = (col(Sample.device) == col(Label.device)) & (col(Sample.item) == col(Label.item))
    looked = select(func.count()).select_from(Label).join(Sample, same)
    looked = looked.where(Label.model == model, Label.source == AUDIT, Label.truth != "")
    return session.exec(looked.where(Label.version == version, Sample.reason == "random")).one()
