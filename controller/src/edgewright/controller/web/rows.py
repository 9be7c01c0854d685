"""What the pages and the read side of the API take from the database, and nothing else does it for them.

Charts read sums per bucket: from the windows where buckets are shorter than a minute, from the rollups
where they are longer. No function here returns more rows than a page shows, except ``devices``
and ``rollout_devices``, which the API's lists need.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from edgewright.controller.database import Session, case, col, func, select
from edgewright.controller.database.evidencetables import Alarm, Rebuild
from edgewright.controller.database.tables import (
    Artifact,
    Device,
    Event,
    Model,
    ModelVersion,
    Outcome,
    Rollout,
    RolloutDevice,
    Rollup,
    Window,
)
from edgewright.controller.database.versiontables import LeftOut
from edgewright.controller.web.activity import Activity
from edgewright.controller.web.charts import MARKS, ROLLUP_FROM_S, Moment, Sums
from edgewright.controller.web.fleet import PAGE_ROWS, FleetCounts, Page
from edgewright.controller.web.overview import UNFIT_STATES
from edgewright.wire.deployment import State

ROLLUP_STEPS_S: Final = (86400, 3600, 60)
MARKS_LIMIT: Final = 200
PRESENT_BUCKET_S: Final = 10
AWAY_NAMES: Final = 4

_choose: Any = select
"""SQLModel's types know at most four columns."""


def devices(session: Session) -> list[Device]:
    """The whole fleet, by id."""
    return list(session.exec(select(Device).order_by(col(Device.id))))


def fleet_counts(session: Session) -> FleetCounts:
    """The whole fleet, counted by the database."""
    keys = (col(Device.active_version), col(Device.connected))
    versions: dict[int, int] = {}
    total = connected = 0
    for version, here, number in session.exec(_choose(*keys, func.count()).group_by(*keys)):
        total += number
        connected += number if here else 0
        if version:
            versions[version] = versions.get(version, 0) + number
    away = select(Device.id).where(~col(Device.connected)).order_by(col(Device.id)).limit(AWAY_NAMES)
    first = session.exec(select(func.min(Device.id))).one() or ""
    return FleetCounts(total, connected, versions, tuple(session.exec(away)), first)


def fleet_page(session: Session, page: Page) -> list[Device]:
    """One page of the fleet: first what failed, then what is away, then the others, each by id."""
    failed = col(Device.state).in_(UNFIT_STATES)
    away = ~col(Device.connected) & (col(Device.last_seen) > 0)
    rank = case((away, 1), (failed, 0), else_=2)
    statement = select(Device).order_by(rank, col(Device.id)).offset(page.offset).limit(PAGE_ROWS)
    return list(session.exec(statement))


def models(session: Session) -> list[Model]:
    """All models, by name."""
    return list(session.exec(select(Model).order_by(col(Model.name))))


def busiest_model(session: Session) -> str:
    """The model that most devices run, else the newest one, else nothing."""
    running = select(Device.active_model).where(col(Device.active_model) != "")
    by_use = running.group_by(col(Device.active_model)).order_by(
        func.count().desc(), col(Device.active_model)
    )
    newest = select(Model.name).order_by(col(Model.created_at).desc())
    return session.exec(by_use.limit(1)).first() or session.exec(newest.limit(1)).first() or ""


def versions(session: Session, model: str) -> list[ModelVersion]:
    """A model's versions, newest first."""
    statement = select(ModelVersion).where(col(ModelVersion.model) == model)
    return list(session.exec(statement.order_by(col(ModelVersion.version).desc())))


def artifacts(session: Session, model: str) -> list[Artifact]:
    """All artifacts of a model, newest version first."""
    statement = select(Artifact).where(col(Artifact.model) == model)
    return list(session.exec(statement.order_by(col(Artifact.version).desc(), col(Artifact.target))))


def rollouts(session: Session, limit: int = 50, model: str = "") -> list[Rollout]:
    """Rollouts, newest first."""
    statement = select(Rollout).order_by(col(Rollout.id).desc()).limit(limit)
    if model:
        statement = statement.where(col(Rollout.model) == model)
    return list(session.exec(statement))


def rollout_counts(session: Session, numbers: Sequence[int]) -> dict[int, dict[int, tuple[int, int]]]:
    """Of each rollout and wave, how many devices it has and how many of them run the version."""
    keys = (col(RolloutDevice.rollout), col(RolloutDevice.wave))
    done = func.sum(case((col(RolloutDevice.state) == State.COMMITTED, 1), else_=0))
    statement = _choose(*keys, func.count(), done).where(keys[0].in_(numbers)).group_by(*keys)
    found: dict[int, dict[int, tuple[int, int]]] = {}
    for rollout, wave, number, through in session.exec(statement):
        found.setdefault(rollout, {})[wave] = (number, through)
    return found


