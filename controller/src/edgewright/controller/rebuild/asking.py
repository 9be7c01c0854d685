"""What asks for rebuilds by itself: the clock, new labelled data, a changed recipe, harm that stays.

``due`` decides over plain facts of one model; ``Asking`` gathers them every few seconds, asks, and gives up
what nobody has approved in time. An alarm does not wait for it: the monitor tells the workflows at once. What
asks here is worked out from what is stored, so nothing is asked twice after a restart and nothing is lost:

- *Schedule*: its last moment has passed, and no rebuild was under way or asked for since. A moment that comes
  during a rebuild is answered by it.
- *Data*: so many labelled frames have come since the version was made and since the last rebuild.
- *Recipe*: the newest version was pushed with nothing changed but the recipe or ``[rebuild]``, and was not
  rebuilt for it yet.
- *Harm that stays*: an alarm and its finding are open, and the last rebuild that answered it led nowhere, or
  none did: whatever was under way when it was told was about another version. It asks again after the
  cooldown; how often a day, ``policy`` says. One that a person has cancelled is not asked for again. It does
  not wait behind a rebuild that itself waits for its turn.

>>> facts = Facts(RebuildPart(schedule="0 3 * * *"), version=2, since=1_700_000_000.0)
>>> due(facts, now=1_700_000_060.0)
>>> due(facts, now=1_700_086_400.0).cause
'The schedule 0 3 * * * asks for it.'
"""

import logging
import time
from collections.abc import Callable

import msgspec

from edgewright.controller.blobs import BlobStore
from edgewright.controller.database import Session, col, exists, func, select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.evidencetables import Alarm, Finding, Rebuild
from edgewright.controller.database.tables import Model, ModelVersion
from edgewright.controller.errors import LineModelError
from edgewright.controller.findings import FAULT_SIGNAL
from edgewright.controller.model_toml import FILE_NAME, ModelSpec, RebuildPart, parse_model
from edgewright.controller.rebuild.calendar import last_moment
from edgewright.controller.rebuild.dataset import count_new
from edgewright.controller.rebuild.orders import URGENCY, expired, version_to_start_from
from edgewright.controller.rebuild.states import IN_FLIGHT, RebuildState
from edgewright.controller.rebuild.trigger import Asked, Trigger
from edgewright.controller.registry import READY
from edgewright.wire.errors import EdgewrightError

LED_NOWHERE = (RebuildState.FAILED, RebuildState.REFUSED)

_log = logging.getLogger(__name__)


Enqueue = Callable[[str, str, Asked], int]
"""How a rebuild of a model is asked for, with its cause; ``Workflows.enqueue_rebuild`` is one."""


class Standing(msgspec.Struct, frozen=True):
    """An open alarm of which no rebuild is under way.

    Attributes:
        alarm: its number.
        version: that it is about.
        sentence: what it says.
        ended_at: when its last rebuild ended; where it had none, from when on harm was to open one.
    """

    alarm: int
    version: int
    sentence: str
    ended_at: float


class Facts(msgspec.Struct, frozen=True):
    """What is known of one model of which no rebuild is at work.

    Attributes:
        rules: of the running version's model.toml.
        version: the running version.
        since: when it was made, or when the last rebuild was asked for or ended: the latest of them.
        new_labelled: frames labelled since then.
        changed_recipe: the newest version, where it was pushed for its recipe alone and not rebuilt yet.
        standing: see there.
        is_queued: a rebuild that is not urgent waits for its turn; nothing but harm goes before it.
    """

    rules: RebuildPart
    version: int
    since: float
    new_labelled: int = 0
    changed_recipe: int = 0
    standing: Standing | None = None
    is_queued: bool = False


class Due(msgspec.Struct, frozen=True):
    """A rebuild that is to be asked for now."""

    trigger: Trigger
    cause: str
    from_version: int = 0
    alarm: int = 0


def due(facts: Facts, now: float) -> Due | None:
    """What asks for a rebuild now; None where nothing does. Harm goes first, the clock last."""
    rules, standing = facts.rules, facts.standing
    if standing and rules.automatic and now >= standing.ended_at + rules.cooldown_s:
        cause = f"The alarm stays open: {standing.sentence}"
        return Due(Trigger.HARM, cause, standing.version, standing.alarm)
    if facts.is_queued:
        return None
    if facts.changed_recipe:
        return Due(Trigger.RECIPE, f"v{facts.changed_recipe} has a changed recipe.", facts.changed_recipe)
    if rules.new_samples and facts.new_labelled >= rules.new_samples:
        return Due(Trigger.DATA, f"{facts.new_labelled} newly labelled frames have come.")
    if rules.schedule and last_moment(rules.schedule, now) > facts.since:
        return Due(Trigger.SCHEDULE, f"The schedule {rules.schedule} asks for it.")
    return None


