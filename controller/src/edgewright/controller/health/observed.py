"""What windows, profiles and audits show of a version: signals, classes and estimates of the error rate.

Read for ``reading``, and bounded as it says.
"""

from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgewright.controller.blobs import BlobStore
from edgewright.controller.database import Session, case, col, func, select
from edgewright.controller.database.evidencetables import Label
from edgewright.controller.database.tables import Artifact, ModelVersion, Sample, Window
from edgewright.controller.evidence.calibration import Calibration
from edgewright.controller.evidence.confidence_sequence import Interval, rate_interval
from edgewright.controller.evidence.labelfree import MOST_UNSEEN, estimate, unseen_share
from edgewright.controller.evidence.prediction_powered import AuditedItem, accuracy_weighed
from edgewright.controller.evidence.reference import read_reference
from edgewright.controller.evidence.summing import sum_windows
from edgewright.controller.health.facts import ClassShare, LabelFree, Powered, Promise, Signal, Told
from edgewright.controller.labels import AUDIT
from edgewright.controller.model_toml import DriftPart
from edgewright.wire import messages
from edgewright.wire.errors import EdgewrightError, MessageError
from edgewright.wire.histograms import Histogram

ALPHA: Final = 0.05
DAY_S: Final = 86400.0

MOST_WINDOWS: Final = 300
"""Windows whose histograms are read: unpacking one takes 0.1 ms."""

MOST_AUDITS: Final = 2000

FEW_AUDITS: Final = 30
"""With fewer the interval's distribution is no good approximation."""

SIGNALS: Final = (
    ("confidence", "output"),
    ("margin", "output"),
    ("entropy", "output"),
    ("latency_us", "output"),
    ("brightness", "input"),
    ("contrast", "input"),
    ("sharpness", "input"),
    ("saturation", "input"),
)
"""What is compared, in the order in which it is shown."""

_choose: Any = select
"""SQLModel's types know at most four columns."""


class Profile(msgspec.Struct, frozen=True):
    """The entries of ``compiler.reference_profile.ReferenceProfile`` that are read here."""

    histograms: dict[str, bytes]
    classes: dict[str, int] = {}


class Tested(msgspec.Struct, frozen=True):
    """What testing left: the promise, and the profile that it stands in."""

    promise: Promise | None = None
    profile: Profile = Profile({})


class _Counts(NamedTuple):
    """A histogram that nobody changes."""

    schema: str
    bins: NDArray[np.int64]
    invalid: int


class Windows(msgspec.Struct, frozen=True):
    """The newest windows, added up."""

    number: int
    frames: int
    fallback: int
    histograms: dict[str, Histogram]
    classes: dict[str, int]


def read_tested(session: Session, blobs: BlobStore, row: ModelVersion, drift: DriftPart) -> Tested:
    """Of the target whose promise is the weakest, which is the one that all keep; as the monitor does."""
    statement = select(Artifact.profile_sha256).where(
        col(Artifact.model) == row.model, col(Artifact.version) == row.version
    )
    found = [_read_profile(blobs, sha256, drift) for sha256 in set(session.exec(statement)) if sha256]
    return max(
        found, key=lambda tested: tested.promise.harm_rate if tested.promise else 0.0, default=Tested()
    )


def _read_profile(blobs: BlobStore, sha256: str, drift: DriftPart) -> Tested:
    try:
        data = blobs.read(sha256)
        reference = read_reference(data)
        profile = msgspec.json.decode(data, type=Profile)
    except EdgewrightError:
        return Tested()  # an answer without its reference is better than none
    confidence = 1.0 - reference.doubt if reference.doubt_n else None
    harm_rate = reference.harm_rate(drift.harm_tolerance)
    return Tested(Promise(reference.error_rate, reference.error_rate_n, harm_rate, confidence), profile)


def read_windows(session: Session, row: ModelVersion, now: float) -> Windows:
    """The newest windows of the last day; those in the grace after a changeover stand for nothing."""
    statement = (
        select(Window.payload)
        .where(col(Window.model) == row.model, col(Window.version) == row.version)
        .where(col(Window.ts) >= now - DAY_S)
        .order_by(col(Window.ts).desc())
        .limit(MOST_WINDOWS)
    )
    found = [window for payload in session.exec(statement) if (window := _decoded(payload))]
    total = sum_windows(found)
    return Windows(
        number=total.number,
        frames=total.frames,
        fallback=total.by_source.get("fallback", 0),
        histograms=total.histograms,
        classes=total.classes,
    )


def _decoded(payload: bytes) -> messages.Window | None:
    try:
        message = messages.decode_up(payload)
    except MessageError:
        return None  # of an older controller, or damaged
    return message if isinstance(message, messages.Window) and not message.grace else None


