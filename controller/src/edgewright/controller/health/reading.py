"""Where the facts come from: the only part of the seven answers that looks into database and blobs.

Every query is bounded, so that a page takes the same time for ten devices and for ten thousand: devices are
compared over the newest ``MOST_ROWS`` rows of the last hour, signals are of the newest ``MOST_WINDOWS``
windows, an hour's decisions come from sums per minute. What is bounded says so in the answers, by the span
and the number that it was made of.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, Protocol

import msgspec

from edgewright.controller import registry
from edgewright.controller.blobs import BlobStore
from edgewright.controller.database import Session, case, col, func, select
from edgewright.controller.database.evidencetables import Alarm, Finding, Label, Rebuild
from edgewright.controller.database.tables import (
    Artifact,
    Device,
    ModelVersion,
    Outcome,
    Rollout,
    RolloutDevice,
    Rollup,
    Sample,
    Window,
)
from edgewright.controller.evidence.calibration import Calibration
from edgewright.controller.evidence.confidence_sequence import Interval, rate_interval
from edgewright.controller.evidence.labelfree import MOST_UNSEEN, estimate, unseen_share
from edgewright.controller.evidence.reference import read_reference
from edgewright.controller.evidence.version import VersionHealth
from edgewright.controller.health.answer import Health
from edgewright.controller.health.facts import (
    Action,
    Change,
    ClassShare,
    Deed,
    Facts,
    Fleet,
    LabelFree,
    Promise,
    Robot,
    Signal,
    Told,
)
from edgewright.controller.health.judging import answer
from edgewright.controller.labels import AUDIT
from edgewright.controller.model_toml import FILE_NAME, DriftPart, ModelSpec, parse_model
from edgewright.controller.web import rows
from edgewright.controller.web.words import rollout_word
from edgewright.wire import messages
from edgewright.wire.deployment import State
from edgewright.wire.errors import EdgewrightError, MessageError
from edgewright.wire.histograms import Histogram

SPAN_S: Final = 3600.0
DAY_S: Final = 86400.0
MINUTE_S: Final = 60

MOST_ROWS: Final = 20_000
"""Rows of windows and of outcomes that devices are compared over: summing them takes 0.1 s."""

MOST_WINDOWS: Final = 300
"""Windows whose histograms are read: unpacking one takes 0.1 ms."""

MOST_DEEDS: Final = 10
ALPHA: Final = 0.05

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


class Weighing(Protocol):
    """The monitor, as far as answers need it."""

    def status(self, model: str) -> list[VersionHealth]:
        """The evidence of each version of a model that has any."""
        ...


class _Profile(msgspec.Struct, frozen=True):
    """The entries of ``compiler.reference_profile.ReferenceProfile`` that are read here."""

    histograms: dict[str, bytes]
    classes: dict[str, int] = {}


class _Tested(msgspec.Struct, frozen=True):
    """What testing left: the promise, and the profile that it stands in."""

    promise: Promise | None = None
    profile: _Profile = _Profile({})


class _Windows(msgspec.Struct, frozen=True):
    """The newest windows, added up."""

    number: int
    frames: int
    fallback: int
    histograms: dict[str, Histogram]
    classes: dict[str, int]


def health(
    session: Session, blobs: BlobStore, monitor: Weighing, model: str, now: float, version: int = 0
) -> Health:
    """The seven answers about a version of a model; without one, about the version that most devices run.

    Raises:
        UnknownModelError: there is no such model or version.
    """
    return answer(read(session, blobs, monitor, model, now, version))


def read(
    session: Session, blobs: BlobStore, monitor: Weighing, model: str, now: float, version: int = 0
) -> Facts:
    """The facts of one version; raises as ``health`` does."""
    registry.verify_model(session, model)
    runs = _runs(session, model)
    row = registry.find_version(session, model, version or _subject(session, model, runs))
    spec = _spec(blobs, row)
    drift = spec.drift if spec else DriftPart()
    tested = _tested(session, blobs, row, drift)
    weighed = next((w for w in monitor.status(model) if w.version == row.version), None)
    windows = _windows(session, row, now)
    robots, labels, since = _compared(session, row, now)
    return Facts(
        model=model,
        version=row.version,
        state=row.state,
        source=row.source,
        now=now,
        drift=drift,
        promise=tested.promise,
        weighed=weighed,
        labels=_since_onset(weighed) or labels,
        audits=_audits(session, row),
        label_free=_label_free(windows, tested.profile),
        fleet=_fleet(runs, row.version),
        signals=_signals(windows, tested.profile),
        classes=_classes(windows, tested.profile),
        windows=windows.number,
        frames=windows.frames,
        fallback=windows.fallback,
        frames_an_hour=_frames_an_hour(session, row, now),
        latency_limit_us=spec.limits.latency_p99_us if spec else 0,
        robots=robots,
        span_s=now - since,
        changes=_changes(session, row),
        deeds=_deeds(session, model),
        action=_action(session, model),
        can_rebuild=bool(spec and spec.rebuild.recipe),
        before=_before(session, row),
    )


def _runs(session: Session, model: str) -> list[tuple[int, bool, int]]:
    """Version, whether connected, and how many devices."""
    keys = (col(Device.active_version), col(Device.connected))
    statement = _choose(*keys, func.count()).where(
        col(Device.active_model) == model, col(Device.revoked_at) == 0.0
    )
    return [
        (version, bool(here), number) for version, here, number in session.exec(statement.group_by(*keys))
    ]


def _subject(session: Session, model: str, runs: Sequence[tuple[int, bool, int]]) -> int:
    """The version that most devices run, else the newest that is ready, else the newest."""
    by_version: dict[int, int] = {}
    for version, _, number in runs:
        by_version[version] = by_version.get(version, 0) + number
    if by_version:
        return max(by_version, key=lambda version: (by_version[version], version))
    found = rows.versions(session, model)
    ready = [row.version for row in found if row.state == "ready"]
    return next(iter([*ready, *(row.version for row in found)]), 0)


def _fleet(runs: Sequence[tuple[int, bool, int]], version: int) -> Fleet:
    mine = [(here, number) for running, here, number in runs if running == version]
    return Fleet(
        on_version=sum(number for _, number in mine),
        connected=sum(number for here, number in mine if here),
        on_model=sum(number for _, _, number in runs),
    )


def _spec(blobs: BlobStore, row: ModelVersion) -> ModelSpec | None:
    if FILE_NAME not in row.files:
        return None
    try:
        return parse_model(blobs.read(row.files[FILE_NAME]))
    except EdgewrightError:
        # A model of tensors, or a version whose blob is damaged: the answers do without.
        return None


def _tested(session: Session, blobs: BlobStore, row: ModelVersion, drift: DriftPart) -> _Tested:
    """Of the target whose promise is the weakest, which is the one that all keep; as the monitor does."""
    statement = select(Artifact.profile_sha256).where(
        col(Artifact.model) == row.model, col(Artifact.version) == row.version
    )
    found = [_read_profile(blobs, sha256, drift) for sha256 in set(session.exec(statement)) if sha256]
    return max(
        found, key=lambda tested: tested.promise.harm_rate if tested.promise else 0.0, default=_Tested()
    )


def _read_profile(blobs: BlobStore, sha256: str, drift: DriftPart) -> _Tested:
    try:
        data = blobs.read(sha256)
        reference = read_reference(data)
        profile = msgspec.json.decode(data, type=_Profile)
    except EdgewrightError:
        return _Tested()  # an answer without its reference is better than none
    confidence = 1.0 - reference.doubt if reference.doubt_n else None
    harm_rate = reference.harm_rate(drift.harm_tolerance)
    return _Tested(Promise(reference.error_rate, reference.error_rate_n, harm_rate, confidence), profile)


def _windows(session: Session, row: ModelVersion, now: float) -> _Windows:
    """The newest windows of the last day; those in the grace after a changeover stand for nothing."""
    statement = (
        select(Window.payload)
        .where(col(Window.model) == row.model, col(Window.version) == row.version)
        .where(col(Window.ts) >= now - DAY_S)
        .order_by(col(Window.ts).desc())
        .limit(MOST_WINDOWS)
    )
    found = [window for payload in session.exec(statement) if (window := _decoded(payload))]
    return _Windows(
        number=len(found),
        frames=sum(window.frames for window in found),
        fallback=sum(window.by_source.get("fallback", 0) for window in found),
        histograms=_merged(window.histograms for window in found),
        classes=_added(window.classes for window in found),
    )


def _decoded(payload: bytes) -> messages.Window | None:
    try:
        message = messages.decode_up(payload)
    except MessageError:
        return None  # of an older controller, or damaged
    return message if isinstance(message, messages.Window) and not message.grace else None


def _merged(packed: Iterable[dict[str, bytes]]) -> dict[str, Histogram]:
    found: dict[str, Histogram] = {}
    for histograms in packed:
        for name, data in histograms.items():
            histogram = _unpacked(data)
            known = found.get(name)
            if histogram is None or (known is not None and known.schema != histogram.schema):
                continue
            if known is None:
                found[name] = histogram
            else:
                known.merge(histogram)
    return found


def _unpacked(data: bytes) -> Histogram | None:
    try:
        return Histogram.unpack(data)
    except MessageError:
        return None


def _added(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for name, number in each.items():
            total[name] = total.get(name, 0) + number
    return total


def _signals(windows: _Windows, profile: _Profile) -> tuple[Signal, ...]:
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


def _label_free(windows: _Windows, profile: _Profile) -> LabelFree | None:
    """The error rate by calibrated confidence; a window counts as one independent frame, to be cautious."""
    confidence = windows.histograms.get("confidence")
    labelled, right = (profile.histograms.get(name) for name in ("labelled_confidence", "right_confidence"))
    calibration = _calibration(labelled, right) if labelled and right else None
    if calibration is None or confidence is None or not confidence.total:
        return None
    accuracy = estimate(confidence, calibration, effective=float(windows.number))
    unseen = unseen_share(confidence, calibration)
    wrong = Interval(1.0 - accuracy.high, 1.0 - accuracy.estimate, 1.0 - accuracy.low)
    return LabelFree(wrong, confidence.total, unseen, unseen <= MOST_UNSEEN)


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


def _classes(windows: _Windows, profile: _Profile) -> tuple[ClassShare, ...]:
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


def _frames_an_hour(session: Session, row: ModelVersion, now: float) -> float | None:
    table: Any = Rollup
    statement = _choose(func.min(table.bucket), func.sum(table.frames)).where(
        table.bucket >= now // MINUTE_S * MINUTE_S - SPAN_S,
        table.resolution == MINUTE_S,
        table.model == row.model,
        table.version == row.version,
    )
    first, frames = session.exec(statement).one()
    return frames / max(now - first, MINUTE_S) * SPAN_S if frames else None


def _compared(
    session: Session, row: ModelVersion, now: float
) -> tuple[tuple[Robot, ...], Told | None, float]:
    """Devices with windows or labels in the last hour, all their labels, and since when."""
    seen = _by_device(session, Window, row, now, ("frames", "fallback", "confidence_sum", "confidence_count"))
    told = _by_device(session, Outcome, row, now, ("labelled", "wrong"))
    robots = []
    for device in sorted(seen.keys() | told.keys()):
        _, frames, fallback, total, number = seen.get(device, (now, 0, 0, 0.0, 0))
        _, labelled, wrong = told.get(device, (now, 0, 0))
        robots.append(Robot(device, frames, fallback, labelled, wrong, total / number if number else None))
    labelled, wrong = sum(robot.labelled for robot in robots), sum(robot.wrong for robot in robots)
    since = min((found[0] for found in told.values()), default=now - SPAN_S)
    labels = Told(labelled, wrong, rate_interval(labelled, wrong, ALPHA), since) if labelled else None
    return tuple(robots), labels, since


def _by_device(
    session: Session, of: Any, row: ModelVersion, now: float, names: Sequence[str]
) -> dict[str, Any]:
    newest = (
        _choose(of.device, of.ts, *(getattr(of, name) for name in names))
        .where(of.model == row.model, of.version == row.version, of.ts >= now - SPAN_S)
        .order_by(of.ts.desc())
        .limit(MOST_ROWS)
        .subquery()
    )
    sums = (func.sum(newest.c[name]) for name in names)
    statement = _choose(newest.c.device, func.min(newest.c.ts), *sums).group_by(newest.c.device)
    return {device: tuple(found) for device, *found in session.exec(statement)}


def _since_onset(weighed: VersionHealth | None) -> Told | None:
    """The labels since harm began, where it has."""
    if weighed is None or not weighed.harmed or not weighed.since_onset[0]:
        return None
    labelled, wrong = weighed.since_onset
    return Told(labelled, wrong, rate_interval(labelled, wrong, ALPHA), weighed.onset_at or 0.0)


def _audits(session: Session, row: ModelVersion) -> Told | None:
    """What people saw in frames that were captured at random: those alone say the rate of all."""
    label, sample = (col(Label.device), col(Label.item)), (col(Sample.device), col(Sample.item))
    wrong = func.sum(case((col(Label.truth) != col(Sample.label), 1), else_=0))
    statement = (
        select(func.count(), wrong, func.min(col(Label.at)))
        .join(Sample, (label[0] == sample[0]) & (label[1] == sample[1]))
        .where(col(Label.model) == row.model, col(Label.version) == row.version)
        .where(col(Label.source) == AUDIT, col(Label.truth) != "")
        .where(col(Sample.reason) == "random")
    )
    labelled, bad, since = session.exec(statement).one()
    if not labelled:
        return None
    return Told(labelled, int(bad), rate_interval(labelled, int(bad), ALPHA), since)


def _changes(session: Session, row: ModelVersion) -> tuple[Change, ...]:
    statement = (
        select(Finding)
        .where(col(Finding.model) == row.model, col(Finding.version) == row.version)
        .where(col(Finding.closed_at) == 0.0)
        .order_by(col(Finding.opened_at).desc())
        .limit(50)
    )
    return tuple(
        Change(f.cause, f.harm, f.sentence, f.remedy, f.opened_at, f.device, f.tag)
        for f in session.exec(statement)
    )


def _deeds(session: Session, model: str) -> tuple[Deed, ...]:
    """The newest of what happened about the model, newest first."""
    found = [
        *_of_alarms(rows.alarms(session, model, MOST_DEEDS)),
        *_of_rebuilds(rows.rebuilds(session, model, MOST_DEEDS)),
        *_of_rollouts(rows.rollouts(session, MOST_DEEDS, model)),
    ]
    return tuple(sorted(found, key=lambda deed: -deed.at)[:MOST_DEEDS])


def _of_alarms(alarms: Iterable[Alarm]) -> Iterable[Deed]:
    for alarm in alarms:
        yield Deed(alarm.raised_at, f"Alarm {alarm.id}: {alarm.sentence}", "bad", f"/models/{alarm.model}")
        if alarm.closed_at:
            said = f"Alarm {alarm.id} about v{alarm.version} was closed."
            yield Deed(alarm.closed_at, said, "good", f"/models/{alarm.model}")


def _of_rebuilds(rebuilds: Iterable[Rebuild]) -> Iterable[Deed]:
    for rebuild in rebuilds:
        made = f", made v{rebuild.new_version}" if rebuild.new_version else ""
        asked = f", asked by {rebuild.asked_by}" if rebuild.asked_by else ""
        said = f"Rebuild {rebuild.id} of v{rebuild.from_version}{asked}: {rebuild.state}{made}."
        at = rebuild.finished_at or rebuild.started_at or rebuild.queued_at
        done = bool(rebuild.finished_at)
        tone: Any = "good" if done and rebuild.new_version else "bad" if done else "move"
        yield Deed(at, f"{said} {rebuild.detail}".strip(), tone, f"/rebuilds/{rebuild.id}")


def _of_rollouts(rollouts: Iterable[Rollout]) -> Iterable[Deed]:
    for rollout in rollouts:
        word = rollout_word(rollout.state)
        said = f"Rollout {rollout.id} of v{rollout.version}: {word.text}. {rollout.reason}".strip()
        yield Deed(rollout.finished_at or rollout.created_at, said, word.tone, f"/rollouts/{rollout.id}")


def _action(session: Session, model: str) -> Action:
    """The newest alarm, rebuild and rollout of the model, as far as there are any."""
    alarm = rows.latest_alarm(session, model)
    rebuild = next(iter(rows.rebuilds(session, model, 1)), None)
    rollout = next(iter(rows.rollouts(session, 1, model)), None)
    number = (rollout.id or 0) if rollout else 0
    waves = rows.rollout_counts(session, [number]).get(number, {}).values() if rollout else ()
    return Action(
        alarm=(alarm.id or 0) if alarm else 0,
        alarm_version=alarm.version if alarm else 0,
        raised_at=alarm.raised_at if alarm else 0.0,
        closed_at=alarm.closed_at if alarm else 0.0,
        rebuild=(rebuild.id or 0) if rebuild else 0,
        rebuild_state=rebuild.state if rebuild else "",
        new_version=rebuild.new_version if rebuild else 0,
        rollout=number,
        rollout_version=rollout.version if rollout else 0,
        rollout_state=rollout.state if rollout else "",
        rollout_done=sum(done for _, done in waves),
        rollout_total=sum(total for total, _ in waves),
    )


def _before(session: Session, row: ModelVersion) -> int:
    """What the devices ran before the newest rollout, if that brought this version."""
    newest = next(iter(rows.rollouts(session, 1, row.model)), None)
    if newest is None or newest.version != row.version:
        return 0
    statement = select(func.max(RolloutDevice.previous_version)).where(
        col(RolloutDevice.rollout) == newest.id, col(RolloutDevice.state) == State.COMMITTED
    )
    return session.exec(statement).one() or 0