class Asking:
    """See the module's text; ``step`` is called every few seconds."""

    def __init__(
        self, db: Database, blobs: BlobStore, enqueue: Enqueue, clock: Callable[[], float] = time.time
    ) -> None:
        self._db = db
        self._blobs = blobs
        self._enqueue = enqueue
        self._clock = clock
        self._specs: dict[str, ModelSpec | None] = {}

    def step(self) -> None:
        """Ask for what is due, and give up what nobody has approved in time."""
        with self._db.reading() as session:
            models = session.exec(select(Model.name)).all()
        for model in models:
            try:
                self._ask(model)
            except EdgewrightError as error:  # one model's damage must not hold up the others
                _log.warning("Whether %s is to be rebuilt: %s", model, error)
        self._give_up()

    def _ask(self, model: str) -> None:
        now = self._clock()
        with self._db.reading() as session:
            facts = self._facts(session, model)
        asked = due(facts, now) if facts else None
        if asked:
            again = bool(asked.alarm)
            order = Asked(asked.trigger, alarm=asked.alarm, again=again, from_version=asked.from_version)
            self._enqueue(model, asked.cause, order)

    def _facts(self, session: Session, model: str) -> Facts | None:
        ready, under_way = _ready_versions(session, model), _under_way(session, model)
        if not ready or (under_way is not None and not _can_be_taken_over(under_way)):
            return None
        number = version_to_start_from(session, model)
        running = next(row for row in ready if row.version == number)
        spec, newest = self._spec(running), self._spec(ready[0])
        if spec is None:
            return None
        last = select(func.max(Rebuild.queued_at), func.max(Rebuild.finished_at))
        ends = session.exec(last.where(col(Rebuild.model) == model)).one()
        since = max(running.created_at, *(at or 0.0 for at in ends))
        return Facts(
            spec.rebuild,
            number,
            since,
            count_new(session, model, since) if spec.rebuild.new_samples else 0,
            self._changed_recipe(session, ready) if newest and newest.rebuild.on_recipe_change else 0,
            _standing(session, model),
            is_queued=under_way is not None,
        )

    def _changed_recipe(self, session: Session, ready: list[ModelVersion]) -> int:
        """The newest version, where nothing but its recipe or ``[rebuild]`` differs from the one before."""
        newest, before = ready[0], next(iter(ready[1:]), None)
        if newest.source != "push" or before is None:
            return 0
        rebuilt = select(Rebuild.id).where(
            col(Rebuild.model) == newest.model, col(Rebuild.from_version) == newest.version
        )
        if session.exec(rebuilt.where(col(Rebuild.trigger) == Trigger.RECIPE)).first() is not None:
            return 0
        now, then = self._spec(newest), self._spec(before)
        if now is None or then is None or msgspec.structs.replace(now, rebuild=then.rebuild) != then:
            return 0
        of_recipe = {FILE_NAME, now.rebuild.recipe, then.rebuild.recipe}
        kept = [{k: v for k, v in row.files.items() if k not in of_recipe} for row in (newest, before)]
        changed = now.rebuild != then.rebuild or (
            newest.files.get(now.rebuild.recipe) != before.files.get(then.rebuild.recipe)
        )
        return newest.version if changed and kept[0] == kept[1] else 0

    def _give_up(self) -> None:
        def hours(rebuild: Rebuild) -> float:
            version = session.get_one(ModelVersion, (rebuild.model, rebuild.from_version))
            spec = self._spec(version)
            return spec.rebuild.approval_hours if spec else RebuildPart.approval_hours

        with self._db.session() as session:
            expired(session, hours, self._clock())

    def _spec(self, version: ModelVersion) -> ModelSpec | None:
        """A version's model.toml; None where it describes a model of tensors, which cannot be rebuilt."""
        sha256 = version.files.get(FILE_NAME, "")
        if sha256 not in self._specs:
            try:
                self._specs[sha256] = parse_model(self._blobs.read(sha256))
            except LineModelError:
                self._specs[sha256] = None
        return self._specs[sha256]


def _ready_versions(session: Session, model: str) -> list[ModelVersion]:
    """The newest first."""
    statement = select(ModelVersion).where(col(ModelVersion.model) == model, col(ModelVersion.state) == READY)
    return list(session.exec(statement.order_by(col(ModelVersion.version).desc())).all())


def _under_way(session: Session, model: str) -> Rebuild | None:
    statement = select(Rebuild).where(col(Rebuild.model) == model, col(Rebuild.state).in_(IN_FLIGHT))
    return session.exec(statement).first()


def _can_be_taken_over(row: Rebuild) -> bool:
    return row.state == RebuildState.QUEUED and row.trigger not in URGENCY


def _standing(session: Session, model: str) -> Standing | None:
    harm = exists().where(
        col(Finding.model) == col(Alarm.model),
        col(Finding.version) == col(Alarm.version),
        col(Finding.device) == "",
        col(Finding.harm),
        col(Finding.closed_at) == 0.0,
    )
    statement = select(Alarm).where(
        col(Alarm.model) == model, col(Alarm.closed_at) == 0.0, col(Alarm.signal) != FAULT_SIGNAL, harm
    )
    for alarm in session.exec(statement.order_by(col(Alarm.version).desc())).all():
        of_alarm = select(Rebuild).where(col(Rebuild.alarm) == alarm.id).order_by(col(Rebuild.id).desc())
        last = session.exec(of_alarm).first()
        if last is None or last.state in LED_NOWHERE:
            begun = alarm.raised_at + float(alarm.evidence.get("patience_s") or 0.0)
            ended = last.finished_at if last else begun
            return Standing(alarm.id or 0, alarm.version, alarm.sentence, ended)
    return None
