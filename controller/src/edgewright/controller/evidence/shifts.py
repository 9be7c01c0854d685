"""What a version's input and output look like now, of the fleet, of each robot and of each tag.

Each is a row: a mixture of e-detectors over all signals, both directions and some sizes of mean rank (see
``signals``), one on frames that went wrong, and forgetting means of the last windows, which say how far what
moved and what the goods are.

The detectors say *whether* something moved, at the promised rate of false alarms; the forgetting means say
*how far*, once something is known to be the matter.
"""

from collections.abc import Sequence
from math import inf
from typing import Final, NamedTuple

import numpy as np

from edgewright.controller.evidence.bank import Bank
from edgewright.controller.evidence.forgetting import Forgetting
from edgewright.controller.evidence.signals import NAMES, Baseline, Floats, Seen, ranks_of
from edgewright.controller.evidence.verdict import Moved, Part
from edgewright.wire.messages import Window

ALL: Final = "all"
ROBOT: Final = "robot:"
TAG: Final = "tag:"

HALF_LIFE: Final = 8.0
"""Windows after which one counts half in the forgetting means."""

SIZES: Final = np.array([0.15, 0.4, 0.7, 0.95])
"""Bets, as parts of the largest that is safe."""

FAULT_MEAN: Final = 0.05
"""Share of frames that may go wrong: without the model's decision, without a number, or too slow."""

TOLD_SIZE: Final = 0.1
"""``Moved.size`` from which a signal is named."""

MOST_CLASSES: Final = 64
"""That are told apart, the first ones; a window has no more either."""

DIMS: Final = 8
"""Of the embedding."""

_FAULT_BETS: Final = SIZES / FAULT_MEAN

_SIGNALS: Final = len(NAMES)
_RANKS: Final = slice(0, _SIGNALS)
_MEANS: Final = slice(_SIGNALS, 2 * _SIGNALS)
_EMBEDDING: Final = slice(2 * _SIGNALS, 2 * _SIGNALS + DIMS)
_FAILED: Final = 2 * _SIGNALS + DIMS
_SLOW: Final = _FAILED + 1
_STRANGE: Final = _FAILED + 2
_CLASSES: Final = _FAILED + 3
_OTHERS: Final = _CLASSES + MOST_CLASSES
_COLUMNS: Final = _OTHERS + 1
"""Columns of the forgetting means."""


class Look(NamedTuple):
    """One window, what of it could be read, and what it is held against; None where that is nothing yet."""

    window: Window
    seen: Seen
    baseline: Baseline | None


