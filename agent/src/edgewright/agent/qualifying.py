"""Measures candidates that the director orders, beside the device's own work and never instead of it.

Rules:

- Nobody's candidates are measured unless the device's owner has said so in agent.toml; then the device has
  subscribed to the topic at all.
- A deployment comes first: while one is under way no trial begins, and one that runs is called off and begins
  again later. Nothing that is measured here is ever loaded by the line.
- Persist first: an order is accepted, a start counted and a result put into the outbox in a commit each,
  before anything follows from it. After a kill the open candidate begins again, at most ``MOST_STARTS`` times
  in all. What counts is the start of its process: neither its transfer nor an end that somebody ordered.
- The owner's bounds hold whatever an order says: seconds and memory of a trial, minutes of a day, the bytes
  of the day, the room of the store. Files go when their candidate has its result. The seconds that a trial
  may take are spent before it begins and what is left of them comes back after its end, whoever ends it:
  no order, no replacement of an order and no kill makes a trial that is not counted.
- A candidate fails by what its own process does. No room, no runtime and bytes that do not come whole are
  the device's trouble; it says so and judges nothing.
"""

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

import msgspec

from edgewright.agent.agreement import DirectorTrust, ImageTarget, Standing
from edgewright.agent.candidatework import Brought, CalledOff, Ended, Tried, Try
from edgewright.agent.ledger import Ledger
from edgewright.agent.qualificationorder import InspectedOrder, QualificationOrder, verify_qualification
from edgewright.agent.qualifier import Qualifier, qualify
from edgewright.agent.settings import QualificationSettings, Settings
from edgewright.agent.trial import LOWEST_PRIORITY, Bounds
from edgewright.agent.trials import Open, Trials
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.errors import (
    EdgewrightError,
    RebootLoopError,
    RunnerCrashError,
    RunnerHangError,
    RunnerMemoryError,
)
from edgewright.wire.messages import Release
from edgewright.wire.qualification import LONGEST_LIFE_SECONDS, Measured

MOST_STARTS: Final = 3
"""Trials of one candidate that may end with the agent: the third says that it takes the device with it."""

BUSY_SECONDS: Final = 60.0
"""After a day's minutes are spent it is looked this often whether another day has begun."""

_ITS_OWN: Final = (RebootLoopError, RunnerCrashError, RunnerHangError, RunnerMemoryError)
"""Errors without a result that say something of the candidate: how its process ended."""

log = logging.getLogger(__name__)


def trial_of(settings: Settings) -> Qualifier:
    """How a candidate's trial runs on this device: with what is left of it, within its owner's bounds."""
    bounds = Bounds(settings.qualification.seconds, settings.qualification.memory_mb)
    runtime = settings.runtime
    return partial(
        qualify,
        environments=runtime.environments,
        threads=runtime.threads,
        most=bounds,
        niceness=LOWEST_PRIORITY,
    )


class Doorkeeper(Protocol):
    """What the gate of assignments knows and does for orders as well."""

    def standing(self) -> Standing:
        """What the device knows now."""

    @property
    def signed_time(self) -> float:
        """The newest time that was signed for this device."""

    @property
    def director_root(self) -> int:
        """Version of the newest root of the director that was ever trusted."""

    def trusts(self, trust: DirectorTrust) -> None:
        """Remember what the director's newest verified root says."""

    def outdated(self, found: InspectedOrder | EdgewrightError) -> bool:
        """Whether a newer root was trusted since a document was verified."""

    def refused(self, error: EdgewrightError, raw: bytes = b"") -> None:
        """Report that something signed was not taken."""


class OrderDesk(Protocol):
    """Who verifies signatures; ``documents.DocumentDesk`` is one."""

    def put_order(
        self, raw: bytes, floor: int, done: Callable[[InspectedOrder | EdgewrightError], None]
    ) -> None:
        """Verify an order; ``done`` is called on the loop."""


