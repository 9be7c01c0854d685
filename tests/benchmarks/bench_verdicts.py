"""Benign shifts that were rebuilt, and harmful ones, of twenty each: the real model on rendered frames.

``shifted_frames`` makes the shifts and ranks them by true loss; its cut was written down before any verdict.
Each shift runs through the own parts of the product: the ``Tally`` makes windows of 2 s of four robots at
10 Hz, a scanner tells half of the truths two windows late, and the ``Monitor`` on its own database sees
400 frames as before, then the shifted frames again and again, in another order each time, for 1,080 s (43,200
frames). A rebuild counts when the monitor tells its listener of the alarm. Light and blur that do harm are
optics: there the alarm is raised at once, and a rebuild is opened after a quarter of an hour.

Peers look at the same shifted frames with 4,000 frames as before for a reference, with their documented
settings; an alarm of theirs counts, because nothing stands between it and a rebuild:

- Evidently's ``DataDriftPreset`` on softmax outputs, image statistics and embedding (half of the columns).
- NannyML's CBPE of the accuracy, chunks of 400; one alert counts.
- BBSD: black-box shift detection, our own small implementation of Rabanser, Guennemann, Lipton, "Failing
  loudly" (NeurIPS 2019), Section 3: Kolmogorov-Smirnov on each softmax output, Bonferroni, 5 %.
"""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
from scipy.stats import ks_2samp

from edgewright.agent.line.statistics import Tally, score
from edgewright.agent.preprocess import use_one_thread
from edgewright.controller.blobs import BlobStore
from edgewright.controller.compiler.frames import read_frames
from edgewright.controller.compiler.profile import fit_temperature, make_profile
from edgewright.controller.compiler.reference_profile import encode_profile
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import Artifact, ModelVersion
from edgewright.controller.model_toml import parse_model
from edgewright.controller.monitor import Monitor
from edgewright.wire.cell import Decision, Outcome
from edgewright.wire.messages import Window
from tests.benchmarks.peer_environments import PeerError, last_line, python_of
from tests.benchmarks.shifted_frames import BASELINE_FRAMES, MODEL, Floats, Line, Shift, Shown

SEED: Final = 20
ROBOTS: Final = ("r1", "r2", "r3", "r4")
FRAMES_A_WINDOW: Final = 20
WINDOW_S: Final = 2.0
SCANNED: Final = 0.5
DELAY_WINDOWS: Final = 2
BEFORE_FRAMES: Final = 400
WATCHED_S: Final = 1080.0
NANNYML_CHUNK: Final = 400
ALPHA: Final = 0.05
PEER_S: Final = 900
LABELS: Final = parse_model((MODEL / "model.toml").read_bytes()).model.labels


class Case(NamedTuple):
    """A shift, and what came of it."""

    kind: str
    shift: Shift
    loss: float
    shown: Shown


class Ended(NamedTuple):
    """What the monitor did: a rebuild after so many seconds, the alarm's cause and its seconds."""

    rebuilt_s: float | None
    cause: str
    alarmed_s: float | None


def run() -> Iterator[dict[str, object]]:
    """Measure; two dictionaries."""
    use_one_thread()
    line = Line()
    site = _Site(line)
    before = line.show(Shift("as before"), BASELINE_FRAMES, SEED + 2)
    cases = [Case(*found) for found in line.sets(SEED)]
    ended = [site.watch(case.shown, before) for case in cases]
    peers = _peers(before, cases)
    for kind in ("benign", "harmful"):
        rows = [number for number, case in enumerate(cases) if case.kind == kind]
        alarms = {peer: _count(said, rows) for peer, said in peers.items()}
        known = [count for count in alarms.values() if isinstance(count, int)]
        rebuilt = sum(ended[row].rebuilt_s is not None for row in rows)
        best = (min if kind == "benign" else max)(known, default=0)
        losses = [cases[row].loss for row in rows]
        causes = [ended[row].cause for row in rows if ended[row].cause]
        yield {
            "name": f"{kind}_rebuilds_of_20",
            "value": rebuilt,
            "unit": f"of {len(rows)}",
            "peer": "the best of Evidently, NannyML and BBSD",
            "peer_value": best,
            "ratio": round(rebuilt / best, 3) if best else None,
            "alarms": sum(ended[row].alarmed_s is not None for row in rows),
            "peers": alarms,
            "losses": [round(min(losses), 3), round(max(losses), 3)] if losses else [],
            "causes": {cause: causes.count(cause) for cause in sorted(set(causes))},
            "alarmed_s": _spread([ended[row].alarmed_s for row in rows]),
            "against_the_kind": [
                f"{cases[row].shift.name} ({cases[row].loss:+.3f})"
                for row in rows
                if (ended[row].rebuilt_s is None) == (kind == "harmful")
            ],
        }


