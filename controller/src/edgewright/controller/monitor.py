"""The monitor: from stored windows to evidence, and from evidence of harm to an alarm.

It is told of windows after they are stored, and decides nothing by itself: the numbers come from
``evidence.version``, what is the matter from ``evidence.verdict``, and what an alarm leads to is its
listener's matter. Rules:

- Evidence belongs to the version that decided. A window of a new version may bring outcomes of the old one;
  they count for the old one. A version's evidence starts with its own windows.
- A robot's windows are held against the test of its own target (``evidence.targets``).
- Windows with numbers that cannot be are set aside (``evidence.plausible``), and so are those in grace.
- Every verdict is a stored finding, opened and closed by events. Harm of more than a minority of robots is an
  alarm besides: one is open for a version, never for one that no device runs any more. It is stored before
  its listener is told, also while a rebuild of the model is under way. It is closed when no device runs the
  version any more, or when the harm has been over for some time.
- A closed alarm ends the evidence that raised it: for another one only windows after that are evidence.
- The listener is told of an alarm when its verdict opens a rebuild, at once or after some patience. One that
  it cannot take keeps no other from it, and is told again with the next windows, until it is taken.
- An alarm that waited, as wiping a lens needs time, opens no rebuild because the pictures are right again: of
  a cause without patience the labels from then on have to show harm by themselves.
- A version whose stored files cannot be read has no evidence, which is an event; all others have theirs.
- A fallen confidence is an event (``drift.noticed``).
- Nothing is kept but what the database has: ``replay`` makes the same state again from the stored windows,
  and tells the listener of alarms that are still open, so a listener has to take an alarm twice. Windows that
  come meanwhile wait for it.

A window counts once, and in whatever order it comes. Windows of one batch are taken by their time.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from edgewright.controller import findings, labels, looks
from edgewright.controller.blobs import BlobStore
from edgewright.controller.database import MOST_NUMBER, Session, col, select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import Artifact, Device, ModelVersion
from edgewright.controller.evidence.counting import Counted
from edgewright.controller.evidence.plausible import Ledger, why_impossible, why_impossible_signals
from edgewright.controller.evidence.reference import read_reference
from edgewright.controller.evidence.seats import OTHER_SOURCES
from edgewright.controller.evidence.signals import Seen, read_signals
from edgewright.controller.evidence.sources import judge_source
from edgewright.controller.evidence.targets import UNKNOWN, Targets
from edgewright.controller.evidence.told import Heard
from edgewright.controller.evidence.two_rates import Counts
from edgewright.controller.evidence.verdict import Verdict, alarming, judge
from edgewright.controller.evidence.version import VersionEvidence, VersionHealth
from edgewright.controller.findings import About, Key, close_alarms
from edgewright.controller.model_toml import FILE_NAME, parse_model
from edgewright.controller.replaying import stored_windows
from edgewright.wire.errors import EdgewrightError
from edgewright.wire.messages import Window

__all__ = ["Monitor", "close_alarms"]

REPLAY_S: Final = 24 * 3600.0
"""Windows older than this are not replayed: a detector may start at any time without breaking its promise."""

AT_ONCE: Final = 32
"""Windows that are replayed in one step: harm is looked for after each, as when they came."""

JUDGED_EVERY_S: Final = 5.0
"""Time of windows after which a version with findings is judged again, where no threshold was crossed."""

BREATH_S: Final = 0.001
"""Between two steps of a replay, for everybody else who needs the monitor."""

MOST_BEHIND: Final = 20_000
"""Windows that wait for a replay; of more the oldest are let go, which the replay finds stored."""

LOOKED_EVERY_S: Final = 5.0
"""Seconds after which audits, and versions that were not known, are looked up again."""

LATE_S: Final = 60.0
"""Labels that come within this time may be of frames from before."""

QUIET_S: Final = 600.0
"""Time of windows without harm after which an alarm is closed: harm that comes and goes is one alarm."""

_log = logging.getLogger(__name__)


class Monitor:
    """See the module's text; safe to use from several threads."""

    def __init__(self, db: Database, blobs: BlobStore, on_alarm: Callable[[int], object]) -> None:
        self._db = db
        self._blobs = blobs
        self._on_alarm = on_alarm
        self._lock = threading.Lock()
        self._behind: deque[Window] | None = None
        self._forget()

    def _forget(self) -> None:
        self._evidence: dict[Key, VersionEvidence] = {}
        self._target_of: dict[str, str] = {}
        self._counted = Counted()
        self._deciding: dict[tuple[str, str], tuple[float, int]] = {}
        self._ledger = Ledger()
        self._unknown: dict[Key, float] = {}
        self._noted: set[Key] = set()
        self._verdicts: dict[Key, tuple[Verdict, ...]] = {}
        self._findings: dict[Key, dict[About, int]] = {}
        self._judged: dict[Key, tuple[float, tuple[object, ...]]] = {}
        self._since: dict[Key, float] = {}
        self._quiet: dict[Key, float] = {}
        self._audited: dict[str, tuple[looks.Mark, frozenset[Key]]] = {}
        self._weighed: dict[str, dict[Key, set[str]]] = {}
        self._looked_at = 0.0
        self._now = 0.0
        self._waiting: dict[Key, int] = {}
        self._otherwise: dict[Key, float] = {}
        self._untold: list[int] = []
        self._refused: set[int] = set()

    @property
    def is_held(self) -> bool:
        """Whether windows wait for a replay."""
        return self._behind is not None

    def hold(self) -> None:
        """Let windows wait until there has been a replay."""
        with self._lock:
            self._behind = deque(maxlen=MOST_BEHIND)

    def replay(self, stopping: threading.Event | None = None) -> None:
        """Make the evidence again from the stored windows, in place of what was there, and go on from there.

        Args:
            stopping: ends the replay early where it is set; windows then wait for the next one.
        """
        breath = stopping or threading.Event()
        self.hold()
        with self._lock:
            self._forget()
        for windows in stored_windows(self._db, time.time() - REPLAY_S):
            for start in range(0, len(windows), AT_ONCE):
                with self._lock:
                    self._take(self._count(windows[start : start + AT_ONCE]))
                if breath.wait(BREATH_S):
                    return
        while self._lags():
            if breath.wait(BREATH_S):
                return

    def _lags(self) -> bool:
        """Take some of the windows that wait; whether there are more. After the last one it is now."""
        with self._lock:
            behind = self._behind or deque()
            self._take(self._count([behind.popleft() for _ in range(min(AT_ONCE, len(behind)))]))
            if behind:
                return True
            self._behind = None
            self._take_up_alarms()
            self._look()
            for key in list(self._evidence):
                self._judge(key)
            self._tell()
            return False

    def _take_up_alarms(self) -> None:
        """Remember the alarms that are open; those without patience are told again."""
        with self._db.reading() as session:
            for alarm in findings.open_alarms(session):
                key = Key(alarm.model, alarm.version)
                self._quiet[key] = self._now
                # One without patience was told before, or would have been at once.
                if alarm.evidence.get("patience_s"):
                    self._waiting[key] = alarm.id or 0
                else:
                    self._untold.append(alarm.id or 0)

    def observe(self, windows: Sequence[Window]) -> None:
        """Take windows that have been stored; alarms are stored and told before this returns.

        During a replay they wait, and this returns at once.
        """
        with self._lock:
            if self._behind is not None:
                self._behind.extend(windows)
                return
            touched = self._take(self._count(windows))
            if time.monotonic() > self._looked_at + LOOKED_EVERY_S:
                self._look()
            for key in [*touched, *(key for key in self._findings if key not in touched)]:
                if self._is_due(key):
                    self._judge(key)
            self._tell()

    def status(self, model: str) -> list[VersionHealth]:
        """The evidence of each version of a model that has any, newest version first."""
        with self._lock:
            keys = sorted((key for key in self._evidence if key.model == model), reverse=True)
            return [self._evidence[key].health() for key in keys if self._evidence[key].has_any]

    def findings(self, model: str) -> list[Verdict]:
        """What is the matter with each version of a model, newest version first."""
        with self._lock:
            keys = sorted((key for key in self._verdicts if key.model == model), reverse=True)
            return [verdict for key in keys for verdict in self._verdicts[key]]

    def _count(self, windows: Iterable[Window]) -> list[Window]:
        """The windows that were not counted before."""
        return [w for w in windows if self._counted.add(w.device, w.stream, w.seq)]

    def _take(self, windows: Iterable[Window]) -> dict[Key, None]:
        """Take windows into the evidence by time; returns the versions that got something."""
        decided: dict[Key, list[tuple[Window, Seen]]] = {}
        heard: dict[Key, list[Heard]] = {}
        touched: dict[Key, None] = {}
        for window in self._ordered(windows):
            key = Key(window.model, window.version)
            if why_impossible(window) or self._ledger.why_impossible(window):
                if self._known(key):
                    self._evidence[key].set_aside(window.device)
                    touched[key] = None
                continue
            self._now = max(self._now, window.start + window.seconds)
            if window.model and window.version:
                place, said = (window.model, window.device), (window.start, window.version)
                self._deciding[place] = max(self._deciding.get(place, said), said)
            if window.grace:
                continue
            if window.version and window.frames and self._is_evidence(key, window):
                seen = read_signals(window)
                if why_impossible_signals(window, seen):
                    self._evidence[key].set_aside(window.device)
                    touched[key] = None
                    continue
                decided.setdefault(key, []).append((window, seen))
            for told in window.outcomes:
                decider = Key(window.model, told.version)
                if told.labelled > 0 and self._is_evidence(decider, window):
                    named = msgspec.structs.replace(told, source=labels.line_source(told.source))
                    one = Heard(window.start, window.device, window.tag, named)
                    heard.setdefault(decider, []).append(one)
        for key, labels_told in heard.items():
            self._evidence[key].observe_outcomes(labels_told)
        for key, looked in decided.items():
            self._evidence[key].observe(looked)
        return {**touched, **dict.fromkeys([*heard, *decided])}

    def _ordered(self, windows: Iterable[Window]) -> list[Window]:
        """Windows by time, once the targets of their robots are known."""
        ordered = sorted(windows, key=lambda window: (window.start, window.device, window.seq))
        if strangers := {window.device for window in ordered} - self._target_of.keys():
            self._target_of.update(dict.fromkeys(strangers, UNKNOWN))
            with self._db.reading() as session:
                self._learn_targets(session)
        return ordered

    def _is_evidence(self, key: Key, window: Window) -> bool:
        """Whether a window tells of a version, and not of the time before its last alarm was closed."""
        return self._known(key) and window.start >= self._since[key]

    def _known(self, key: Key) -> bool:
        """Whether there is something to compare the version with; looked up until there is."""
        if key in self._evidence:
            return True
        if not key.model or not 1 <= key.version <= MOST_NUMBER:
            return False
        if time.monotonic() < self._unknown.get(key, 0.0):
            return False
        try:
            if self._read_version(key):
                return True
        # Damage of whatever kind in the files of one version is no matter of the others.
        except (EdgewrightError, LookupError, ValueError, ArithmeticError) as error:
            self._note_unreadable(key, error)
        self._unknown = {k: at for k, at in self._unknown.items() if at > time.monotonic()}
        self._unknown[key] = time.monotonic() + LOOKED_EVERY_S
        return False

    def _read_version(self, key: Key) -> bool:
        """Begin the evidence of a version; whether the registry has it."""
        with self._db.reading() as session:
            version = session.get(ModelVersion, key)
            artifacts = session.exec(
                select(Artifact.target, Artifact.profile_sha256)
                .where(col(Artifact.model) == key.model)
                .where(col(Artifact.version) == key.version)
            ).all()
            stored = findings.stored_references(session, key)
            known = findings.open_findings(session, key)
            self._since[key] = findings.closed_at(session, key)
        if version is None or not artifacts:
            return False
        spec = parse_model(self._blobs.read(version.files[FILE_NAME]))
        self._evidence[key] = VersionEvidence(
            *key,
            self._targets(artifacts, spec.drift.harm_tolerance),
            tolerance=spec.drift.harm_tolerance,
            run_length=spec.drift.average_run_length,
            latency_limit_us=float(spec.limits.latency_p99_us),
            stored=stored,
        )
        if known:
            self._findings[key] = known
        return True

    def _targets(self, artifacts: Sequence[tuple[str, str]], tolerance: float) -> Targets:
        """What testing showed of each target; where all showed the same the robots' targets do not matter."""
        read = {sha256: read_reference(self._blobs.read(sha256)) for _, sha256 in artifacts}
        # The weakest promise among the targets is the one that all keep.
        weakest = max(read.values(), key=lambda reference: reference.harm_rate(tolerance))
        by_target = {target: read[sha256] for target, sha256 in artifacts} if len(read) > 1 else {}
        return Targets(weakest, by_target, self._target_of)

    def _learn_targets(self, session: Session) -> None:
        """Look up which robot is of which target; one that is set up anew may be of another."""
        self._target_of.update(session.exec(select(Device.id, Device.target)).all())

    def _look(self) -> None:
        """Take audits, ask them which sources are to be believed, and close findings of the past."""
        self._looked_at = time.monotonic()
        models = {key.model for key in self._evidence}
        with self._db.reading() as session:
            self._learn_targets(session)
            for model in sorted(models):
                audits = self._take_audits(session, model)
                named = {key: self._evidence[key].sources for key in self._evidence if key.model == model}
                if audits or named != self._weighed.get(model):
                    self._weighed[model] = named
                    self._weigh_sources(session, model)
            left = findings.abandoned(session, self._evidence)
        for key in left:
            with self._db.session() as session:
                findings.write_findings(session, key, (), findings.open_findings(session, key))

    def _take_audits(self, session: Session, model: str) -> bool:
        """Count audits of random frames as one more source; all anew where one came, changed or went."""
        now, keys = time.time(), frozenset(key for key in self._evidence if key.model == model)
        found = (looks.mark(session, model, now), keys)
        if found == self._audited.get(model):
            return False
        self._audited[model] = found
        for key in keys:
            self._evidence[key].forget_source(labels.AUDIT)
        for key, one in looks.settled(session, model, now):
            if key in keys and one.at >= self._since[key]:
                self._evidence[key].observe_outcomes([one])
        return True

    def _weigh_sources(self, session: Session, model: str) -> None:
        """Ask audits which sources of each version are to be believed; the names come from devices.

        Names without a seat are judged together, and one that audits have not met is judged as its line is.
        """
        line = labels.source_agreement(session, model, labels.LINE)
        for evidence in (self._evidence[key] for key in self._evidence if key.model == model):
            told = evidence.sources - {labels.AUDIT}
            met = {source: labels.source_agreement(session, model, source or labels.LINE) for source in told}
            if OTHER_SOURCES in told:
                met[OTHER_SOURCES] = labels.line_agreement(session, model, told)
            evidence.distrusted = frozenset(
                source
                for source, agreement in met.items()
                if not judge_source(*(agreement if agreement.compared else line)).trusted
            )

    def _is_due(self, key: Key) -> bool:
        """Whether a version is to be judged: a threshold was crossed, or some time has passed."""
        evidence = self._evidence[key]
        judged_at, signature = self._judged.get(key, (0.0, ()))
        if evidence.baselines.fresh:
            return True
        some = evidence.flagged or evidence.changed or self._findings.get(key) or key in self._quiet
        if not some:
            return False
        return self._now >= judged_at + JUDGED_EVERY_S or evidence.signature != signature

    def _judge(self, key: Key) -> None:
        """Judge a version, and act on what is said: findings first, then the alarm."""
        evidence = self._evidence[key]
        self._judged[key] = (self._now, evidence.signature)
        runs = self._runs_somewhere(key)
        verdicts = judge(evidence.facts(self._before(key))) if runs else ()
        if alarming(verdicts) and self._is_of_the_past(key):
            self._begin_again(key)
            return
        if runs:
            self._follow_harm(key, verdicts)
        self._verdicts[key] = verdicts
        if evidence.changed and key not in self._noted:
            self._note_change(key, evidence.health())
        fresh, evidence.baselines.fresh = evidence.baselines.fresh, []
        known = self._findings.get(key, {})
        if not verdicts and not known and not fresh:
            return
        with self._db.session() as session:
            findings.store_references(session, key, fresh)
            self._findings[key] = findings.write_findings(session, key, verdicts, known)
        for verdict in alarming(verdicts):
            new = self._lacks_alarm(key, verdict)
            if new:
                self._raise_alarm(key, verdict)
            still = key in self._waiting and (new or self._still_harms(key, verdict))
            if still and verdict.opens_rebuild(self._now):
                self._untold.append(self._waiting.pop(key))

    def _still_harms(self, key: Key, verdict: Verdict) -> bool:
        """Whether harm that had another cause goes on since it has this one; an estimate is of now anyway."""
        if verdict.patience_s != 0.0 or not verdict.evidence.get("harmed"):
            self._otherwise.pop(key, None)
            return True
        since = self._otherwise.setdefault(key, self._now + LATE_S)
        return self._evidence[key].shows_harm(since, verdict.tag)

    def _is_of_the_past(self, key: Key) -> bool:
        """Whether an alarm was closed since the evidence began: what it shows has been answered."""
        with self._db.reading() as session:
            return findings.closed_at(session, key) > self._since[key]

    def _begin_again(self, key: Key) -> None:
        """Forget the evidence of a version; its next window begins it anew."""
        for kept in (
            self._evidence,
            self._findings,
            self._verdicts,
            self._judged,
            self._waiting,
            self._quiet,
        ):
            kept.pop(key, None)
        for by_model in (self._audited, self._weighed):
            by_model.pop(key.model, None)

    def _follow_harm(self, key: Key, verdicts: Sequence[Verdict]) -> None:
        """Close the alarm of harm that has been over for some time."""
        if alarming(verdicts):
            self._quiet.pop(key, None)
        elif alarming(self._verdicts.get(key, ())):
            self._quiet[key] = self._now
        elif self._now >= self._quiet.get(key, self._now) + QUIET_S:
            del self._quiet[key]
            self._waiting.pop(key, None)
            with self._db.session() as session:
                findings.end_alarms(session, key, self._now)

    def _lacks_alarm(self, key: Key, verdict: Verdict) -> bool:
        """Whether none is open: a version has one that a rebuild answers, and one of a fault."""
        fault = findings.signal_of(verdict) == findings.FAULT_SIGNAL
        with self._db.reading() as session:
            opened = findings.alarm_signals(session, key)
        return fault not in (signal == findings.FAULT_SIGNAL for signal in opened)

    def _raise_alarm(self, key: Key, verdict: Verdict) -> None:
        with self._db.session() as session:
            number = findings.raise_alarm(session, key, verdict, self._evidence[key].health())
        if verdict.patience_s is not None:
            self._waiting[key] = number

    def _before(self, key: Key) -> Counts | None:
        """What the version before did lately, on the same inputs."""
        older = [k for k in self._evidence if k.model == key.model and k.version < key.version]
        if not older:
            return None
        return self._evidence[max(older)].lately(self._evidence[key].first_at)

    def _runs_somewhere(self, key: Key) -> bool:
        return any(
            place[0] == key.model and version == key.version for place, (_, version) in self._deciding.items()
        )

    def _tell(self) -> None:
        """Tell the listener of each alarm that it has not taken; one that it refuses stays."""
        for alarm in list(self._untold):
            try:
                self._on_alarm(alarm)
            # Whatever the listener cannot do about one alarm, it is to hear of the others.
            except Exception:  # noqa: BLE001
                if alarm not in self._refused:
                    _log.exception("Alarm %d could not be answered; it is tried again.", alarm)
                self._refused.add(alarm)
            else:
                self._untold.remove(alarm)
                self._refused.discard(alarm)

    def _note_change(self, key: Key, health: VersionHealth) -> None:
        self._noted.add(key)
        self._note_once(key, "drift.noticed", health.change_sentence)

    def _note_unreadable(self, key: Key, error: Exception) -> None:
        why = str(error) if isinstance(error, EdgewrightError) else "A stored file of it is damaged."
        self._note_once(key, "evidence.unreadable", f"{key.model} v{key.version} has no evidence. {why}")

    def _note_once(self, key: Key, kind: str, sentence: str) -> None:
        with self._db.session() as session:
            findings.note_once(session, key, kind, sentence)