class Qualifying:
    """Drives the trials of one device.

    Args:
        settings: the owner's bounds.
        gate: what the device knows, and where refusals go.
        desk: verifies orders.
        trials: what is remembered.
        ledger: where results go.
        submit: gives a job to the worker.
        is_free: whether no deployment is under way.
        collect: removes files that nothing needs.
        monotonic: seconds that only grow.
    """

    def __init__(
        self,
        settings: QualificationSettings,
        gate: Doorkeeper,
        desk: OrderDesk,
        trials: Trials,
        ledger: Ledger,
        submit: Callable[[Try], None],
        is_free: Callable[[], bool],
        collect: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._gate, self._desk = settings, gate, desk
        self._trials, self._ledger = trials, ledger
        self._submit, self._is_free, self._collect, self._monotonic = submit, is_free, collect, monotonic
        self._doing: Try | None = None
        self._began = 0.0
        self._brought: ImageTarget | None = None
        self._not_before = 0.0

    def document(self, raw: bytes) -> None:
        """An order lies on this device's topic."""
        if self._settings.accept and sha256_hex(raw) != self._trials.accepted.sha256:
            self._desk.put_order(raw, self._gate.director_root, lambda found: self._inspected(raw, found))

    def _inspected(self, raw: bytes, found: InspectedOrder | EdgewrightError) -> None:
        if self._gate.outdated(found):
            self.document(raw)
            return
        try:
            if isinstance(found, EdgewrightError):
                raise found
            self._gate.trusts(found.trust)
            if verify_qualification(found.order, self._gate.standing(), self._trials.accepted):
                self._accept(found.order)
        except EdgewrightError as error:
            self._gate.refused(error, raw)
        self.drive()

    def told(self, ended: Ended) -> None:
        """A try ended."""
        took = ended.seconds if isinstance(ended, Tried) else self._elapsed
        current = self._open(ended.order, ended.sha256)
        with self._ledger.transaction():
            self._give_back(took)
            if current is not None:
                self._take(current, ended)
        self._doing = None
        self._brought = current.target if current is not None and isinstance(ended, Brought) else None
        if current is not None and isinstance(ended, Tried):
            self._collect()
        self.drive()

    def stop(self) -> None:
        """The agent ends because somebody said so: a trial that runs ends with it and has done nothing."""
        if self._doing is None:
            return
        current = self._open(self._doing.order, self._doing.candidate.sha256)
        with self._ledger.transaction():
            if current is not None and self._is_on_trial:
                self._trials.forget_start(current)
            self._give_back(self._elapsed)
        self._doing = None

    def drive(self) -> None:
        """Order the next try, where one is in order; called after every event, and by the clock."""
        if self._doing is not None or self._monotonic() < self._not_before:
            return
        current = next(iter(self._trials.open()), None)
        if current is None:
            return
        now = self._gate.standing().now
        if not self._settings.accept or now >= self._trials.expires:
            self._expire()
        elif not self._is_free():
            return
        elif current.starts >= MOST_STARTS:
            said = f"The agent ended {current.starts} times while this candidate was on trial."
            self._close(current, self._failed(current, RebootLoopError(said)))
        elif self._trials.spent(now) >= self._settings.day_minutes * 60:
            self._not_before = self._monotonic() + BUSY_SECONDS
        else:
            self._begin(current, now)

    def _begin(self, current: Open, now: float) -> None:
        is_trial = self._brought == current.target
        if is_trial:
            with self._ledger.transaction():
                self._trials.count_start(current)
                self._trials.spend(self._settings.seconds, now)
        self._began = self._monotonic()
        number = self._trials.accepted.version
        self._doing = Try(number, current.target, now, self._gate.signed_time, is_trial)
        self._submit(self._doing)

    @property
    def _is_on_trial(self) -> bool:
        return self._doing is not None and self._doing.is_trial

    @property
    def _elapsed(self) -> float:
        """Seconds since the trial that runs was ordered; 0 where none does."""
        return self._monotonic() - self._began if self._is_on_trial else 0.0

    def _give_back(self, took: float) -> None:
        """What a trial took stands for what was spent ahead."""
        ahead = self._settings.seconds if self._is_on_trial else 0.0
        self._trials.spend(took - ahead, self._gate.standing().now)

    def _open(self, order: int, sha256: str) -> Open | None:
        """The candidate whose turn it is, if it is this one of the accepted order."""
        current = next(iter(self._trials.open()), None)
        mine = order == self._trials.accepted.version and current and current.target.sha256 == sha256
        return current if mine else None

    def _accept(self, order: QualificationOrder) -> None:
        """Remember an order; whatever date it carries, it is open no longer than any honest one from now."""
        last = self._gate.standing().now + LONGEST_LIFE_SECONDS
        self._trials.accept(msgspec.structs.replace(order, expires=min(order.expires, last)))
        self._not_before = 0.0
        log.info("Order %d asks for %d candidates.", order.version, len(order.candidates))

    def _take(self, current: Open, ended: Ended) -> None:
        """Write down what follows from a try of this candidate; called within a commit."""
        match ended:
            case Tried(error=error, retry_after=pause) if pause is not None:
                self._not_before = self._monotonic() + pause
                log.info("A candidate waits: %s", error)
            case Tried():
                self._report(current, self._measured(current, ended))
                self._trials.close(current)
            case CalledOff() if self._is_on_trial:
                self._trials.forget_start(current)

    def _close(self, current: Open, measured: Measured) -> None:
        with self._ledger.transaction():
            self._report(current, measured)
            self._trials.close(current)
        self._collect()
        self.drive()

    def _expire(self) -> None:
        left = len(self._trials.open())
        number = self._trials.accepted.version
        said = f"Order {number} ended with {left} candidates that were not measured."
        with self._ledger.transaction():
            self._ledger.report(None, name="QualificationExpired", detail=said)
            self._trials.drop()
        self._collect()

    def _report(self, current: Open, measured: Measured) -> None:
        """One report, without an error of its own: that a candidate fails is no fault of the device."""
        custom = current.target.custom
        release = Release(custom.model, custom.version, current.target.sha256)
        failed = "CandidateUnmeasured" if measured.unmeasured else "CandidateFailed"
        name = "CandidateMeasured" if measured.ok else failed
        self._ledger.report_about(release, name=name, detail=_words(current, measured), measured=measured)

    def _measured(self, current: Open, ended: Tried) -> Measured:
        if ended.result is None:
            assert ended.error is not None, "a try ends with a result or an error"
            return self._failed(current, ended.error, ended.runtime)
        result = ended.result
        return Measured(
            order=ended.order,
            manifest_sha256=ended.sha256,
            ok=result.ok,
            error=result.error,
            detail=result.detail,
            worst_difference=result.worst_difference,
            latency_p50_us=result.latency_p50_us,
            latency_p99_us=result.latency_p99_us,
            memory_mb=result.memory_mb,
            threads=result.threads,
            placement=result.placement,
            runtime=ended.runtime,
        )

    def _failed(self, current: Open, error: EdgewrightError, runtime: str = "") -> Measured:
        return Measured(
            order=self._trials.accepted.version,
            manifest_sha256=current.target.sha256,
            ok=False,
            error=error.number,
            detail=error.sentence,
            runtime=runtime,
            unmeasured=not isinstance(error, _ITS_OWN),
        )


def _words(current: Open, measured: Measured) -> str:
    """For people, in one sentence."""
    what = f"The candidate {current.target.path}"
    if measured.unmeasured:
        return f"{what} could not be measured here: {measured.detail}"
    if not measured.ok:
        return f"{what} failed here: {measured.detail}"
    return (
        f"{what} does here: p50 {measured.latency_p50_us} us, p99 {measured.latency_p99_us} us, "
        f"{measured.memory_mb:.0f} MiB, golden difference {measured.worst_difference:.5f}."
    )
