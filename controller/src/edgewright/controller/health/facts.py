"""What the seven answers are made from: frozen values, read by ``reading`` and by nobody else.

Rates are shares from 0 to 1, times are seconds since the epoch. A value that is not there is None, and an
answer that needs it says so.
"""

from math import inf
from typing import Final, Literal

import msgspec

from edgewright.controller.evidence.confidence_sequence import Interval, rate_interval
from edgewright.controller.evidence.sources import weighted_error_rate
from edgewright.controller.evidence.version import VersionHealth
from edgewright.controller.model_toml import DriftPart
from edgewright.controller.web.words import Tone, plural
from edgewright.wire.histograms import SCHEMAS, Histogram

CENTRAL: Final = 0.99
"""Share of the frames in testing that the expected range of a signal holds; the rest lies beside it."""

EVEN: Final = 1e-6
"""Up to so small a part of their number labels may be worth less and still count as evenly chosen."""

_LOGARITHMIC: Final = ("latency_us", "sharpness")


class Promise(msgspec.Struct, frozen=True):
    """What testing showed of a version.

    Attributes:
        error_rate, tested: share of wrong decisions, and of how many held-out frames.
        harm_rate: from where on it is harm: the rate's upper bound and the tolerance.
        confidence: mean, None where the profile has none.
    """

    error_rate: float
    tested: int
    harm_rate: float
    confidence: float | None = None


class Labels(msgspec.Struct, frozen=True):
    """Decisions whose truth one source told, and their Horvitz-Thompson sums, as in ``Outcomes``.

    Without weights they count as evenly chosen.
    """

    labelled: int = 0
    wrong: int = 0
    weight: float = 0.0
    wrong_weight: float = 0.0
    weight_squares: float = 0.0

    @property
    def sums(self) -> tuple[float, float]:
        """Weight of all, and of the wrong ones."""
        return (self.weight, self.wrong_weight) if self.weight else (self.labelled, self.wrong)

    @property
    def rate(self) -> float | None:
        """Share of wrong decisions; None without any."""
        weight, wrong = self.sums
        return wrong / weight if weight else None

    @property
    def is_even(self) -> bool:
        """Whether the items were chosen with equal chances, so that their number says what they are worth."""
        return self.labelled - self._weighed[1] <= EVEN * self.labelled

    def interval(self, alpha: float) -> Interval:
        """The rate with its confidence sequence, at Kish's effective number of labels."""
        estimate, effective = self._weighed
        return rate_interval(effective, estimate * effective, alpha)

    @property
    def _weighed(self) -> tuple[float, float]:
        found = weighted_error_rate(*msgspec.structs.astuple(self))
        return found.rate.estimate, found.effective


class Told(msgspec.Struct, frozen=True):
    """Decisions whose truth one source told: how many, how many were wrong, since when.

    Attributes:
        interval: the error rate with its 95 % confidence sequence.
        from_onset: they are counted from where the monitor sees a rise begin: a beginning that was chosen by
            what came after it.
        source: who told; empty for the line.
        weighted: the rate is weighted by the chances with which the items were chosen.
    """

    labelled: int
    wrong: int
    interval: Interval
    since: float
    from_onset: bool = False
    source: str = ""
    weighted: bool = False


class LabelFree(msgspec.Struct, frozen=True):
    """The error rate as the version's own calibrated confidence has it, and of how many frames.

    ``unseen`` is the share of the frames whose confidence testing never showed: the more of them, the more
    the estimate is an extrapolation; ``trusted`` is False where it is too much of one.
    """

    interval: Interval
    frames: int
    unseen: float = 0.0
    trusted: bool = True


class Powered(msgspec.Struct, frozen=True):
    """The error rate from audits with the confidences of all frames as a help, and from how many audits."""

    interval: Interval
    audits: int


class Signal(msgspec.Struct, frozen=True):
    """One signal now and in testing, as counts by the wire's bins.

    Attributes:
        name: as windows call it.
        side: ``output`` of the model, or the ``input`` that it gets.
        schema: of the histograms.
        now, then: counts; ``then`` is empty where testing has none.
        invalid: values now that were no numbers.
    """

    name: str
    side: Literal["output", "input"]
    schema: str
    now: tuple[int, ...]
    then: tuple[int, ...]
    invalid: int = 0

    @property
    def frames(self) -> int:
        """How many values there are now."""
        return sum(self.now)

    @property
    def typical(self) -> tuple[float, float]:
        """Now and in testing: the mean, or the median where the scale is logarithmic."""
        return (self._middle(self.now), self._middle(self.then))

    @property
    def expected(self) -> tuple[float, float]:
        """The range that held the central 99 % of the frames in testing."""
        first, last = self._bins
        bounds = (-inf, *SCHEMAS[self.schema].edges, inf)
        return bounds[first], bounds[last + 1]

    @property
    def outside(self) -> float | None:
        """Share of the frames now beside that range; about 0.01 where nothing changed."""
        if not self.frames or not sum(self.then):
            return None
        first, last = self._bins
        return 1.0 - sum(self.now[first : last + 1]) / self.frames

    @property
    def moved(self) -> float | None:
        """Share of the frames that would have to lie elsewhere for now to look as testing did.

        The total variation distance of the two histograms, over their 64 bins.
        """
        now, then = self.frames, sum(self.then)
        if not now or not then:
            return None
        return sum(abs(a / now - b / then) for a, b in zip(self.now, self.then, strict=True)) / 2

    def quantile(self, q: float) -> float:
        """A quantile of the values now."""
        return Histogram(self.schema, self.now).quantile(q)

    @property
    def _bins(self) -> tuple[int, int]:
        """First and last bin of the expected range."""
        beside = (1.0 - CENTRAL) / 2 * sum(self.then)
        return _first_beyond(self.then, beside), len(self.then) - 1 - _first_beyond(self.then[::-1], beside)

    def _middle(self, counts: tuple[int, ...]) -> float:
        histogram = Histogram(self.schema, counts or None)
        return histogram.quantile(0.5) if self.schema in _LOGARITHMIC else histogram.mean()


