"""Shadowing: the candidate sees what the active model decides, and decides nothing.

Rules, so that shadowing never delays a decision:

- A frame goes to the candidate after its decision was sent, and only where a run, with a margin, ends before
  the next frame is expected (``pace``). Other frames are skipped and counted.
- The candidate's runner gives way to everybody else on the processor.
- Nobody waits for its answer; a frame that arrives while it still runs is not shadowed.

It ends when the candidate has seen the ordered frames. A line that leaves it no time ends it too: what it has
seen by then, with the frames that were skipped, is the result.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

from edgewright.agent.control import Disagreement, Shadowed, SlotName
from edgewright.agent.line.deciding import Ruling
from edgewright.agent.line.modelslot import ModelSlot
from edgewright.agent.line.runnerprocess import RunnerProcess
from edgewright.wire.cell import Frame
from edgewright.wire.errors import EdgewrightError, RunnerHangError

ANSWER_WITHIN_S: Final = 2.0
STARVED_S: Final = 30.0
"""Without a frame that could be shadowed for so long, the line has no time to spare."""

LONGEST_S: Final = 900.0
MAX_CAPTURED: Final = 8
"""Frames of a shadowing that are captured because the candidate disagrees."""

_MAX_PAIRS: Final = 16
_OTHERS: Final = ("other", "other")
_NEWEST: Final = 15
_MARGIN: Final = 2.0
_HAND_OVER_S: Final = 0.0005


class Question(NamedTuple):
    """A frame that the candidate looks at."""

    asked_at: float
    runner: RunnerProcess
    frame: Frame
    ruling: Ruling


class ShadowRun:
    """One shadowing of one slot.

    Args:
        slot: the candidate's.
        frames: that it shall see.
        since: monotonic time of the order.
        disagreed: takes the first frames of which it says something else than the active model.

    Attributes:
        slot: the candidate's.
        since: monotonic time of the order.
    """

    def __init__(
        self, slot: SlotName, frames: int, since: float, disagreed: Callable[[Frame, Ruling], None]
    ) -> None:
        self.slot: SlotName = slot
        self.since = self._offered_at = since
        self._wanted, self._disagreed = frames, disagreed
        self._run_us: list[int] = []
        self._skipped = self._captured = 0
        self._seen: Counter[str] = Counter()
        self._pairs: Counter[tuple[str, str]] = Counter()
        self._question: Question | None = None

    @property
    def complete(self) -> bool:
        """Whether the candidate has seen all ordered frames."""
        return len(self._run_us) >= self._wanted

    def starved(self, now: float) -> bool:
        """Whether the line leaves no time for it."""
        return now - self._offered_at > STARVED_S or now - self.since > LONGEST_S

    def offer(self, candidate: ModelSlot, frame: Frame, ruling: Ruling, slack_s: float, now: float) -> None:
        """Show the candidate a decided frame, if it is free and there is time for it."""
        if ruling.image is None or ruling.decision.source == "fallback" or self.complete:
            return
        runner = candidate.runner
        if self._question is not None or not candidate.ready or runner is None:
            return
        if slack_s < self._needed_s(runner):
            self._skipped += 1
            return
        try:
            candidate.ask(ruling.image)
        except EdgewrightError as error:
            candidate.note(error)
        else:
            self._offered_at = now
            self._question = Question(now, runner, frame, ruling)

    def collect(self, candidate: ModelSlot, now: float) -> None:
        """Take the candidate's answer if it has come."""
        question = self._question
        if question is None or candidate.runner is not question.runner:
            return
        if candidate.ready:
            self._question = None
            logits = candidate.logits()
            self._compare(candidate.manifest.labels[logits.index(max(logits))], question)
            self._run_us.append(question.runner.last.run_us)
        elif now - question.asked_at > ANSWER_WITHIN_S:
            candidate.note(RunnerHangError(f"No answer to a shadowed frame within {ANSWER_WITHIN_S} s."))

    def forget_question(self) -> None:
        """The runner that was asked is gone."""
        self._question = None

    def result(self) -> Shadowed:
        """What the candidate did."""
        seen = sorted(self._run_us)
        frames, different = len(seen), sum(self._pairs.values())
        return Shadowed(
            slot=self.slot,
            ok=True,
            frames=frames,
            agreement=1 - different / frames if frames else 1.0,
            latency_p50_us=seen[frames // 2] if seen else 0,
            latency_p99_us=seen[frames * 99 // 100] if seen else 0,
            skipped=self._skipped,
            worst=self._worst(),
            disagreements=tuple(Disagreement(*pair, n) for pair, n in self._pairs.most_common()),
        )

    def _needed_s(self, runner: RunnerProcess) -> float:
        # The quickest: a run that was held up for others, to whom it gives way, took nobody's time.
        quickest_us = min(self._run_us[-_NEWEST:], default=runner.last.run_us)
        return quickest_us / 1e6 * _MARGIN + _HAND_OVER_S

    def _compare(self, label: str, question: Question) -> None:
        decided = question.ruling.decision.label
        self._seen[decided] += 1
        if label == decided:
            return
        pair = (decided, label)
        self._pairs[pair if pair in self._pairs or len(self._pairs) < _MAX_PAIRS else _OTHERS] += 1
        if self._captured < MAX_CAPTURED:
            self._captured += 1
            self._disagreed(question.frame, question.ruling)

    def _worst(self) -> str:
        """The active model's class of which the candidate denies the largest share; empty for none."""
        denied: Counter[str] = Counter()
        for (decided, _), count in self._pairs.items():
            denied[decided] += count
        return max(denied, key=lambda label: denied[label] / max(1, self._seen[label]), default="")
