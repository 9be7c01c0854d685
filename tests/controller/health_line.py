"""A line whose windows have all signals, for tests and pictures of the seven answers.

``fill(parts, Line(...))`` writes a model, its version with a whole reference profile, devices, windows with
packed histograms, outcomes and sums per minute, as ingest would have written them.
"""

import random
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from edgewright.controller.database import Session
from edgewright.controller.database.bulk import add_to_rollups, insert_outcomes, insert_windows
from edgewright.controller.database.tables import Artifact, Device, Model, ModelVersion
from edgewright.controller.ingest.rows import outcome_rows, rollup_rows, window_row
from edgewright.wire.histograms import Histogram
from edgewright.wire.messages import Outcomes, Window
from tests.controller.parts import Parts

MODEL: Final = "garment-packing"
SCHEMAS: Final = {
    "confidence": "confidence",
    "margin": "unit",
    "entropy": "unit",
    "latency_us": "latency_us",
    "brightness": "unit",
    "contrast": "unit",
    "sharpness": "sharpness",
    "saturation": "unit",
}
CLASSES: Final = {"t-shirt": 0.4, "trouser": 0.3, "dress": 0.2, "coat": 0.1}
ERROR: Final = 0.014


@dataclass(frozen=True)
class Line:
    """What the line does.

    Attributes:
        seconds: how long it has run; windows are ``period`` seconds long.
        error: share of wrong decisions now; of the device ``bad`` it is ``bad_error``.
        dark: how much darker its pictures are than in testing.
        profiled, labelled: whether the version has a reference profile, and its items labels.
    """

    devices: int = 4
    seconds: int = 600
    period: int = 10
    frames: int = 14
    error: float = ERROR
    bad: str = ""
    bad_error: float = 0.3
    dark: float = 0.0
    profiled: bool = True
    labelled: bool = True
    model_toml: str = ""


def fill(parts: Parts, line: Line, now: float, seed: int = 7) -> None:
    """Write the line up to now."""
    with parts.db.session() as session:
        _add_version(session, parts, line, now)
        _add_devices(session, line, now)
        session.flush()
        _add_windows(session, line, now, random.Random(seed))


def device(i: int) -> str:
    """The name of the ``i``-th device, from 1."""
    return f"robot-{i}"


def signals(randomness: random.Random, frames: int, dark: float = 0.0) -> dict[str, Histogram]:
    """Histograms of some frames."""
    found = {name: Histogram(schema) for name, schema in SCHEMAS.items()}
    for _ in range(frames):
        sure = 1 - randomness.betavariate(1, 16)
        values = {
            "confidence": sure,
            "margin": 2 * sure - 1,
            "entropy": 1 - sure,
            "latency_us": randomness.lognormvariate(8.2, 0.2),
            "brightness": min(max(randomness.gauss(0.55, 0.06) - dark, 0.0), 1.0),
            "contrast": randomness.gauss(0.22, 0.03),
            "sharpness": randomness.lognormvariate(5.5, 0.4),
            "saturation": randomness.gauss(0.35, 0.05),
        }
        for name, value in values.items():
            found[name].add(value)
    return found


def _profile(randomness: random.Random) -> bytes:
    histograms = signals(randomness, 2000)
    del histograms["latency_us"]
    confidence = histograms["confidence"]
    right = Histogram("confidence", [round(n * (1 - ERROR)) for n in confidence.counts])
    histograms |= {"labelled_confidence": confidence, "right_confidence": right}
    packed = {name: histogram.pack() for name, histogram in histograms.items()}
    classes = {label: round(2000 * share) for label, share in CLASSES.items()}
    told = {"error_rate": ERROR, "error_rate_n": 2000, "histograms": packed, "classes": classes}
    return msgspec.json.encode(told)


def _add_version(session: Session, parts: Parts, line: Line, now: float) -> None:
    made = now - line.seconds - 60
    files = {"model.toml": parts.blobs.put(line.model_toml.encode())} if line.model_toml else {}
    session.add(Model(name=MODEL, created_at=made, versions=1))
    session.add(
        ModelVersion(model=MODEL, version=1, state="ready", source="push", created_at=made, files=files)
    )
    session.add(
        Artifact(
            model=MODEL,
            version=1,
            target="x86_64-ort-cpu",
            precision="int8",
            qualification="emulated",
            manifest_sha256="1" * 64,
            manifest_length=2000,
            artifact_sha256="2" * 64,
            artifact_length=600_000,
            profile_sha256=parts.blobs.put(_profile(random.Random(1))) if line.profiled else "",
        )
    )


def _add_devices(session: Session, line: Line, now: float) -> None:
    for i in range(1, line.devices + 1):
        session.add(
            Device(
                id=device(i),
                target="x86_64-ort-cpu",
                enrolled_at=now - line.seconds,
                connected=True,
                last_seen=now,
                active_model=MODEL,
                active_version=1,
                state="committed",
            )
        )


def _add_windows(session: Session, line: Line, now: float, randomness: random.Random) -> None:
    # One of twenty sets of histograms for each window: drawing every frame would be most of a test's time.
    drawn = [
        {name: h.pack() for name, h in signals(randomness, line.frames, line.dark).items()} for _ in range(20)
    ]
    windows = [
        _window(line, device(i), now - line.seconds + at, at // line.period + 1, drawn, randomness)
        for at in range(0, line.seconds, line.period)
        for i in range(1, line.devices + 1)
    ]
    found: list[dict[str, Any]] = [window_row(window) for window in windows]
    insert_windows(session, found)
    insert_outcomes(session, [row for window in windows for row in outcome_rows(window)])
    add_to_rollups(session, rollup_rows(found))


def _window(
    line: Line, name: str, start: float, seq: int, drawn: list[dict[str, bytes]], randomness: random.Random
) -> Window:
    error = line.bad_error if name == line.bad else line.error
    labelled = line.frames // 2 if line.labelled else 0
    wrong = sum(randomness.random() < error for _ in range(labelled))
    return Window(
        device=name,
        stream="s",
        seq=seq,
        start=start,
        seconds=line.period,
        model=MODEL,
        version=1,
        tag="",
        frames=line.frames,
        by_source={"active": line.frames},
        causes={},
        classes={label: round(line.frames * share) for label, share in CLASSES.items()},
        histograms=randomness.choice(drawn),
        outcomes=(Outcomes(1, labelled, wrong),) if labelled else (),
        truths={},
    )