def _unpacked(data: bytes) -> Histogram | None:
    try:
        return Histogram.unpack(data)
    except MessageError:
        return None


def signals_of(windows: Windows, profile: Profile) -> tuple[Signal, ...]:
    """Each signal now beside testing; one whose histogram has another schema than testing's has no past."""
    found = []
    for name, side in SIGNALS:
        now = windows.histograms.get(name)
        if now is None:
            continue
        packed = profile.histograms.get(name)
        then = _unpacked(packed) if packed else None
        same = then is not None and then.schema == now.schema
        before = tuple(then.counts) if then is not None and same else ()
        side_of: Any = side
        found.append(Signal(name, side_of, now.schema, tuple(now.counts), before, now.invalid))
    return tuple(found)


def label_free(windows: Windows, profile: Profile) -> LabelFree | None:
    """The error rate by calibrated confidence; a window counts as one independent frame, to be cautious."""
    confidence = windows.histograms.get("confidence")
    calibration = _curve(profile)
    if calibration is None or confidence is None or not confidence.total:
        return None
    accuracy = estimate(confidence, calibration, effective=float(windows.number))
    unseen = unseen_share(confidence, calibration)
    wrong = Interval(1.0 - accuracy.high, 1.0 - accuracy.estimate, 1.0 - accuracy.low)
    return LabelFree(wrong, confidence.total, unseen, unseen <= MOST_UNSEEN)


def _curve(profile: Profile) -> Calibration | None:
    labelled, right = (profile.histograms.get(name) for name in ("labelled_confidence", "right_confidence"))
    return _calibration(labelled, right) if labelled and right else None


@lru_cache(maxsize=256)
def _calibration(labelled: bytes, right: bytes) -> Calibration | None:
    """The curve of a profile, which never changes; None where the profile has none that can be fitted."""
    of_all, of_right = _unpacked(labelled), _unpacked(right)
    if of_all is None or of_right is None or not of_all.total:
        return None
    try:
        return Calibration.fit(of_all, of_right)
    except ValueError:
        return None


def classes_of(windows: Windows, profile: Profile) -> tuple[ClassShare, ...]:
    """The classes of the decisions now beside testing, the most frequent first."""
    now, then = sum(windows.classes.values()), sum(profile.classes.values())
    if not now:
        return ()
    labels = sorted({*windows.classes, *profile.classes}, key=lambda label: -windows.classes.get(label, 0))
    return tuple(
        ClassShare(
            label, windows.classes.get(label, 0) / now, profile.classes.get(label, 0) / then if then else None
        )
        for label in labels
    )


def powered(session: Session, row: ModelVersion, windows: Windows, profile: Profile) -> Powered | None:
    """The error rate from the newest random audits, with the confidences of all frames as a help."""
    confidence, calibration = windows.histograms.get("confidence"), _curve(profile)
    if confidence is None or not confidence.total or calibration is None:
        return None
    statement = (
        _choose(Sample.confidence, Label.truth, Sample.label, Sample.probability)
        .join(Label, (col(Label.device) == col(Sample.device)) & (col(Label.item) == col(Sample.item)))
        .where(*_is_random_audit(row))
        .order_by(col(Label.at).desc())
        .limit(MOST_AUDITS)
    )
    items = [
        AuditedItem(sure, truth == said, chance)
        for sure, truth, said, chance in session.exec(statement)
        if 0.0 < chance <= 1.0
    ]
    if len(items) < FEW_AUDITS:
        return None
    found = accuracy_weighed(confidence, items, calibration, effective=float(windows.number))
    return Powered(Interval(1.0 - found.high, 1.0 - found.estimate, 1.0 - found.low), len(items))


def _is_random_audit(row: ModelVersion) -> tuple[Any, ...]:
    return (
        col(Label.model) == row.model,
        col(Label.version) == row.version,
        col(Label.source) == AUDIT,
        col(Label.truth) != "",
        col(Sample.reason) == "random",
    )


def audits(session: Session, row: ModelVersion) -> Told | None:
    """What people saw in frames that were captured at random: those alone say the rate of all."""
    label, sample = (col(Label.device), col(Label.item)), (col(Sample.device), col(Sample.item))
    wrong = func.sum(case((col(Label.truth) != col(Sample.label), 1), else_=0))
    statement = (
        select(func.count(), wrong, func.min(col(Label.at)))
        .join(Sample, (label[0] == sample[0]) & (label[1] == sample[1]))
        .where(*_is_random_audit(row))
    )
    labelled, bad, since = session.exec(statement).one()
    if not labelled:
        return None
    return Told(labelled, int(bad), rate_interval(labelled, int(bad), ALPHA), since)
