"""Taking versions off the broker that nothing needs, and bringing them back: the doing to ``retention``.

A retirement is written down before it is done, a return when it is done. A row says since when a version is
idle, when it was retired, and whether its chunks are cleared; what a process that was killed, or a broker
that was away, left undone is done at the next connection. Clearing is done again for a while at each
connection, because a broker that was killed may come back with what it had cleared (``broker.embedded``).

``need`` is for whoever is about to assign a version: it returns when every chunk of it lies on the broker.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from edgewright.controller import aliases, registry, retention
from edgewright.controller.database import Session, col, delete, func, select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import (
    Artifact,
    Assignment,
    Device,
    ModelVersion,
    Rollout,
    RolloutDevice,
)
from edgewright.controller.database.versiontables import IdleVersion
from edgewright.controller.errors import BrokerFullError, DataFolderDamagedError
from edgewright.controller.events import record
from edgewright.controller.publisher import Damaged, Publisher
from edgewright.controller.retention import GRACE_S, Key, Standing
from edgewright.controller.rollouts.policy import RolloutState
from edgewright.controller.trust.repository import ImageRepository
from edgewright.wire.errors import MalformedMessageError
from edgewright.wire.manifest import target_path

CLEARED_AGAIN_S: Final = 30 * 24 * 3600.0
"""So long after a retirement its chunks are cleared once more at each connection."""

UNENDED: Final = (RolloutState.RUNNING, RolloutState.PAUSED)


class Retirement:
    """See the module's text; safe to use from several threads.

    Args:
        db: devices, rollouts, versions, and the rows of what is idle.
        repository: the signed catalogue, which a withdrawn version has left.
        publisher: the broker.
        grace_s: how long an idle version stays.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        db: Database,
        repository: ImageRepository,
        publisher: Publisher,
        grace_s: float = GRACE_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._db = db
        self._repository = repository
        self._publisher = publisher
        self._grace_s = grace_s
        self._clock = clock
        self._one_at_a_time = threading.Lock()

    def step(self) -> Damaged:
        """Retire what is due, and bring back what is needed again.

        Returns:
            Releases for which that cannot be done, because something of them is damaged or does not fit.

        Raises:
            BrokerUnreachableError: the broker did not take it; it is done at the next connection.
        """
        with self._one_at_a_time:
            now = self._clock()
            with self._db.session() as session:
                plan = retention.decide(gather(session, self._repository), now, self._grace_s)
                _write(session, plan, now)
                retired, back = _by_version(session, plan.retire), _by_version(session, plan.back)
            return self._clear(retired) | self._bring_back_all(back)

    def need(self, model: str, version: int) -> None:
        """Have a version on the broker, in case it was retired; it begins a new grace time then.

        Raises:
            BrokerFullError: it does not fit beside what is there.
            BrokerUnreachableError: the broker did not take it.
            DataFolderDamagedError: a blob is not here, or has changed.
        """
        with self._one_at_a_time:
            with self._db.reading() as session:
                row = session.get(IdleVersion, (model, version))
                manifests = _manifests(session, [(model, version)])
            if row is not None:
                self._bring_back((model, version), manifests)

    def live_manifests(self) -> list[str]:
        """Digests of the manifests of every version that lies on the broker, or has to."""
        with self._db.reading() as session:
            retired = {row.key for row in _retired(session)}
            ready = select(ModelVersion.model, ModelVersion.version).where(
                col(ModelVersion.state) == registry.READY
            )
            return _manifests(
                session, [key for key in session.exec(ready).all() if tuple(key) not in retired]
            )

    def clear_again(self) -> Damaged:
        """Clear what was retired lately once more; for a broker that has just come.

        Returns:
            Releases whose manifests cannot be read, so that nobody knows their chunks.

        Raises:
            BrokerUnreachableError: the broker did not take it; calling again is harmless.
        """
        with self._one_at_a_time:
            with self._db.reading() as session:
                since = self._clock() - CLEARED_AGAIN_S
                rows = [row for row in _retired(session) if row.retired_at > since or not row.cleared]
                versions = _by_version(session, [row.key for row in rows])
            return self._clear(versions)

    def _clear(self, versions: Mapping[Key, list[str]]) -> Damaged:
        manifests = [manifest for mine in versions.values() for manifest in mine]
        if not manifests:
            return {}
        damaged = self._publisher.withdraw_releases(manifests)
        with self._db.session() as session:
            for key, mine in versions.items():
                row = session.get(IdleVersion, key)
                if row is not None and damaged.keys().isdisjoint(mine):
                    row.cleared = True
                    session.add(row)
        return damaged

    def _bring_back_all(self, versions: Mapping[Key, list[str]]) -> Damaged:
        failed: Damaged = {}
        for key, manifests in versions.items():
            try:
                self._bring_back(key, manifests)
            except (BrokerFullError, DataFolderDamagedError, MalformedMessageError) as error:
                failed |= dict.fromkeys(manifests[:1], error)
        return failed

    def _bring_back(self, key: Key, manifests: Iterable[str]) -> None:
        for manifest in manifests:
            self._publisher.publish_release(manifest)
        with self._db.session() as session:
            model, version = key
            gone = (col(IdleVersion.model) == model) & (col(IdleVersion.version) == version)
            session.exec(delete(IdleVersion).where(gone))