class Shifts:
    """See the module's text.

    Attributes:
        robots: names of the robots that told something.
    """

    def __init__(self, run_length: float, latency_limit_us: float) -> None:
        # Three rows take each window, and a row bets on frames that went wrong beside its signals.
        self._bank = Bank(2 * _SIGNALS * len(SIZES), 6 * run_length)
        self._faults = Bank(len(SIZES), 6 * run_length)
        self._limit_us = latency_limit_us
        self._means = Forgetting(_COLUMNS, HALF_LIFE)
        self._classes: dict[str, int] = {}
        self._frames: dict[str, int] = {}
        self._until = 0.0
        self.robots: set[str] = set()

    def observe(self, looks: Sequence[Look]) -> None:
        """Take windows with frames, in order."""
        at = np.array([look.window.start for look in looks])
        ranks, means = ranks_of([(look.seen, look.baseline) for look in looks])
        failed = np.array([_failed(look.window, look.seen) for look in looks])
        slow = np.array([look.seen.slow_share(self._limit_us) for look in looks])
        values = np.full((len(looks), _COLUMNS), np.nan)
        values[:, _RANKS], values[:, _MEANS] = ranks, means
        values[:, _FAILED], values[:, _SLOW] = failed, slow
        values[:, _STRANGE] = [look.baseline is None for look in looks]
        for number, look in enumerate(looks):
            self._note(look, values[number])
        steps = _steps(ranks, np.array([_slack(look.baseline) for look in looks]))
        faults = np.log1p(_FAULT_BETS * (np.minimum(failed + slow, 1.0) - FAULT_MEAN)[:, None])
        for names, some in _rows(looks):
            self._means.observe(names, values[some])
            self._bank.observe(names, steps[some], at[some])
            self._faults.observe(names, faults[some], at[some])

    @property
    def open_rows(self) -> tuple[str, ...]:
        """The rows that have reached their run length."""
        return (*sorted(self._bank.open), *sorted(self._faults.open))

    @property
    def run_length(self) -> float:
        """At which a row's signals are said to have moved."""
        return self._bank.run_length

    def moved_rows(self, prefix: str) -> tuple[str, ...]:
        """Robots or tags (by their prefix) whose signals moved, without the prefix."""
        return _without(prefix, self._bank)

    def faulty_rows(self, prefix: str) -> tuple[str, ...]:
        """Likewise, those whose frames go wrong."""
        return _without(prefix, self._faults)

    def robot_evidence(self, least: float) -> dict[str, float]:
        """Logarithms of the evidence of each robot that has so much."""
        above = self._bank.above(least)
        return {name.removeprefix(ROBOT): log for name, log in above.items() if name.startswith(ROBOT)}

    def part(self, name: str, baseline: Baseline, *, settled: bool) -> Part:
        """What a row shows; ``settled`` where harm is known, so that sizes alone tell what moved."""
        means = self._means.of(name)
        faulty = self._faults.is_open(name)
        mix, gained = baseline.mix(self._shares(means))
        embedding = means[_EMBEDDING]
        return Part(
            since=min(_onset(self._bank, name), _onset(self._faults, name), self._until),
            moved=self._moved(name, means, baseline) if settled or self._bank.is_open(name) else (),
            mix=mix,
            gained=gained,
            embedding=baseline.distance(embedding) if np.isfinite(embedding).all() else None,
            faulty=float(means[_FAILED]) if faulty else 0.0,
            latency_us=self._limit_us if faulty and means[_SLOW] > means[_FAILED] else 0.0,
            strange=float(np.nan_to_num(means[_STRANGE])),
            frames=self._frames.get(name, 0),
            until=self._until,
        )

    def _note(self, look: Look, values: Floats) -> None:
        """Write a window's class shares and embedding into its row of values, and count it."""
        window = look.window
        decided = sum(window.classes.values())
        if decided:
            values[_CLASSES:] = 0.0
            for label, count in window.classes.items():
                if len(self._classes) < MOST_CLASSES:
                    self._classes.setdefault(label, _CLASSES + len(self._classes))
                values[self._classes.get(label, _OTHERS)] += count / decided
        if look.baseline is not None and look.seen.embedding is not None and look.seen.embedding.dims == DIMS:
            values[_EMBEDDING] = look.seen.embedding.mean()
        self.robots.add(window.device)
        self._until = max(self._until, window.start + window.seconds)
        for name in (ALL, ROBOT + window.device, *((TAG + window.tag,) if window.tag else ())):
            self._frames[name] = self._frames.get(name, 0) + window.frames

    def _shares(self, means: Floats) -> dict[str, float]:
        shares = np.nan_to_num(means)
        return {label: float(shares[column]) for label, column in self._classes.items()}

    def _moved(self, name: str, means: Floats, baseline: Baseline) -> tuple[Moved, ...]:
        onset = min(self._bank.onset_at(name), self._until)
        found = [
            Moved(signal, float(2.0 * rank - 1.0), float(then), float(now), onset)
            for signal, rank, then, now in zip(
                NAMES, means[_RANKS], baseline.means, means[_MEANS], strict=True
            )
            if abs(2.0 * rank - 1.0) >= TOLD_SIZE
        ]
        return tuple(sorted(found, key=lambda moved: -abs(moved.size)))


def _rows(looks: Sequence[Look]) -> list[tuple[list[str], list[int]]]:
    """Rows that take the windows, three times: the fleet's, the robots', the tags'."""
    every = list(range(len(looks)))
    tagged = [number for number in every if looks[number].window.tag]
    rows = [
        ([ALL] * len(looks), every),
        ([ROBOT + look.window.device for look in looks], every),
        ([TAG + looks[number].window.tag for number in tagged], tagged),
    ]
    return [(names, some) for names, some in rows if names]


def _steps(ranks: Floats, slack: Floats) -> Floats:
    """Windows x bets, logarithms of e-values: up and down, every signal, every size."""
    mean = np.minimum(0.5 + slack, 0.95)
    usable = np.isfinite(ranks) & np.isfinite(slack)
    both = np.stack([ranks, 1.0 - ranks], axis=1)
    gap = np.where(usable[:, None, :], both - mean[:, None, :], 0.0)
    bets = SIZES[:, None, None, None] / mean[:, None, :]
    steps: Floats = np.moveaxis(np.log1p(bets * gap), 0, -1).reshape(len(ranks), -1)
    return steps


def _slack(baseline: Baseline | None) -> Floats:
    return baseline.slack if baseline is not None else np.full(_SIGNALS, inf)


def _failed(window: Window, seen: Seen) -> float:
    """Share of the frames that the model did not decide, or without a number."""
    return min((sum(window.causes.values()) + seen.invalid) / max(window.frames, 1), 1.0)


def _onset(bank: Bank, name: str) -> float:
    return bank.onset_at(name) if bank.is_open(name) else inf


def _without(prefix: str, bank: Bank) -> tuple[str, ...]:
    return tuple(sorted(name.removeprefix(prefix) for name in bank.open if name.startswith(prefix)))
