"""Where the facts come from: the only part of the seven answers that looks into database and blobs.

Every query is bounded, so that a page takes the same time for ten devices and for ten thousand: devices are
compared over the newest ``MOST_ROWS`` rows of the last hour, signals are of the newest ``MOST_WINDOWS``
windows, an hour's decisions come from sums per minute. What is bounded says so in the answers, by the span
and the number that it was made of.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from edgewright.controller import registry
from edgewright.controller.blobs import BlobStore
from edgewright.controller.database import Session, col, func, select
from edgewright.controller.database.evidencetables import Alarm, Finding, Rebuild
from edgewright.controller.database.tables import (
    Device,
    ModelVersion,
    Rollout,
    RolloutDevice,
    Rollup,
    Window,
)
from edgewright.controller.evidence.sources import judge_source
from edgewright.controller.evidence.version import VersionHealth
from edgewright.controller.health.answer import Health
from edgewright.controller.health.facts import (
    Action,
    Change,
    Deed,
    Facts,
    Fleet,
    Labels,
    Robot,
    Told,
)
from edgewright.controller.health.judging import answer
from edgewright.controller.health.labelled import (
    MOST_ROWS,
    SPAN_S,
    audits,
    by_device,
    count_older_looks,
    hear,
    ranked,
    read_looks,
    told_by,
)
from edgewright.controller.health.observed import (
    classes_of,
    label_free,
    powered,
    read_tested,
    read_windows,
    signals_of,
)
from edgewright.controller.labels import AUDIT, LINE, source_agreement, sources
from edgewright.controller.model_toml import FILE_NAME, DriftPart, ModelSpec, parse_model
from edgewright.controller.web import rows
from edgewright.controller.web.words import rollout_word
from edgewright.wire.deployment import State
from edgewright.wire.errors import EdgewrightError

MINUTE_S: Final = 60
MOST_DEEDS: Final = 10

_choose: Any = select
"""SQLModel's types know at most four columns."""


class Weighing(Protocol):
    """The monitor, as far as answers need it."""

    def status(self, model: str) -> list[VersionHealth]:
        """The evidence of each version of a model that has any."""
        ...


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
    tested = read_tested(session, blobs, row, drift)
    weighed = next((w for w in monitor.status(model) if w.version == row.version), None)
    windows = read_windows(session, row, now, tested.target)
    words = _words(session, row, now, weighed)
    looks = read_looks(session, row, now)
    return Facts(
        model=model,
        version=row.version,
        state=row.state,
        source=row.source,
        now=now,
        drift=drift,
        promise=tested.promise,
        weighed=weighed,
        labels=next(iter(words.told), None),
        others=tuple(words.told[1:]),
        distrusted=tuple(words.distrusted.values()),
        audits=audits(looks),
        older_audits=count_older_looks(session, row, now),
        label_free=label_free(windows, tested.profile),
        powered=powered(session, row, looks, tested.profile, now),
        fleet=_fleet(runs, row.version),
        signals=signals_of(windows, tested.profile),
        classes=classes_of(windows, tested.profile),
        windows=windows.number,
        target=tested.target,
        frames=windows.frames,
        fallback=windows.fallback,
        frames_an_hour=_frames_an_hour(session, row, now),
        latency_limit_us=spec.limits.latency_p99_us if spec else 0,
        robots=_compared(session, row, now, words.robots),
        span_s=now - words.since,
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


def _frames_an_hour(session: Session, row: ModelVersion, now: float) -> float | None:
    table: Any = Rollup
    statement = _choose(func.min(table.bucket), func.sum(table.frames)).where(
        table.bucket >= now // MINUTE_S * MINUTE_S - SPAN_S,
        table.resolution == MINUTE_S,
        table.model == row.model,
        table.version == row.version,
    )
    first, frames = session.exec(statement).one()
    return float(frames) / max(now - first, MINUTE_S) * SPAN_S if frames else None


def _compared(
    session: Session, row: ModelVersion, now: float, labels: Mapping[str, Labels]
) -> tuple[Robot, ...]:
    """Devices with windows or labels in the last hour."""
    seen = _by_device(session, row, now)
    robots = []
    for device in sorted(seen.keys() | labels.keys()):
        frames, fallback, total, number = seen.get(device, (0, 0, 0.0, 0))
        confidence = total / number if number else None
        robots.append(Robot(device, frames, fallback, labels.get(device, Labels()), confidence))
    return tuple(robots)


def _by_device(session: Session, row: ModelVersion, now: float) -> dict[str, Any]:
    table: Any = Window
    names = ("frames", "fallback", "confidence_sum", "confidence_count")
    newest = (
        _choose(table.device, *(getattr(table, name) for name in names))
        .where(table.model == row.model, table.version == row.version, table.ts >= now - SPAN_S)
        .order_by(table.ts.desc())
        .limit(MOST_ROWS)
        .subquery()
    )
    sums = (func.sum(newest.c[name]) for name in names)
    statement = _choose(newest.c.device, *sums).group_by(newest.c.device)
    return {device: tuple(found) for device, *found in session.exec(statement)}


class _Words(NamedTuple):
    """Labels as answers need them: of the leading source first; ``since`` is when the oldest of them came."""

    told: list[Told]
    robots: dict[str, Labels]
    since: float
    distrusted: dict[str, str]


def _words(session: Session, row: ModelVersion, now: float, weighed: VersionHealth | None) -> _Words:
    """What believed sources told in the last hour, since the onset where harm began after that."""
    heard = hear(session, row, now)
    by_rank = ranked(heard)
    distrusted = _distrusted(session, row.model, by_rank)
    believed = [source for source in by_rank if (source or LINE) not in distrusted]
    onset = (weighed.onset_at or 0.0) if weighed and weighed.harmed else 0.0
    told = told_by(heard, believed, onset)
    robots = by_device(heard, believed[0]) if believed else {}
    since = min((one.at for one in heard), default=now - SPAN_S)
    return _Words(told, robots, since, distrusted)


def _distrusted(session: Session, model: str, heard: Iterable[str]) -> dict[str, str]:
    """Sources of labels that audits contradict too often, and what is said of each."""
    names = {LINE, *sources(session, model), *(source or LINE for source in heard)} - {AUDIT}
    judged = {source: judge_source(*source_agreement(session, model, source)) for source in sorted(names)}
    return {source: f"{source}. {it.sentence}" for source, it in judged.items() if not it.trusted}


def _changes(session: Session, row: ModelVersion) -> tuple[Change, ...]:
    statement = (
        select(Finding)
        .where(col(Finding.model) == row.model, col(Finding.version) == row.version)
        .where(col(Finding.closed_at) == 0.0)
        .order_by(col(Finding.opened_at).desc())
        .limit(50)
    )
    return tuple(
        Change(f.cause, f.harm, f.sentence, f.remedy, _began(f), f.device, f.tag)
        for f in session.exec(statement)
    )


def _began(finding: Finding) -> float:
    """When what it says most likely began; the finding itself came later."""
    onset = finding.evidence.get("since")
    return float(onset) if isinstance(onset, int | float) and onset > 0 else finding.opened_at


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
