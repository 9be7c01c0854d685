"""What windows and profiles show of a version: signals, classes and estimates of the error rate.

Read for ``reading``, and bounded as it says.
"""

from collections.abc import Collection, Sequence
from functools import lru_cache
from math import inf
from typing import Any, Final

import msgspec

from edgewright.controller.blobs import BlobStore
from edgewright.controller.database import Session, col, func, select
from edgewright.controller.database.tables import Artifact, Device, ModelVersion, Window
from edgewright.controller.evidence.calibration import Calibration
from edgewright.controller.evidence.confidence_sequence import Interval
from edgewright.controller.evidence.labelfree import MOST_UNSEEN, estimate, unseen_share
from edgewright.controller.evidence.plausible import why_impossible
from edgewright.controller.evidence.prediction_powered import accuracy_weighed
from edgewright.controller.evidence.reference import read_reference
from edgewright.controller.evidence.summing import WindowSum, sum_windows
from edgewright.controller.health.facts import ClassShare, LabelFree, Powered, Promise, Signal
from edgewright.controller.health.labelled import DAY_S, Look
from edgewright.controller.model_toml import DriftPart
from edgewright.wire import messages
from edgewright.wire.errors import EdgewrightError, MessageError
from edgewright.wire.histograms import Histogram

MOST_WINDOWS: Final = 300
"""Windows whose histograms are read: unpacking one takes 0.1 ms."""

QUARTER_S: Final = 900.0
MOST_OF_QUARTER: Final = 3
"""So that as many windows of a day are read as of now."""

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
"""SQLModel's types know some columns only."""


class Profile(msgspec.Struct, frozen=True):
    """The entries of ``compiler.reference_profile.ReferenceProfile`` that are read here."""

    histograms: dict[str, bytes]
    classes: dict[str, int] = {}


class Tested(msgspec.Struct, frozen=True):
    """What testing left: the promise, and a profile with its target; empty where it is of all."""

    promise: Promise | None = None
    profile: Profile = Profile({})
    target: str = ""


class Windows(msgspec.Struct, frozen=True):
    """The newest windows, added up."""

    number: int
    frames: int
    fallback: int
    histograms: dict[str, Histogram]
    classes: dict[str, int]


def read_tested(session: Session, blobs: BlobStore, row: ModelVersion, drift: DriftPart) -> Tested:
    """The weakest promise, which all targets keep, with the profile of the target that most devices have.

    Each target decides a little otherwise, so its windows are held against its own profile only.
    """
    statement = _choose(Artifact.target, Artifact.profile_sha256).where(
        col(Artifact.model) == row.model, col(Artifact.version) == row.version
    )
    profiles = {target: sha256 for target, sha256 in session.exec(statement) if sha256}
    found = {sha256: _read_profile(blobs, sha256, drift) for sha256 in set(profiles.values())}
    weakest = max(
        found.values(), key=lambda it: it.promise.harm_rate if it.promise else 0.0, default=Tested()
    )
    target = _usual_target(session, row, profiles) if len(found) > 1 else ""
    return Tested(weakest.promise, found[profiles[target]].profile, target) if target else weakest


def _usual_target(session: Session, row: ModelVersion, among: Collection[str]) -> str:
    """The target of most devices that run a version; empty where none of these targets has any."""
    statement = (
        select(Device.target)
        .where(col(Device.active_model) == row.model, col(Device.active_version) == row.version)
        .where(col(Device.revoked_at) == 0.0, col(Device.target).in_(among))
        .group_by(col(Device.target))
        .order_by(func.count().desc(), col(Device.target))
        .limit(1)
    )
    return session.exec(statement).first() or ""


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


def read_windows(session: Session, row: ModelVersion, now: float, target: str = "") -> Windows:
    """The newest windows of the last day, of one target's devices if so asked.

    Those in the grace after a changeover stand for nothing.
    """
    return _summed(_newest(session, row, now - DAY_S, inf, MOST_WINDOWS, target))


def read_day(session: Session, row: ModelVersion, now: float) -> Windows:
    """Windows from all of the last day: of each quarter of an hour the newest few."""
    starts = (now - (i + 1) * QUARTER_S for i in range(round(DAY_S / QUARTER_S)))
    return _summed(
        [w for start in starts for w in _newest(session, row, start, start + QUARTER_S, MOST_OF_QUARTER)]
    )


def _newest(
    session: Session, row: ModelVersion, start: float, end: float, most: int, target: str = ""
) -> list[messages.Window]:
    statement = (
        select(Window.payload)
        .where(col(Window.model) == row.model, col(Window.version) == row.version)
        .where(col(Window.ts) >= start, col(Window.ts) < end)
        .order_by(col(Window.ts).desc())
        .limit(most)
    )
    if target:
        devices = select(Device.id).where(col(Device.target) == target)
        statement = statement.where(col(Window.device).in_(devices))
    return [window for payload in session.exec(statement) if (window := _decoded(payload))]


def _decoded(payload: bytes) -> messages.Window | None:
    """A window that can be read, is not in grace, and that an honest device can have sent."""
    try:
        message = messages.decode_up(payload)
    except MessageError:
        return None  # of an older controller, or damaged
    if not isinstance(message, messages.Window) or message.grace or why_impossible(message):
        return None
    return message


def _summed(windows: Sequence[messages.Window]) -> Windows:
    total = sum_windows(windows)
    if _is_inflated(total):
        total = sum_windows([window for window in windows if not _is_inflated(sum_windows([window]))])
    return Windows(
        number=total.number,
        frames=total.frames,
        fallback=total.by_source.get("fallback", 0),
        histograms=total.histograms,
        classes=total.classes,
    )


def _is_inflated(total: WindowSum) -> bool:
    """Whether a signal has more values than there were frames, which no honest device sends."""
    found = (total.histograms[name] for name, _ in SIGNALS if name in total.histograms)
    return any(histogram.total + histogram.invalid > total.frames for histogram in found)


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


def powered(
    session: Session, row: ModelVersion, looks: Sequence[Look], profile: Profile, now: float
) -> Powered | None:
    """The error rate from random audits, with the confidences of all frames of their day as a help."""
    calibration = _curve(profile)
    if calibration is None or len(looks) < FEW_AUDITS:
        return None
    windows = read_day(session, row, now)
    confidence = windows.histograms.get("confidence")
    if confidence is None or not confidence.total:
        return None
    items = [look.item for look in looks]
    found = accuracy_weighed(confidence, items, calibration, effective=float(windows.number))
    return Powered(Interval(1.0 - found.high, 1.0 - found.estimate, 1.0 - found.low), len(items))
