"""Captured frames, from the draw to the sample that goes up: ``sampler`` draws, this keeps.

A drawn frame is redacted and made a PNG beside the loop (``developing``); its bytes are taken from the
budgets then (``allowance``). After that it waits in memory for the truth of its item, within bounds of time,
number and bytes, and goes up with it or without: a random draw whose truth nobody told is what a person
labels, and an audit without those would be one of the items that the machine can tell of.

What was drawn and does not go up is counted by its cause and told (``GivenUp``): too large, not redacted,
withheld by the site's function, or a day's budget that could not be written down.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgewright.agent.control import GivenUp, SampleReady, Trouble, Up
from edgewright.agent.line.allowance import Allowance, Factors, PurseName
from edgewright.agent.line.deciding import Ruling
from edgewright.agent.line.developing import NOT_TO_BE_KEPT, DarkRoom, Developed
from edgewright.agent.line.familiar import Vector
from edgewright.agent.line.sampler import DISAGREEING, Draw, Sampler, Shares
from edgewright.agent.settings import CaptureSettings
from edgewright.wire.cell import Frame
from edgewright.wire.errors import ConfigurationError
from edgewright.wire.messages import MAX_IMAGE_BYTES, Sample

WAITING_SAMPLES: Final = 128
WAITING_S: Final = 120.0
WAITING_BYTES: Final = 32 * 1024 * 1024
MAX_SAMPLE_BYTES: Final = MAX_IMAGE_BYTES
TELL_AGAIN_S: Final = 600.0
"""Between two reports that the redactor fails."""

_MIB: Final = 1024 * 1024
_SHUT: Final = Factors(0.0, 0.0)
_log = logging.getLogger(__name__)


class WaitingSamples:
    """Captured samples whose truth has not come; bounded in number, bytes and age."""

    def __init__(self, send: Callable[[Sample], None], wait_s: float = WAITING_S) -> None:
        self._send, self._wait_s = send, wait_s
        self._waiting: dict[str, tuple[float, Sample]] = {}
        self._bytes = 0

    def keep(self, sample: Sample, now: float) -> None:
        """Keep a sample until its truth comes; the oldest ones go up without."""
        if sample.item in self._waiting:
            self._let_go(sample.item)
        size = len(sample.image)
        while self._waiting and (len(self._waiting) >= WAITING_SAMPLES or self._bytes + size > WAITING_BYTES):
            self._let_go(next(iter(self._waiting)))
        self._waiting[sample.item] = (now, sample)
        self._bytes += size

    def label(self, item: str, truth: str, source: str = "") -> None:
        """Send the item's sample with its truth, if there is one."""
        if item in self._waiting:
            self._send(msgspec.structs.replace(self._take(item), truth=truth, source=source))

    def expire(self, now: float) -> None:
        """Let samples go that have waited too long."""
        for item in [item for item, (since, _) in self._waiting.items() if now - since > self._wait_s]:
            self._let_go(item)

    def close(self) -> None:
        """Let all samples go."""
        for item in list(self._waiting):
            self._let_go(item)

    def _let_go(self, item: str) -> None:
        self._send(self._take(item))

    def _take(self, item: str) -> Sample:
        _, sample = self._waiting.pop(item)
        self._bytes -= len(sample.image)
        return sample


class CapturePlan(NamedTuple):
    """What a line captures.

    Attributes:
        share: of all frames, the random audit; 0 captures nothing but what a candidate disagrees about.
        settings: all else.
        folder: where the day's budget is kept, and older decisions; None keeps none.
        memory_bytes: what older decisions may take there.
    """

    share: float = 0.0
    settings: CaptureSettings = CaptureSettings()
    folder: Path | None = None
    memory_bytes: int = 0


class _Drawn(NamedTuple):
    """A frame that was drawn, without its picture; its truth may have come already."""

    sample: Sample
    purse: PurseName