def left_out(session: Session, rollout: int, limit: int | None = None) -> list[LeftOut]:
    """Devices that a rollout leaves out, by id."""
    statement = select(LeftOut).where(col(LeftOut.rollout) == rollout).order_by(col(LeftOut.device))
    return list(session.exec(statement.limit(limit)))


def rollout_parts(session: Session, rollout: int, waves: int) -> list[RolloutDevice]:
    """The devices that a rollout's card shows: of each wave some, first what failed."""
    rank = case((col(RolloutDevice.state).in_(UNFIT_STATES), 0), else_=1)
    shown = select(RolloutDevice).where(col(RolloutDevice.rollout) == rollout)
    shown = shown.order_by(rank, col(RolloutDevice.device)).limit(PAGE_ROWS)
    return [part for w in range(waves) for part in session.exec(shown.where(col(RolloutDevice.wave) == w))]


def rollout_devices(session: Session, rollout: int) -> list[RolloutDevice]:
    """The devices of a rollout, by wave and id."""
    statement = select(RolloutDevice).where(col(RolloutDevice.rollout) == rollout)
    return list(session.exec(statement.order_by(col(RolloutDevice.wave), col(RolloutDevice.device))))


def parts_of_device(session: Session, device: str, limit: int = 20) -> list[tuple[RolloutDevice, Rollout]]:
    """The rollouts that a device had a part in, newest first."""
    statement = (
        select(RolloutDevice, Rollout)
        .where(col(RolloutDevice.rollout) == col(Rollout.id))
        .where(col(RolloutDevice.device) == device)
        .order_by(col(Rollout.id).desc())
    )
    return [(part, rollout) for part, rollout in session.exec(statement.limit(limit))]


def latest_alarm(session: Session, model: str) -> Alarm | None:
    """The model's newest alarm."""
    statement = select(Alarm).where(col(Alarm.model) == model).order_by(col(Alarm.id).desc())
    return session.exec(statement.limit(1)).first()


def alarms(session: Session, model: str, limit: int = 20) -> list[Alarm]:
    """The model's alarms, newest first."""
    statement = select(Alarm).where(col(Alarm.model) == model).order_by(col(Alarm.id).desc())
    return list(session.exec(statement.limit(limit)))


def rebuilds(session: Session, model: str, limit: int = 20) -> list[Rebuild]:
    """The rebuilds of a model, or of all where it is empty; newest first."""
    statement = select(Rebuild).order_by(col(Rebuild.id).desc())
    if model:
        statement = statement.where(col(Rebuild.model) == model)
    return list(session.exec(statement.limit(limit)))


def events(
    session: Session,
    limit: int,
    *,
    after: int = 0,
    model: str = "",
    device: str = "",
    rollout: int = 0,
) -> list[Event]:
    """Events: the newest first, or those after an id in order."""
    statement = select(Event).limit(limit)
    if after:
        statement = statement.where(col(Event.id) > after).order_by(col(Event.id))
    else:
        statement = statement.order_by(col(Event.id).desc())
    for column, value in (("model", model), ("device", device), ("rollout", rollout)):
        if value:
            statement = statement.where(getattr(Event, column) == value)
    return list(session.exec(statement))


def moments(session: Session, model: str, start: float) -> list[Moment]:
    """The events that a chart marks."""
    statement = (
        select(Event)
        .where(col(Event.model) == model)
        .where(col(Event.at) >= start)
        .where(col(Event.kind).in_(list(MARKS)))
        .order_by(col(Event.at).desc())
        .limit(MARKS_LIMIT)
    )
    return [Moment(e.at, e.kind, e.sentence, e.version) for e in session.exec(statement)]


def first_window(session: Session, model: str, start: float) -> float | None:
    """When the first window of a model begins, at or after ``start``."""
    statement = select(Window.ts).where(col(Window.model) == model).where(col(Window.ts) >= start)
    return session.exec(statement.order_by(col(Window.ts)).limit(1)).first()


