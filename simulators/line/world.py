"""What a cell does and counts, without a clock or a socket of its own.

Callers tell the time (seconds, any origin) and what happened; `World` says which frame and which outcomes are
due and keeps the ground truth. An item that comes by is `sent` whether or not a line is there to take its
frame: the belt does not wait. Exactly one of these becomes of it:

- `decided`: its decision came in time; `fallback` of these sent it to the manual lane, which is no mispack;
  `mispacked` of these put it into the wrong carton;
- `dropped`: no decision by its deadline.

Every item counts under the phase in which it was photographed.
"""

import heapq
from dataclasses import dataclass
from typing import Any

from edgewright.wire.cell import Decision, Frame, Outcome
from simulators.line.goods import CLASSES, Belt, Goods, Phase
from simulators.line.orders import Order
from simulators.line.render import BASELINE, draw_scene, render

# How far the belt moves between two items, no divisor of its texture's period.
BELT_STEP_PX = 83
# A decision that the line sent at the deadline is on its way for at most this long, on a crowded machine too.
TRANSPORT_S = 0.25


@dataclass(frozen=True)
class CellSettings:
    """One cell.

    Attributes:
        robot: its name; item ids begin with it.
        seed: of everything random, together with the name.
        rate_hz: items a second.
        scanner_share: part of the items whose true class the scanner tells.
        scanner_delay_s: how long after the photograph, on average; the scanner takes from half to one and
        a half. deadline_ms: the line's time for a decision.
    """

    robot: str
    seed: int
    rate_hz: float
    scanner_share: float
    scanner_delay_s: float
    deadline_ms: float


@dataclass
class VersionCount:
    """What one version of the model did in one phase."""

    decided: int = 0
    mispacked: int = 0


class Counters:
    """What became of the items of one phase; only ever grows."""

    def __init__(self) -> None:
        self.sent = self.decided = self.dropped = self.fallback = self.mispacked = self.labelled = 0
        self.by_version: dict[int, VersionCount] = {}

    def count_decision(self, decision: Decision, truth: str) -> None:
        """Count a decision that came in time."""
        self.decided += 1
        if decision.source == "fallback":
            self.fallback += 1
            return
        wrong = int(decision.label != truth)
        version = self.by_version.setdefault(decision.version, VersionCount())
        version.decided += 1
        version.mispacked += wrong
        self.mispacked += wrong

    def report(self) -> dict[str, Any]:
        """For JSON."""
        versions = {str(number): dict(vars(count)) for number, count in sorted(self.by_version.items())}
        return {**vars(self), "by_version": versions}


@dataclass(frozen=True)
class _Waiting:
    """An item whose decision has not come."""

    truth: str
    phase: Phase
    until_s: float


class World:
    """The belt, the scanner and the ground truth of one cell."""

    def __init__(self, goods: Goods, settings: CellSettings) -> None:
        self._settings = settings
        self._belt = Belt(goods, settings.seed, settings.robot)
        self._camera, self._scanner = self._belt.spawn_generators(2)
        self._photographed = 0
        self._waiting: dict[str, _Waiting] = {}
        self._scans: list[tuple[float, str, str, Phase]] = []
        self.phase = Phase.BEFORE
        self.tag = ""
        self._kinds: tuple[str, ...] = ()
        self._conditions = BASELINE
        self._relabel: dict[str, str] = {}
        self._scanner_wrong = 0.0
        self.counters: dict[Phase, Counters] = {self.phase: Counters()}

    @property
    def is_waiting(self) -> bool:
        """Whether an item's decision may still come."""
        return bool(self._waiting)

    def obey(self, order: Order) -> None:
        """From now on things are as the order says; what is on its way stays as it was.

        Raises:
            ValueError: it names optics, a range or a class that do not exist.
        """
        named = {*(order.kinds or ()), *(order.relabel or {}), *(order.relabel or {}).values()}
        if unknown := named - set(CLASSES):
            raise ValueError(f"There is no class {', '.join(sorted(unknown))}.")
        self._conditions = order.conditions_after(self._conditions)
        if order.phase is not None:
            self.phase = order.phase
            self.counters.setdefault(order.phase, Counters())
        self.tag = self.tag if order.tag is None else order.tag
        self._kinds = self._kinds if order.kinds is None else order.kinds
        self._relabel = self._relabel if order.relabel is None else order.relabel
        self._scanner_wrong = self._scanner_wrong if order.scanner_wrong is None else order.scanner_wrong

    def photograph(self, now_s: float) -> Frame:
        """The next item comes by."""
        settings, item = self._settings, self._belt.next_item(self.phase, self._kinds)
        truth = self._relabel.get(item.truth, item.truth)
        self._photographed += 1
        scene = draw_scene(self._conditions, self._camera, self._photographed * BELT_STEP_PX)
        pixels = render(item.image, scene, self._camera)
        until_s = now_s + settings.deadline_ms / 1000 + TRANSPORT_S
        self._waiting[item.item] = _Waiting(truth, self.phase, until_s)
        self.counters[self.phase].sent += 1
        if self._scanner.random() < settings.scanner_share:
            delay_s = settings.scanner_delay_s * self._scanner.uniform(0.5, 1.5)
            heapq.heappush(self._scans, (now_s + delay_s, item.item, self._scanned(truth), self.phase))
        return Frame(
            item=item.item,
            deadline_ms=settings.deadline_ms,
            shape=(pixels.shape[0], pixels.shape[1], pixels.shape[2]),
            pixels=pixels.tobytes(),
            tag=self.tag,
        )

    def _scanned(self, truth: str) -> str:
        """What the scanner says of an item."""
        if not self._scanner_wrong or self._scanner.random() >= self._scanner_wrong:
            return truth
        others = [name for name in CLASSES if name != truth]
        return others[int(self._scanner.integers(len(others)))]

    def decided(self, decision: Decision) -> None:
        """The line answered; an answer after `expire` gave the item up, or for no item, does not count."""
        item = self._waiting.pop(decision.item, None)
        if item is not None:
            self.counters[item.phase].count_decision(decision, item.truth)

    def expire(self, now_s: float) -> None:
        """Drop the items whose deadline has passed."""
        for name in [name for name, item in self._waiting.items() if item.until_s < now_s]:
            self.counters[self._waiting.pop(name).phase].dropped += 1

    def scan(self, now_s: float, *, heard: bool) -> list[Outcome]:
        """Outcomes that are due; when no line is there to hear them, they are lost."""
        due: list[Outcome] = []
        while self._scans and self._scans[0][0] <= now_s:
            _, item, truth, phase = heapq.heappop(self._scans)
            due.append(Outcome(item, truth))
            self.counters[phase].labelled += int(heard)
        return due if heard else []