class Capture:
    """The samples of one line. All times are seconds, monotonic, but ``wall``.

    Args:
        send: takes what the supervisor shall know.
        device: whose samples.
        plan: what to capture.
        random: where the chances come from.
        now: the time.

    Attributes:
        sampler: who draws.
        given_up: frames that were drawn and did not become samples, by why.
    """

    def __init__(
        self, send: Callable[[Up], None], device: str, plan: CapturePlan, random: Random, now: float
    ) -> None:
        settings = plan.settings
        self._send, self._device = send, device
        difference = settings.duplicate_difference / 255
        self.sampler = Sampler(Shares.of(plan.share, settings), difference, random)
        self._allowance = Allowance(settings.bytes_per_second, settings.day_mb * _MIB, plan.folder, now)
        self._room = DarkRoom(settings.masks, settings.redactor, settings.redactor_ms / 1000)
        self._drawn: dict[int, _Drawn] = {}
        self._waiting = WaitingSamples(lambda sample: send(SampleReady(sample)), settings.wait_seconds)
        self.given_up: dict[str, int] = {}
        self._untold: dict[str, GivenUp] = {}
        self._told_at = self._closed_at = -TELL_AGAIN_S
        self._closed_told = 0

    @property
    def ready(self) -> bool:
        """Whether one more frame can be taken; without that its chances are 0."""
        return self._room.room

    def see(
        self, frame: Frame, ruling: Ruling, thumbnail: NDArray[np.uint8], model: str, now: float, wall: float
    ) -> None:
        """Draw, or not, a frame that was decided and has a picture.

        Args:
            frame: the frame.
            ruling: how it was decided.
            thumbnail: what it looks like, in few pixels (``preprocess.Look``).
            model: that runs.
            now: the time, monotonic.
            wall: the same, since the epoch.
        """
        if not self.sampler.on:
            return
        factors = self._allowance.factors(now) if self.ready else _SHUT
        confidence = None if ruling.scores is None else ruling.decision.confidence
        drawn = self.sampler.draw(factors, lambda: appearance(thumbnail), ruling.decision.label, confidence)
        if drawn is not None:
            self._keep(frame, ruling, drawn, model, wall)

    def disagreed(self, frame: Frame, ruling: Ruling, model: str, now: float, wall: float) -> None:
        """Capture a frame of which a shadowed candidate says something else, while there is room for it."""
        if self.ready and self._allowance.factors(now).hard:
            self._keep(frame, ruling, DISAGREEING, model, wall)

    def label(self, item: str, truth: str, source: str = "") -> None:
        """The truth of an item has come, and who told it."""
        for number, drawn in self._drawn.items():
            if drawn.sample.item == item:
                labelled = msgspec.structs.replace(drawn.sample, truth=truth, source=source)
                self._drawn[number] = drawn._replace(sample=labelled)
        self._waiting.label(item, truth, source)

    def tick(self, now: float) -> None:
        """Take what was developed, let go what has waited too long."""
        for done in self._room.take(now):
            self._developed(done, now)
        self._waiting.expire(now)

    def tell(self, now: float) -> None:
        """Tell what was given up since the last call."""
        for lost in self._untold.values():
            self._send(lost)
        self._untold.clear()
        closed = self.sampler.closed - self._closed_told
        if closed and now - self._closed_at >= TELL_AGAIN_S:
            self._closed_at, self._closed_told = now, self.sampler.closed
            _log.info("%d frames had no chance of being captured: a budget is spent, or no room", closed)

    def close(self, now: float) -> None:
        """Let everything go that is drawn by now."""
        self._room.close()
        self.tick(now)
        self._waiting.close()
        self.tell(now)
        self._allowance.end(now)

    def _keep(self, frame: Frame, ruling: Ruling, drawn: Draw, model: str, wall: float) -> None:
        decision = ruling.decision
        if ruling.image is None:
            return
        sample = Sample(
            device=self._device,
            stream="",
            seq=0,
            taken_at=wall,
            item=frame.item,
            tag=frame.tag,
            model=model,
            version=decision.version,
            label=decision.label,
            confidence=decision.confidence,
            truth=None,
            reason=drawn.reason,
            probability=drawn.probability,
            image=b"",
        )
        purse: PurseName = "audit" if drawn.reason == "random" else "hard"
        self._drawn[self._room.hand_over(frame.item, ruling.image)] = _Drawn(sample, purse)

    def _developed(self, done: Developed, now: float) -> None:
        sample, purse = self._drawn.pop(done.number)
        if not done.png:
            self._give_up(sample, done.said)
            if done.said != NOT_TO_BE_KEPT and now - self._told_at >= TELL_AGAIN_S:
                self._told_at = now
                self._send(Trouble(ConfigurationError.number, f"Frames are not captured. {done.said}"))
        elif len(done.png) > MAX_SAMPLE_BYTES:
            self._give_up(sample, "Its picture was too large.")
        elif not self._allowance.take(purse, len(done.png), now):
            self._give_up(sample, "The day's budget could not be written down.")
        elif sample.truth is not None:
            self._send(SampleReady(msgspec.structs.replace(sample, image=done.png)))
        else:
            self._waiting.keep(msgspec.structs.replace(sample, image=done.png), now)

    def _give_up(self, sample: Sample, why: str) -> None:
        self.given_up[why] = self.given_up.get(why, 0) + 1
        before = self._untold.get(why)
        if before is None:
            _log.warning("A captured frame is given up. %s", why)
        self._untold[why] = GivenUp(
            what="sample",
            since=before.since if before else sample.taken_at,
            until=sample.taken_at,
            messages=before.messages + 1 if before else 1,
            why=why,
        )


def appearance(thumbnail: NDArray[np.uint8]) -> Vector:
    """A thumbnail as a vector, 0 to 1: for what is novel and what is nearly the same."""
    return thumbnail.reshape(-1).astype(np.float32) * np.float32(1 / 255)
