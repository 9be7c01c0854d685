"""Shadowing: the candidate sees what the active model decides, and decides nothing.

A frame goes to the candidate after its decision was sent, and the answer is taken when it comes; a frame that
arrives while the candidate still runs is not shadowed. So shadowing never delays a decision.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgewright.agent.control import Shadowed, SlotName
from edgewright.agent.line.modelslot import ModelSlot
from edgewright.wire.errors import EdgewrightError, RunnerHangError

ANSWER_WITHIN_S: Final = 2.0


class ShadowRun:
    """One shadowing of one slot.

    Attributes:
        slot: the candidate's.
        since: monotonic time of the order.
    """

    def __init__(self, slot: SlotName, frames: int, since: float) -> None:
        self.slot: SlotName = slot
        self.since = since
        self._wanted = frames
        self._agreed = 0
        self._run_us: list[int] = []
        self._asked: tuple[float, str] | None = None

    @property
    def complete(self) -> bool:
        """Whether the candidate has seen all ordered frames."""
        return len(self._run_us) >= self._wanted

    def offer(self, candidate: ModelSlot, image: NDArray[np.uint8], label: str, now: float) -> None:
        """Show the candidate a frame that was decided as ``label``, if it is free."""
        if self.complete or self._asked is not None or not candidate.ready:
            return
        try:
            candidate.ask(image)
        except EdgewrightError as error:
            candidate.note(error)
        else:
            self._asked = (now, label)

    def collect(self, candidate: ModelSlot, now: float) -> None:
        """Take the candidate's answer if it has come."""
        if self._asked is None:
            return
        asked_at, label = self._asked
        if candidate.ready and candidate.runner is not None:
            logits = candidate.logits()
            self._agreed += candidate.manifest.labels[logits.index(max(logits))] == label
            self._run_us.append(candidate.runner.last.run_us)
            self._asked = None
        elif now - asked_at > ANSWER_WITHIN_S:
            candidate.note(RunnerHangError(f"No answer to a shadowed frame within {ANSWER_WITHIN_S} s."))

    def result(self) -> Shadowed:
        """What the candidate did."""
        seen = sorted(self._run_us)
        return Shadowed(
            slot=self.slot,
            ok=True,
            frames=len(seen),
            agreement=self._agreed / len(seen) if seen else 1.0,
            latency_p99_us=seen[len(seen) * 99 // 100] if seen else 0,
        )