class _Site:
    """A controller's database with the model's version in it."""

    def __init__(self, line: Line) -> None:
        self._line = line
        holdout = read_frames(MODEL / line.spec.data.holdout)
        labels = line.spec.model.labels
        some = [number for number, label in enumerate(holdout.labels) if label in labels]
        inputs = holdout.inputs(line.spec.preprocessing)
        logits = np.concatenate([line.logits(inputs[row : row + 1]) for row in range(len(inputs))])
        if len(some) != len(holdout):
            raise RuntimeError("The holdout has labels that the model lacks.")
        self.temperature = fit_temperature(logits, holdout.classes(labels))
        identity = (line.spec.model.name, 1, line.spec.targets[0])
        self._profile = encode_profile(make_profile(identity, logits, holdout, labels, self.temperature))

    def watch(self, shown: Shown, before: Shown) -> Ended:
        """Run one shift through windows and the monitor."""
        name, alarmed_s, cause = self._line.spec.model.name, None, ""
        with tempfile.TemporaryDirectory() as folder:
            db = Database.in_folder(Path(folder))
            db.create()
            told: list[int] = []
            monitor = Monitor(db, self._filled(db, Path(folder)), told.append)
            stream = _Stream(self._line, self.temperature)
            for windows in stream.rounds(before, BEFORE_FRAMES):
                monitor.observe(windows)
            shifted_s = stream.seconds
            while not told and stream.seconds < shifted_s + WATCHED_S:
                for windows in stream.rounds(shown, len(shown.truths)):
                    monitor.observe(windows)
                    harm = [v for v in monitor.findings(name) if v.harm and not v.device]
                    if harm and alarmed_s is None:
                        alarmed_s = stream.seconds - shifted_s
                    cause = str(harm[0].cause) if harm else cause
                    if told:
                        break
            db.close()
            return Ended(stream.seconds - shifted_s if told else None, cause, alarmed_s)

    def _filled(self, db: Database, folder: Path) -> BlobStore:
        blobs = BlobStore(folder / "blobs")
        name = self._line.spec.model.name
        with db.session() as session:
            session.add(
                ModelVersion(
                    model=name,
                    version=1,
                    state="ready",
                    source="push",
                    created_at=1.0,
                    files={"model.toml": blobs.put(self._line.text)},
                )
            )
            session.add(
                Artifact(
                    model=name,
                    version=1,
                    target=self._line.spec.targets[0],
                    precision="fp32",
                    qualification="emulated",
                    manifest_sha256="1",
                    manifest_length=1,
                    artifact_sha256="1",
                    artifact_length=1,
                    profile_sha256=blobs.put(self._profile),
                )
            )
        return blobs


class _Stream:
    """Four robots' windows, with truths that come late.

    Attributes:
        seconds: of the line's time so far.
    """

    def __init__(self, line: Line, temperature: float) -> None:
        self.seconds = 0.0
        self._model = line.spec.model.name
        self._labels = line.spec.model.labels
        self._temperature = temperature
        self._rng = np.random.default_rng(SEED)
        self._start = time.time() - 2 * WATCHED_S
        self._scans: list[list[tuple[str, str, str, float]]] = [[] for _ in range(DELAY_WINDOWS)]
        self._count = 0

    def rounds(self, shown: Shown, frames: int) -> Iterator[list[Window]]:
        """One window of each robot at a time, of the frames in a new order."""
        order = self._rng.permutation(len(shown.truths))[:frames].tolist()
        a_round = FRAMES_A_WINDOW * len(ROBOTS)
        for first in range(0, len(order) - a_round + 1, a_round):
            yield self._round(shown, order[first : first + a_round])

    def _round(self, shown: Shown, rows: list[int]) -> list[Window]:
        started = self._start + self.seconds
        tallies = {robot: Tally(self._model, 1, "", started) for robot in ROBOTS}
        scanned: list[tuple[str, str, str, float]] = []
        for number, row in enumerate(rows):
            robot = ROBOTS[number % len(ROBOTS)]
            scores = score(shown.logits[row].tolist(), self._temperature)
            label = self._labels[scores.best]
            decision = Decision(
                item=f"i{row}", label=label, confidence=scores.confidence, source="active", version=1
            )
            tallies[robot].add(decision, scores, "", 4000.0)
            tallies[robot].add_look(shown.looks[row])
            if self._rng.random() < SCANNED:
                scanned.append((robot, label, shown.truths[row], scores.confidence))
        for robot, label, truth, confidence in self._scans.pop(0):
            tallies[robot].add_outcome(1, label, Outcome("", truth), confidence)
        self._scans.append(scanned)
        self.seconds += WINDOW_S
        self._count += 1
        return [
            msgspec.structs.replace(tally.window(robot, WINDOW_S), stream=robot, seq=self._count)
            for robot, tally in tallies.items()
        ]