def sums(session: Session, model: str, start: float, bucket_s: int) -> list[Sums]:
    """What each version did per bucket since ``start``."""
    if bucket_s >= ROLLUP_FROM_S:
        return _sums_of_rollups(session, model, start, bucket_s)
    labels = _labels(session, model, start, bucket_s)
    table: Any = Window
    statement = (
        select(
            _bucket(table.ts, bucket_s),
            table.version,
            func.sum(table.confidence_sum),
            func.sum(table.confidence_count),
        )
        .where(table.model == model, table.ts >= start)
        .group_by(_bucket(table.ts, bucket_s), table.version)
    )
    confidences = {(b, v): (s, n) for b, v, s, n in session.exec(statement)}
    return [
        Sums(b, v, *labels.get((b, v), (0, 0)), *confidences.get((b, v), (0.0, 0)))
        for b, v in sorted(labels.keys() | confidences.keys())
    ]


def _labels(
    session: Session, model: str, start: float, bucket_s: int
) -> dict[tuple[float, int], tuple[int, int]]:
    table: Any = Outcome
    statement = (
        select(_bucket(table.ts, bucket_s), table.version, func.sum(table.labelled), func.sum(table.wrong))
        .where(table.model == model, table.ts >= start)
        .group_by(_bucket(table.ts, bucket_s), table.version)
    )
    return {(b, v): (n, w) for b, v, n, w in session.exec(statement)}


def _sums_of_rollups(session: Session, model: str, start: float, bucket_s: int) -> list[Sums]:
    table: Any = Rollup
    step = next(s for s in ROLLUP_STEPS_S if bucket_s % s == 0)
    statement = (
        _choose(
            _bucket(table.bucket, bucket_s),
            table.version,
            func.sum(table.labelled),
            func.sum(table.wrong),
            func.sum(table.confidence_sum),
            func.sum(table.confidence_count),
        )
        .where(table.model == model, table.resolution == step, table.bucket >= start - bucket_s)
        .group_by(_bucket(table.bucket, bucket_s), table.version)
    )
    return [Sums(*row) for row in session.exec(statement)]


def fleet_activity(session: Session, start: float) -> Activity:
    """What the versions did since ``start`` that the devices run now, in one sum: so a fix shows at once."""
    table: Any = Window
    names = ("frames", "fallback", "confidence_sum", "confidence_count")
    frames, fallback, total, n = session.exec(_of_running(table, start, names)).one()
    labelled, wrong = session.exec(_of_running(Outcome, start, ("labelled", "wrong"))).one()
    return Activity("", start, 0, frames, fallback, labelled, wrong, total, n)


def _of_running(table: Any, start: float, names: Iterable[str]) -> Any:
    runs = (col(Device.id) == table.device) & (col(Device.active_version) == table.version)
    chosen = _choose(*(func.coalesce(func.sum(getattr(table, name)), 0) for name in names))
    return chosen.select_from(table).join(Device, runs).where(table.ts >= start)


def activity(session: Session, start: float, bucket_s: int, *devices: str) -> list[Activity]:
    """What each of the devices did per bucket since ``start``."""
    found: dict[tuple[str, float, int], Activity] = {}
    table: Any = Window
    for d, b, v, frames, fallback, total, n in session.exec(
        _grouped(
            table, start, bucket_s, devices, ("frames", "fallback", "confidence_sum", "confidence_count")
        )
    ):
        found[d, b, v] = Activity(d, b, v, frames, fallback, 0, 0, total, n)
    for d, b, v, labelled, wrong in session.exec(
        _grouped(Outcome, start, bucket_s, devices, ("labelled", "wrong"))
    ):
        seen = found.get((d, b, v), Activity(d, b, v, 0, 0, 0, 0, 0.0, 0))
        found[d, b, v] = seen._replace(labelled=labelled, wrong=wrong)
    return [found[key] for key in sorted(found)]


def _grouped(table: Any, start: float, bucket_s: int, devices: Sequence[str], columns: Iterable[str]) -> Any:
    keys = (table.device, _bucket(table.ts, bucket_s), table.version)
    statement = _choose(*keys, *(func.sum(getattr(table, name)) for name in columns))
    return statement.where(table.device.in_(devices), table.ts >= start).group_by(*keys)


def _bucket(column: Any, bucket_s: int) -> Any:
    return func.floor(column / float(bucket_s)) * bucket_s


def now() -> float:
    """The controller's clock; pages show ages against it."""
    return time.time()


def by_version(artifacts: Sequence[Artifact]) -> dict[int, list[Artifact]]:
    """Artifacts grouped by version."""
    grouped: dict[int, list[Artifact]] = {}
    for artifact in artifacts:
        grouped.setdefault(artifact.version, []).append(artifact)
    return grouped
