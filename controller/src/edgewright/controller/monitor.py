"""The monitor: from stored windows to evidence, and from evidence of harm to an alarm.

It is told of windows after they are stored, and decides nothing by itself: the numbers come from
``evidence.version``, and what an alarm leads to is its listener's matter. Rules:

- Evidence belongs to the version that decided. A window of a new version may bring outcomes of the old one;
  they count for the old one. A version's evidence starts with its own windows.
- An alarm is raised once for a version, never for one that no device runs any more, and not while a rebuild
  of the model is under way. It is stored before its listener is told.
- Harm alarms; a fallen confidence is an event (``drift.noticed``).
- A listener that raises is told again when the next windows come, until it has taken the alarm.
- Nothing is kept but what the database has: ``replay`` makes the same state again from the stored windows,
  and tells the listener of alarms that are still open, so a listener has to take an alarm twice.

A window counts once: ingest hands on each stream in order, so a number that is not above the last one of its
stream has been counted.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from edgewright.controller.blobs import BlobStore
from edgewright.controller.database import Session, col, select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.evidencetables import Alarm, Rebuild
from edgewright.controller.database.tables import Artifact, Device, Event, ModelVersion
from edgewright.controller.database.tables import Window as WindowRow
from edgewright.controller.events import record
from edgewright.controller.evidence.reference import read_reference
from edgewright.controller.evidence.version import VersionEvidence, VersionHealth
from edgewright.controller.model_toml import FILE_NAME, parse_model
from edgewright.controller.rebuild.states import IN_FLIGHT
from edgewright.wire.errors import MessageError
from edgewright.wire.histograms import Histogram
from edgewright.wire.messages import Window, decode_up

REPLAY_S: Final = 24 * 3600.0
"""Windows older than this are not replayed: a detector may start at any time without breaking its promise."""

REPLAY_WINDOWS: Final = 1000
"""Rows read at once."""

HARM_SIGNAL: Final = "error-rate"


class _Key(NamedTuple):
    model: str
    version: int


class Monitor:
    """See the module's text; safe to use from several threads."""

    def __init__(self, db: Database, blobs: BlobStore, on_alarm: Callable[[int], object]) -> None:
        self._db = db
        self._blobs = blobs
        self._on_alarm = on_alarm
        self._lock = threading.Lock()
        self._evidence: dict[_Key, VersionEvidence] = {}
        self._counted: dict[tuple[str, str], int] = {}
        self._deciding: dict[tuple[str, str], tuple[float, int]] = {}
        self._noted: set[_Key] = set()
        self._untold: list[int] = []

    def replay(self) -> None:
        """Make the evidence again from the stored windows, in place of what was there."""
        with self._lock:
            for state in (self._evidence, self._counted, self._deciding, self._noted):
                state.clear()
            for windows in _stored(self._db, time.time() - REPLAY_S):
                self._count(windows)
                self._weigh(windows)
            with self._db.reading() as session:
                waiting = session.exec(select(Alarm.id).where(col(Alarm.closed_at) == 0.0)).all()
            self._untold = [alarm or 0 for alarm in waiting]
            self._tell()

    def observe(self, windows: Sequence[Window]) -> None:
        """Take windows that have been stored; alarms are stored and told before this returns."""
        with self._lock:
            self._weigh(self._count(windows))
            self._tell()

    def status(self, model: str) -> list[VersionHealth]:
        """The evidence of each version of a model that has any, newest version first."""
        with self._lock:
            keys = sorted((key for key in self._evidence if key.model == model), reverse=True)
            return [self._evidence[key].health() for key in keys]

    def _count(self, windows: Sequence[Window]) -> list[Window]:
        """The windows that were not counted before."""
        fresh = []
        for window in windows:
            stream = (window.device, window.stream)
            if window.seq <= self._counted.get(stream, 0):
                continue
            self._counted[stream] = window.seq
            fresh.append(window)
        return fresh

    def _weigh(self, windows: Sequence[Window]) -> None:
        """Take windows into the evidence by time, and act on what it says then."""
        by_time = sorted(windows, key=lambda window: (window.start, window.device, window.seq))
        for window in by_time:
            if window.model and window.version:
                place, said = (window.model, window.device), (window.start, window.version)
                self._deciding[place] = max(self._deciding.get(place, said), said)
        for key in self._take(by_time):
            health = self._evidence[key].health()
            if health.changed and key not in self._noted:
                self._note_change(key, health)
            if health.harmed:
                self._raise_alarm(key, health)

    def _take(self, windows: Iterable[Window]) -> list[_Key]:
        """Feed the detectors; returns the versions that got something."""
        outcomes: dict[_Key, list[tuple[float, int, int]]] = {}
        confidence: dict[_Key, list[tuple[float, float]]] = {}
        for window in windows:
            for told in window.outcomes:
                block = (window.start, told.labelled, told.wrong)
                if 0 <= told.wrong <= told.labelled and told.labelled > 0:
                    outcomes.setdefault(_Key(window.model, told.version), []).append(block)
            mean = _mean_confidence(window)
            if mean is not None:
                confidence.setdefault(_Key(window.model, window.version), []).append((window.start, mean))
        touched = [key for key in {**outcomes, **confidence} if self._known(key)]
        for key in touched:
            if key in outcomes:
                self._evidence[key].observe_outcomes(outcomes[key])
            if key in confidence:
                self._evidence[key].observe_confidence(confidence[key])
        return touched

    def _known(self, key: _Key) -> bool:
        """Whether there is something to compare the version with; looked up until there is."""
        if key in self._evidence:
            return True
        with self._db.reading() as session:
            version = session.get(ModelVersion, key)
            profiles = session.exec(
                select(Artifact.profile_sha256)
                .where(col(Artifact.model) == key.model)
                .where(col(Artifact.version) == key.version)
            ).all()
        if version is None or not profiles:
            return False
        drift = parse_model(self._blobs.read(version.files[FILE_NAME])).drift
        references = [read_reference(self._blobs.read(sha256)) for sha256 in set(profiles)]
        # Windows do not say the target; the weakest promise among the targets is the one that all keep.
        reference = max(references, key=lambda r: r.harm_rate(drift.harm_tolerance))
        self._evidence[key] = VersionEvidence(
            *key, reference, tolerance=drift.harm_tolerance, run_length=drift.average_run_length
        )
        return True

    def _raise_alarm(self, key: _Key, health: VersionHealth) -> None:
        runs_somewhere = any(
            place[0] == key.model and version == key.version for place, (_, version) in self._deciding.items()
        )
        if not runs_somewhere:
            return
        with self._db.session() as session:
            if _has_alarm(session, key) or _is_rebuilding(session, key.model):
                return
            alarm = Alarm(
                model=key.model,
                version=key.version,
                raised_at=time.time(),
                signal=HARM_SIGNAL,
                sentence=health.harm_sentence,
                evidence=msgspec.to_builtins(health),
            )
            session.add(alarm)
            record(session, "alarm.raised", health.harm_sentence, model=key.model, version=key.version)
            session.flush()
            number = alarm.id or 0
        self._untold.append(number)

    def _tell(self) -> None:
        """Tell the listener of alarms that it has not taken; one that it refuses stays."""
        while self._untold:
            self._on_alarm(self._untold[0])
            del self._untold[0]

    def _note_change(self, key: _Key, health: VersionHealth) -> None:
        self._noted.add(key)
        kind = "drift.noticed"
        with self._db.session() as session:
            statement = (
                select(Event.id)
                .where(col(Event.kind) == kind)
                .where(col(Event.model) == key.model)
                .where(col(Event.version) == key.version)
            )
            if session.exec(statement).first() is None:
                record(session, kind, health.change_sentence, model=key.model, version=key.version)