def _first_beyond(counts: tuple[int, ...], beside: float) -> int:
    below = 0
    for i, count in enumerate(counts):
        below += count
        if below > beside:
            return i
    return 0


class ClassShare(msgspec.Struct, frozen=True):
    """A class's share of the decisions, now and in testing."""

    label: str
    now: float
    then: float | None


class Robot(msgspec.Struct, frozen=True):
    """One device that runs the version, over the span that is compared."""

    id: str
    frames: int = 0
    fallback: int = 0
    labels: Labels = Labels()
    confidence: float | None = None


class Change(msgspec.Struct, frozen=True):
    """A finding of the monitor; ``cause`` is an ``evidence.verdict.Cause``."""

    cause: str
    harm: bool
    sentence: str
    remedy: str
    since: float
    device: str = ""
    tag: str = ""
    closed_at: float = 0.0


class Deed(msgspec.Struct, frozen=True):
    """One thing that was done or happened; ``href`` is the page that tells more."""

    at: float
    sentence: str
    tone: Tone = "quiet"
    href: str = ""


class Action(msgspec.Struct, frozen=True):
    """Where the answer to an alarm stands: the alarm, its rebuild, its rollout; 0 and "" for what is not."""

    alarm: int = 0
    alarm_version: int = 0
    raised_at: float = 0.0
    closed_at: float = 0.0
    rebuild: int = 0
    rebuild_state: str = ""
    new_version: int = 0
    rollout: int = 0
    rollout_version: int = 0
    rollout_state: str = ""
    rollout_done: int = 0
    rollout_total: int = 0


class Fleet(msgspec.Struct, frozen=True):
    """Devices that run the model: on this version, how many of those are connected, on any version."""

    on_version: int = 0
    connected: int = 0
    on_model: int = 0


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one version of a model at one moment; see the parts.

    Attributes:
        labels: what was told lately by the source that most devices have, of those that are believed.
        others: what the other believed sources told; they may tell of the same items.
        audits: what people saw in frames of the last day that were chosen at random.
        older_audits: how many looks there were at random frames from before; they say nothing of now.
        distrusted: of each source of labels that audits have set aside, the sentence that says why.
        frames_an_hour: decisions of the version an hour, None without windows in the last hour.
        span_s: seconds that devices are compared over; robots are those of them with windows there.
        windows: how many of the newest windows the signals are made of.
        target: whose devices' windows; empty where all were tested as one.
        latency_limit_us: 99th percentile that the model may take on a device; 0 where none is declared.
        before: a version that a rollback could bring back, 0 for none.
    """

    model: str
    version: int
    state: str
    source: str = ""
    now: float
    drift: DriftPart = DriftPart()
    promise: Promise | None = None
    weighed: VersionHealth | None = None
    labels: Told | None = None
    others: tuple[Told, ...] = ()
    audits: Told | None = None
    older_audits: int = 0
    distrusted: tuple[str, ...] = ()
    label_free: LabelFree | None = None
    powered: Powered | None = None
    fleet: Fleet = Fleet()
    signals: tuple[Signal, ...] = ()
    classes: tuple[ClassShare, ...] = ()
    windows: int = 0
    target: str = ""
    frames: int = 0
    fallback: int = 0
    frames_an_hour: float | None = None
    latency_limit_us: int = 0
    robots: tuple[Robot, ...] = ()
    span_s: float = 0.0
    changes: tuple[Change, ...] = ()
    deeds: tuple[Deed, ...] = ()
    action: Action = Action()
    can_rebuild: bool = False
    before: int = 0

    @property
    def harmed(self) -> bool:
        """Whether evidence shows harm that has not ended, by the version or on one of its devices."""
        return self.is_at_fault or any(change.harm for change in self.open_changes)

    @property
    def is_at_fault(self) -> bool:
        """Whether it is the version that does harm, not one device or one tag of it.

        An alarm is no evidence of now: it tells what was found once.
        """
        found = any(c.harm and not c.device and not c.tag for c in self.open_changes)
        return found or bool(self.weighed and self.weighed.harmed)

    @property
    def counted(self) -> str:
        """What signals were counted in, in words."""
        return plural(self.windows, "window") + (f" of {self.target}" if self.target else "")

    @property
    def open_changes(self) -> tuple[Change, ...]:
        """Findings that hold still, the harmful ones first, then the newest."""
        still = (change for change in self.changes if not change.closed_at)
        return tuple(sorted(still, key=lambda change: (not change.harm, -change.since)))