def gather(session: Session, repository: ImageRepository) -> list[Standing]:
    """The standing of every version that was ever about to be published for a target.

    One that failed on the way to being ready is no more than one that was withdrawn: nobody may install it.
    """
    over = (registry.READY, registry.WITHDRAWN, registry.FAILED)
    versions = session.exec(select(ModelVersion).where(col(ModelVersion.state).in_(over))).all()
    targets: dict[Key, list[str]] = {}
    for model, version, target in session.exec(
        select(Artifact.model, Artifact.version, Artifact.target)
    ).all():
        targets.setdefault((model, version), []).append(target)
    newest: dict[str, int] = {}
    for row in versions:
        if row.state == registry.READY:
            newest[row.model] = max(row.version, newest.get(row.model, 0))
    running, assigned, rollouts, ways_back = _counts(session)
    ranks = _ranks(session)
    champions = {a.model: a.version for a in aliases.list_aliases(session) if a.name == aliases.CHAMPION}
    idle = {row.key: row for row in session.exec(select(IdleVersion)).all()}
    return [
        Standing(
            row.model,
            row.version,
            withdrawn=row.state == registry.FAILED
            or (row.state == registry.WITHDRAWN and _is_out(repository, row, targets[key])),
            newest=newest.get(row.model) == row.version,
            running=running.get(key, 0),
            assigned=assigned.get(key, 0),
            rollouts=rollouts.get(key, 0),
            ways_back=ways_back.get(key, 0),
            is_champion=champions.get(row.model) == row.version,
            rank=ranks.get(key),
            idle_since=idle[key].idle_since if key in idle else 0.0,
            is_retired=key in idle and idle[key].retired_at > 0,
        )
        for row in versions
        if (key := (row.model, row.version)) in targets
    ]


def _write(session: Session, plan: retention.Plan, now: float) -> None:
    """What begins and what ends; what comes back is written when it is there again."""
    for model, version in plan.idle:
        session.add(IdleVersion(model=model, version=version, idle_since=now))
    session.flush()
    for model, version in plan.retire:
        row = session.get_one(IdleVersion, (model, version))
        row.retired_at, row.cleared = now, False
        session.add(row)
        said = f"{model} v{version} was taken off the broker: no device needs it."
        record(session, "version.retired", said, model=model, version=version)


def _is_out(repository: ImageRepository, row: ModelVersion, targets: Iterable[str]) -> bool:
    paths = (target_path(row.model, target, row.version) for target in targets)
    return all(repository.entry(path) is None for path in paths)


def _counts(session: Session) -> tuple[dict[Key, int], ...]:
    """Devices that run a version and that are assigned it, rollouts of it, devices that may go back to it."""
    unended = col(Rollout.state).in_(UNENDED)
    in_force = col(Device.revoked_at) == 0
    statements: tuple[Any, ...] = (
        select(Device.active_model, Device.active_version, func.count())
        .where(in_force)
        .group_by(col(Device.active_model), col(Device.active_version)),
        select(Assignment.model, Assignment.model_version, func.count())
        .join(Device, col(Device.id) == col(Assignment.device))
        .where(in_force)
        .group_by(col(Assignment.model), col(Assignment.model_version)),
        select(Rollout.model, Rollout.version, func.count())
        .where(unended)
        .group_by(col(Rollout.model), col(Rollout.version)),
        select(Rollout.model, RolloutDevice.previous_version, func.count())
        .join(RolloutDevice, col(RolloutDevice.rollout) == col(Rollout.id))
        .where(unended)
        .group_by(col(Rollout.model), col(RolloutDevice.previous_version)),
    )
    return tuple(
        {(model, version): count for model, version, count in session.exec(statement).all()}
        for statement in statements
    )


def _ranks(session: Session) -> dict[Key, int]:
    """How many versions of its model were finished after each that was."""
    finished: Any = (
        select(Rollout.model, Rollout.version, func.max(Rollout.id))
        .where(col(Rollout.state) == RolloutState.FINISHED)
        .group_by(col(Rollout.model), col(Rollout.version))
    )
    rows = sorted(session.exec(finished).all(), key=lambda row: -row[2])
    ranks: dict[Key, int] = {}
    seen: dict[str, int] = {}
    for model, version, _ in rows:
        ranks[model, version] = seen.setdefault(model, 0)
        seen[model] += 1
    return ranks


def _retired(session: Session) -> list[IdleVersion]:
    return list(session.exec(select(IdleVersion).where(col(IdleVersion.retired_at) > 0)).all())


def _by_version(session: Session, keys: Iterable[Key]) -> dict[Key, list[str]]:
    return {key: _manifests(session, [key]) for key in keys}


def _manifests(session: Session, keys: Iterable[Key]) -> list[str]:
    """Digests of the manifests of versions, by model and version."""
    found: list[str] = []
    for model, version in keys:
        mine = (col(Artifact.model) == model) & (col(Artifact.version) == version)
        found += session.exec(select(Artifact.manifest_sha256).where(mine)).all()
    return found