def close_alarms(session: Session, model: str, below_version: int) -> None:
    """Close the open alarms of versions below ``below_version`` that no connected device runs any more."""
    running = select(Device.active_version).where(col(Device.active_model) == model)
    statement = (
        select(Alarm)
        .where(col(Alarm.model) == model)
        .where(col(Alarm.version) < below_version)
        .where(col(Alarm.closed_at) == 0.0)
        .where(col(Alarm.version).not_in(running.where(col(Device.connected))))
    )
    for alarm in session.exec(statement).all():
        alarm.closed_at = time.time()
        session.add(alarm)
        sentence = f"The alarm of {model} v{alarm.version} is closed: no connected device runs it any more."
        record(session, "alarm.closed", sentence, model=model, version=alarm.version)


def _has_alarm(session: Session, key: _Key) -> bool:
    statement = select(Alarm.id).where(col(Alarm.model) == key.model).where(col(Alarm.version) == key.version)
    return session.exec(statement).first() is not None


def _is_rebuilding(session: Session, model: str) -> bool:
    statement = select(Rebuild.id).where(col(Rebuild.model) == model).where(col(Rebuild.state).in_(IN_FLIGHT))
    return session.exec(statement).first() is not None


def _mean_confidence(window: Window) -> float | None:
    packed = window.histograms.get("confidence")
    if packed is None or not window.version:
        return None
    try:
        histogram = Histogram.unpack(packed)
    except MessageError:
        return None
    return histogram.mean() if histogram.total else None


def _stored(db: Database, since: float) -> Iterable[list[Window]]:
    """Stored windows by time, some at once."""
    statement = (
        select(WindowRow.payload)
        .where(col(WindowRow.ts) >= since)
        .order_by(col(WindowRow.ts), col(WindowRow.device), col(WindowRow.seq))
        .execution_options(yield_per=REPLAY_WINDOWS)
    )
    with db.reading() as session:
        for payloads in session.exec(statement).partitions(REPLAY_WINDOWS):
            messages = [decode_up(payload) for payload in payloads]
            yield [message for message in messages if isinstance(message, Window)]
