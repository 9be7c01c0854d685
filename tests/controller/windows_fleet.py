"""A database with two versions of a model, and robots that send windows into it as ingest would."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from edgewright.controller.blobs import BlobStore
from edgewright.controller.database import col, select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.evidencetables import Finding
from edgewright.controller.database.tables import Artifact, Event, ModelVersion
from edgewright.controller.database.tables import Window as WindowRow
from edgewright.controller.ingest.rows import window_row
from edgewright.controller.monitor import Monitor
from edgewright.wire.canonical import canonical_json
from edgewright.wire.histograms import Histogram
from edgewright.wire.messages import Outcomes, Window

MODEL = "packing"
START = time.time() - 3600.0
DEVICES = ("r1", "r2", "r3", "r4")
MODEL_TOML = """
targets = ["x86_64-ort-cpu"]
[model]
name = "packing"
file = "m.onnx"
licence = "MIT"
labels = ["A", "B"]
fallback = "manual"
[input]
name = "image"
dtype = "float32"
shape = [1, 3, 8, 8]
[output]
name = "logits"
[preprocessing]
width = 8
height = 8
colour = "rgb"
mean = [0.0, 0.0, 0.0]
std = [1.0, 1.0, 1.0]
[data]
calibration = "c.npz"
holdout = "h.npz"
[limits]
golden_tolerance = 0.1
latency_p99_us = 1000
memory_mb = 100
shadow_frames = 1
probation_frames = 1
"""


class Fleet:
    """A database with two versions, and robots that send windows into it as ingest would."""

    def __init__(self, folder: Path) -> None:
        self.db = Database.in_folder(folder)
        self.db.create()
        self.blobs = BlobStore(folder / "blobs")
        self.alarms: list[int] = []
        self.monitor = self.new_monitor()
        self._rng = np.random.default_rng(5)
        self._seq = dict.fromkeys(DEVICES, 0)
        self._tick = 0
        for version in (1, 2):
            self._add_version(version)

    def new_monitor(self) -> Monitor:
        """A monitor as a controller that starts makes it."""
        return Monitor(self.db, self.blobs, self.alarms.append)

    def _add_version(self, version: int) -> None:
        rng = np.random.default_rng(1)
        confidence = histogram_of("confidence", rng.beta(20, 2, 400).tolist())
        brightness = histogram_of("unit", rng.normal(0.5, 0.08, 400).tolist())
        profile = {
            "model": MODEL,
            "version": version,
            "target": "x86_64-ort-cpu",
            "error_rate": 0.09,
            "error_rate_n": 1000,
            "histograms": {"confidence": confidence.pack(), "brightness": brightness.pack()},
            "classes": {"A": 200, "B": 200},
        }
        with self.db.session() as session:
            session.add(
                ModelVersion(
                    model=MODEL,
                    version=version,
                    state="ready",
                    source="push",
                    created_at=1.0,
                    files={"model.toml": self.blobs.put(MODEL_TOML.encode())},
                )
            )
            session.add(
                Artifact(
                    model=MODEL,
                    version=version,
                    target="x86_64-ort-cpu",
                    precision="int8",
                    qualification="emulated",
                    manifest_sha256=f"{version}",
                    manifest_length=1,
                    artifact_sha256=f"{version}",
                    artifact_length=1,
                    profile_sha256=self.blobs.put(canonical_json(profile)),
                )
            )

    def windows(
        self,
        error: float,
        *,
        version: int = 1,
        decided_by: int = 1,
        confidence: tuple[float, float] = (20, 2),
        brightness: float | None = None,
        tag: str = "",
        classes: tuple[float, ...] = (),
    ) -> list[Window]:
        """One window of each robot.

        Args:
            error: chance that a labelled item is wrong.
            version: that decided.
            decided_by: the version that the outcomes belong to.
            confidence: of a beta distribution.
            brightness: mean of a normal distribution; None sends none.
            tag: of the goods.
            classes: chances of the classes A, B ...; empty sends none.
        """
        self._tick += 1
        made = []
        for device in DEVICES:
            self._seq[device] += 1
            histograms = {"confidence": histogram_of("confidence", self._rng.beta(*confidence, 20).tolist())}
            if brightness is not None:
                seen = self._rng.normal(brightness, 0.08, 20).tolist()
                histograms["brightness"] = histogram_of("unit", seen)
            drawn = self._rng.multinomial(20, classes).tolist() if classes else []
            made.append(
                Window(
                    device=device,
                    stream=f"{device}-s",
                    seq=self._seq[device],
                    start=START + 2.0 * self._tick,
                    seconds=2.0,
                    model=MODEL,
                    version=version,
                    tag=tag,
                    frames=20,
                    by_source={"active": 20},
                    causes={},
                    classes=dict(zip("ABCD", drawn, strict=False)),
                    histograms={signal: histogram.pack() for signal, histogram in histograms.items()},
                    outcomes=(Outcomes(decided_by, 6, int(self._rng.binomial(6, error))),),
                    truths={},
                )
            )
        return made

    def wait(self, seconds: float) -> None:
        """Let time pass without windows."""
        self._tick += int(seconds / 2.0)

    def send(self, windows: list[Window]) -> None:
        """Store windows and tell the monitor."""
        with self.db.session() as session:
            for window in windows:
                session.add(WindowRow(**window_row(window)))
        self.monitor.observe(windows)

    def run(self, rounds: int, error: float, version: int = 1, decided_by: int = 1, **more: Any) -> None:
        """Several rounds of windows; see ``windows``."""
        for _ in range(rounds):
            self.send(self.windows(error, version=version, decided_by=decided_by, **more))

    def findings(self) -> list[Finding]:
        """All findings, oldest first."""
        with self.db.reading() as session:
            return list(session.exec(select(Finding).order_by(col(Finding.id))).all())

    def events(self, kind: str) -> list[Event]:
        """Recorded events of a kind."""
        with self.db.reading() as session:
            return list(session.exec(select(Event).where(Event.kind == kind)).all())


def histogram_of(schema: str, values: Iterable[float]) -> Histogram:
    """A histogram of values."""
    histogram = Histogram(schema)
    for value in values:
        histogram.add(value)
    return histogram
