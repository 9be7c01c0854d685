"""What the line learns from its frames: windows, outcomes and samples."""

from collections.abc import Callable
from math import inf
from random import Random
from time import monotonic, time
from typing import Final

from edgewright.agent.control import Up, WindowReady
from edgewright.agent.earlytruths import EarlyTruths
from edgewright.agent.line.capture import Capture, CapturePlan
from edgewright.agent.line.changeover import DEFAULT_FRAMES, Changeovers
from edgewright.agent.line.deciding import Ruling
from edgewright.agent.line.recent import Decided
from edgewright.agent.line.remembered import Remembered
from edgewright.agent.line.statistics import Tally, clipped, source_of
from edgewright.agent.preprocess import Look, look
from edgewright.wire.cell import Frame, Outcome

MAX_OPEN_TALLIES: Final = 8
"""So many are open at a time; one more cuts all of them."""


class Observer:
    """Tallies of the running version, one a tag, and what waits for its truth.

    A window holds one version and one tag. A line that mixes tags keeps a tally of each, instead of a window
    at every change; all are cut together, at the window's end and at each change of the active model.

    Frames in the grace of a changeover have a tally of their own, and so have the truths of their items,
    whenever those come: a window in grace is no evidence.
    """

    def __init__(
        self, send: Callable[[Up], None], device: str, plan: CapturePlan, random: Random, now: float
    ) -> None:
        self._send = send
        self._device = device
        self._model, self._version = "", 0
        self._tallies: dict[tuple[str, bool], Tally] = {}
        self._changeovers = Changeovers()
        self._cut_at = now
        self._decided = Remembered(plan.folder, plan.memory_bytes)
        self._early = EarlyTruths()
        self._capture = Capture(send, device, plan, random, now)

    def runs(self, model: str, version: int, now: float, changeover_frames: int = DEFAULT_FRAMES) -> None:
        """From now on this model decides; what was tallied before is cut.

        Args:
            model: which.
            version: of it; 0 where none runs.
            now: the time.
            changeover_frames: of the model's limits: so many frames after a changeover are in grace.
        """
        self.cut(now)
        self._model, self._version = model, version
        if model:
            self._decided.of(model)
        self._changeovers.frames = changeover_frames

    def see(self, frame: Frame, ruling: Ruling, read_at: float, decided_at: float, wall: float) -> None:
        """Take note of a decided frame.

        Args:
            frame: the frame.
            ruling: how it was decided.
            read_at: when it was read, seconds, monotonic.
            decided_at: when its decision was sent, likewise.
            wall: the same, seconds since the epoch.
        """
        seen = None if ruling.image is None else look(ruling.image)
        self.count(frame, ruling, seen, read_at, decided_at, wall)
        if seen is not None:
            self._capture.see(frame, ruling, seen.thumbnail, self._model, decided_at, wall)
        if (early := self._early.take(frame.item)) is not None:
            self.learn(early, decided_at, wall)

    def count(
        self, frame: Frame, ruling: Ruling, seen: Look | None, read_at: float, decided_at: float, wall: float
    ) -> None:
        """Tally a decided frame, as ``see`` does; ``seen`` is what its picture looks like."""
        decision = ruling.decision
        tag = clipped(frame.tag)
        grace = self._changeovers.grace(tag)
        tally = self._tallies.get((tag, grace)) or self._tally(tag, decided_at, wall, grace=grace)
        tally.add(decision, ruling.scores, ruling.cause, (decided_at - read_at) * 1e6)
        if seen is not None:
            tally.add_look(seen)
        sure = 0.0 if ruling.cause else decision.confidence
        self._decided.remember(frame.item, Decided(decision.version, decision.label, tally.tag, grace, sure))

    def disagreed(self, frame: Frame, ruling: Ruling) -> None:
        """Capture a frame of which a shadowed candidate says something else."""
        self._capture.disagreed(frame, ruling, self._model, monotonic(), time())

    def learn(self, outcome: Outcome, now: float, wall: float) -> None:
        """Join a truth with the decision on its item.

        A truth of an item that is not known waits, because it may have come before its decision; only the
        first truth of an item counts.
        """
        decided = self._decided.take(outcome.item)
        if decided == "unknown":
            self._early.keep(outcome, now)
        if isinstance(decided, str):
            return
        tally = self._tally(decided.tag, now, wall, grace=decided.grace)
        tally.add_outcome(decided.version, clipped(decided.label), outcome, decided.confidence)
        self._capture.label(outcome.item, outcome.truth, source_of(outcome))

    def cut(self, now: float) -> None:
        """Send all tallies as windows, and tell which samples were given up."""
        for tally in self._tallies.values():
            if not tally.empty:
                self._send(WindowReady(tally.window(self._device, now - self._cut_at)))
        self._tallies.clear()
        self._cut_at = now
        self._capture.tell(now)
        self._decided.flush()

    def tick(self, now: float) -> None:
        """Go on with what was captured, and let truths go whose decision has not come; each moment or so."""
        self._capture.tick(now)
        self._count_unknown(len(self._early.expired(now)), now)

    def close(self, now: float) -> None:
        """Send everything that is open."""
        self._count_unknown(len(self._early.expired(inf)), now)
        self.cut(now)
        self._capture.close(now)
        self._decided.close()

    def due(self, now: float, window_seconds: float) -> bool:
        """Whether the windows have been open long enough."""
        return now - self._cut_at >= window_seconds

    def _count_unknown(self, truths: int, now: float) -> None:
        if truths:
            self._tally(self._changeovers.tag, now, time()).unknown_truths += truths

    def _tally(self, tag: str, now: float, wall: float, *, grace: bool = False) -> Tally:
        if (tally := self._tallies.get((tag, grace))) is not None:
            return tally
        if len(self._tallies) >= MAX_OPEN_TALLIES:
            self.cut(now)
        started = wall - (now - self._cut_at)
        tally = Tally(self._model, self._version, tag, started, grace=grace)
        self._tallies[tag, grace] = tally
        return tally