def _peers(before: Shown, cases: list[Case]) -> dict[str, list[bool] | str]:
    """Whether each peer alarms on each case, or why it said nothing."""
    said: dict[str, list[bool] | str] = {
        "BBSD": [_bbsd(_softmax(before.logits), _softmax(case.shown.logits)) for case in cases]
    }
    for peer, ask in (("Evidently", _evidently), ("NannyML", _nannyml)):
        try:
            said[peer] = ask(before, cases)
        except PeerError as error:
            said[peer] = str(error)
    return said


def _bbsd(reference: Floats, now: Floats) -> bool:
    outputs = reference.shape[1]
    return any(ks_2samp(reference[:, i], now[:, i]).pvalue < ALPHA / outputs for i in range(outputs))


def _evidently(before: Shown, cases: list[Case]) -> list[bool]:
    with tempfile.TemporaryDirectory(prefix="edgewright-peer-") as name:
        folder = Path(name)
        tables = {f"shift-{number}": _table(case.shown) for number, case in enumerate(cases)}
        names = [f"column {number}" for number in range(_table(before).shape[1])]
        np.savez(folder / "tables.npz", allow_pickle=False, names=names, reference=_table(before), **tables)
        _run("evidently", "look_with_evidently.py", folder)
        answers = json.loads((folder / "answers.json").read_text())
    return [bool(answers[f"shift-{number}"]["drifted"]) for number in range(len(cases))]


def _nannyml(before: Shown, cases: list[Case]) -> list[bool]:
    labels = {label: number for number, label in enumerate(LABELS)}
    with tempfile.TemporaryDirectory(prefix="edgewright-peer-") as name:
        folder = Path(name)
        analyses = {f"shift{n}_predicted": _softmax(case.shown.logits) for n, case in enumerate(cases)}
        np.savez(
            folder / "line.npz",
            allow_pickle=False,
            chunk=NANNYML_CHUNK,
            reference_predicted=_softmax(before.logits),
            reference_truth=np.array([labels[truth] for truth in before.truths]),
            **analyses,
        )
        _run("nannyml", "estimate_with_nannyml.py", folder)
        with np.load(folder / "line.estimates.npz") as file:
            return [bool(file[f"shift{number}_alert"].any()) for number in range(len(cases))]


def _run(peer: str, script: str, folder: Path) -> None:
    python = python_of(peer)
    command = [python, Path(__file__).with_name("peers") / script, folder]
    quiet = {"NML_DISABLE_USAGE_LOGGING": "1", "WHYLOGS_NO_ANALYTICS": "True", "DO_NOT_TRACK": "1"}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=PEER_S,
            check=False,
            env={**os.environ, **quiet, "OMP_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired as error:
        raise PeerError(f"gave nothing within {PEER_S} s") from error
    if done.returncode:
        raise PeerError(last_line(done.stderr))


def _table(shown: Shown) -> Floats:
    """What a table tool is given: softmax outputs, image statistics and embedding."""
    looks = [[*look.statistics, *np.asarray(look.embedding).tolist()] for look in shown.looks]
    return np.hstack([_softmax(shown.logits), np.array(looks, dtype=np.float64)])


def _softmax(logits: Floats) -> Floats:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances: Floats = weights / weights.sum(axis=1, keepdims=True)
    return chances


def _count(said: list[bool] | str, rows: list[int]) -> int | str:
    return said if isinstance(said, str) else sum(said[row] for row in rows)


def _spread(seconds: list[float | None]) -> list[float]:
    """Least, median and most of those that came."""
    came = sorted(second for second in seconds if second is not None)
    return [round(float(np.quantile(came, q)), 1) for q in (0.0, 0.5, 1.0)] if came else []
