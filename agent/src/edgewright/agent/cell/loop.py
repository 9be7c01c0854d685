"""The cell's one loop: a picture in, a frame to the line, its decision to every sink.

A picture gets exactly one decision. Where there is no line, a live picture is answered here with the fallback
that the line has declared last (cause ``NoLine``), because the next one is on its way; a picture of a file
waits for the line.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from edgewright.agent.cell.control import Beat, Began, Deciding, Over, Up
from edgewright.agent.cell.feeds import Feed
from edgewright.agent.cell.lineclient import LineClient
from edgewright.agent.cell.looking import Looker
from edgewright.agent.cell.sentences import said
from edgewright.agent.cell.sink import DecisionRecord, SinkThread
from edgewright.agent.cell.source import Picture
from edgewright.agent.cell.truthfiles import TruthFolder
from edgewright.agent.cell.truths import Truths
from edgewright.agent.cell.watch import DAMAGED, Change, PictureWatch
from edgewright.agent.earlytruths import EarlyTruths
from edgewright.agent.settings import SourceSettings
from edgewright.wire.cell import Decision, Fault, Frame

TURN_S: Final = 0.25
BEAT_S: Final = 1.0
COUNTS_S: Final = 600.0
HUNG_S: Final = 30.0
"""Native camera code that has not come back for so long is ended, and the process with it."""

NO_FALLBACK: Final = "fallback"
"""Label while the line has declared none."""

NO_LINE: Final = "NoLine"

_log = logging.getLogger(__name__)


class HungSourceError(Exception):
    """Native camera code does not come back."""


class _Asked(NamedTuple):
    """A frame that was sent, or that could not be."""

    frame: Frame
    fault: Fault
    picture: Picture


class Cell:
    """One source, one line, all sinks.

    Attributes:
        decided: pictures that the line has decided.
        without_line: live pictures that were answered here.

    Args:
        settings: of the source.
        feed: pictures.
        line: who decides.
        sinks: who is told.
        tell: takes what the supervisor shall know.
        truths: what items truly were, for the line.
        files: where some of them come from.
    """

    def __init__(
        self,
        settings: SourceSettings,
        feed: Feed,
        line: LineClient,
        sinks: Sequence[SinkThread],
        tell: Callable[[Up], None],
        truths: Truths | None = None,
        files: TruthFolder | None = None,
    ) -> None:
        now = time.monotonic()
        self._settings, self._feed, self._line = settings, feed, line
        self._sinks, self._tell, self._truths = sinks, tell, truths or Truths()
        self._files, self._early = files, EarlyTruths()
        self._watch = PictureWatch(settings, feed.source.interval_s, now)
        self._looker = Looker(settings.frozen_difference)
        self._waiting: _Asked | None = None
        self._fallback = NO_FALLBACK
        self._beat_at = self._counted_at = now
        self._told_deciding = False
        self.decided = self.without_line = 0

    def turn(self) -> None:
        """Deal with one picture, or with none.

        Raises:
            HungSourceError: end the process.
        """
        now = time.monotonic()
        if now - self._beat_at >= BEAT_S:
            self._beat_at = now
            self._tell(Beat())
            for sink in self._sinks:
                sink.watch(now)
            self._count(now)
        self._pass_truths_on(now)
        if self._waiting is None:
            picture = self._feed.next(TURN_S)
            if picture is None:
                self._miss(time.monotonic())
                return
            self._waiting = self._look(picture)
        decision = self._line.ask(self._waiting.frame)
        if decision is not None:
            self._pass_on(self._waiting, decision)
        elif self._feed.source.live:
            self._answer_here(self._waiting)
        else:
            time.sleep(TURN_S)

    def close(self) -> None:
        """Stop reading, deliver what waits."""
        self._feed.close()
        self._line.close()
        for sink in self._sinks:
            sink.close()
        self._count(time.monotonic() + COUNTS_S)

    def _pass_truths_on(self, now: float) -> None:
        if self._files is not None:
            self._files.turn(now)
        source = self._feed.source
        for late in self._early.expired(now):
            self._line.tell(late)  # which knows no such item, and counts it
        while (outcome := self._truths.next()) is not None:
            if source.names_nothing_yet(outcome.item):
                self._early.keep(outcome, now)
                continue
            if not self._line.tell(msgspec.structs.replace(outcome, item=source.item_of(outcome.item))):
                self._truths.give_back(outcome)
                return

    def _miss(self, now: float) -> None:
        if self._feed.hung_s(now) > HUNG_S:
            raise HungSourceError(f"{self._feed.source.place} hangs in native code.")
        self._report(self._watch.silence(now, lost=bool(self._feed.lost)), None)

    def _look(self, picture: Picture) -> _Asked:
        """Judge a picture and make its frame; a wrong one travels without its pixels."""
        pixels, data = picture.pixels, b""
        look = DAMAGED
        if pixels is not None:
            data = pixels.tobytes()
            look = self._looker.look(pixels, data)
        fault, changes = self._watch.judge(look, time.monotonic())
        self._report(changes, picture)
        frame = Frame(
            item=picture.item,
            deadline_ms=self._settings.deadline_ms,
            shape=(look.height, look.width, 3),
            pixels=b"" if fault else data,
            fault=fault,
        )
        return _Asked(frame, fault, picture)

    def _pass_on(self, asked: _Asked, decision: Decision) -> None:
        self._waiting = None
        self.decided += 1
        if (early := self._early.take(self._feed.source.name_of(decision.item))) is not None:
            self._truths.give_back(early)
        if decision.source == "fallback":
            self._fallback = decision.label
        self._hand(asked, decision, asked.fault)
        if not asked.fault and not self._told_deciding:
            self._told_deciding = True
            self._tell(Deciding())

    def _answer_here(self, asked: _Asked) -> None:
        self._waiting = None
        self.without_line += 1
        decision = Decision(
            item=asked.frame.item, label=self._fallback, confidence=0.0, source="fallback", version=0
        )
        self._hand(asked, decision, asked.fault or NO_LINE)

    def _hand(self, asked: _Asked, decision: Decision, cause: str) -> None:
        record = DecisionRecord(
            item=decision.item,
            label=decision.label,
            confidence=decision.confidence,
            source=decision.source,
            version=decision.version,
            cause=cause,
            taken_at=asked.picture.taken_at,
            decided_at=time.time(),
        )
        for sink in self._sinks:
            sink.hand(record)

    def _report(self, changes: Sequence[Change], picture: Picture | None) -> None:
        place = self._feed.source.place
        detail = (picture.detail if picture else self._feed.lost) or ""
        for change in changes:
            error, sentence = said(change, place, detail, self._settings)
            self._tell((Began if change.begun else Over)(error, place, sentence))

    def _count(self, now: float) -> None:
        """Log the counts from time to time."""
        if now - self._counted_at < COUNTS_S:
            return
        self._counted_at = now
        _log.info(
            "%d pictures decided, %d answered without a line, %d skipped; %d decisions dropped.",
            self.decided,
            self.without_line,
            self._feed.skipped,
            sum(sink.dropped for sink in self._sinks),
        )
