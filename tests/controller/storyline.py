"""A line's story as rows: four robots, a change of the goods, an alarm, a rebuild, its rollout, the fix.

``tell(db, blobs, start, until)`` writes everything that has happened ``until`` seconds into the story, as the
ingest, the registry, the monitor, the rebuild and the rollouts would have written it. The same call with a
later ``until`` on an empty database tells more of the same story.
"""

import random
from typing import Any, Final

import msgspec

from edgewright.controller.blobs import BlobStore
from edgewright.controller.database import Session
from edgewright.controller.database.bulk import add_to_rollups, insert_outcomes, insert_windows
from edgewright.controller.database.engine import Database
from edgewright.controller.database.evidencetables import Alarm, Rebuild
from edgewright.controller.database.tables import (
    Artifact,
    Device,
    Event,
    Model,
    ModelVersion,
    Rollout,
    RolloutDevice,
)
from edgewright.wire import messages
from edgewright.wire.histograms import Histogram
from edgewright.wire.messages import Outcomes, encode

MODEL: Final = "garment-packing"
TARGETS: Final = ("x86_64-ort-cpu", "aarch64-ort-cpu")
ROBOTS: Final = ("robot-1", "robot-2", "robot-3", "robot-4")
PERIOD_S: Final = 2

PUSHED, RUNNING, DRIFT = 2.0, 20.0, 300.0
NOTICED, ALARM, QUEUED, BUILDING = 309.0, 318.0, 318.4, 319.0
CANDIDATE, ROLLOUT, CANARY, WAVE, FIXED = 344.0, 345.0, 354.0, 372.0, 383.0

ERRORS: Final = {1: 0.014, 2: 0.019}
DRIFTED: Final = 0.23
CONFIDENCE: Final = {1: 0.943, 2: 0.936}
DRIFTED_CONFIDENCE: Final = 0.861
ITEMS: Final = 14
LABELLED: Final = 9


def tell(db: Database, blobs: BlobStore, start: float, until: float, seed: int = 7) -> None:
    """Write the story up to ``until`` seconds after ``start``."""
    randomness = random.Random(seed)
    with db.session() as session:
        _tell_devices(session, start, until)
        _tell_versions(session, blobs, start, until)
        _tell_rollouts(session, start, until)
        _tell_evidence(session, start, until)
        _tell_events(session, start, until)
        session.flush()
        _tell_windows(session, start, until, randomness)


def version_at(robot: str, second: float) -> int:
    """What a robot runs at a second of the story."""
    if second < RUNNING:
        return 0
    swapped = CANARY if robot == ROBOTS[0] else FIXED - 4.0
    return 2 if second >= swapped else 1


def _tell_devices(session: Session, start: float, until: float) -> None:
    for i, robot in enumerate(ROBOTS):
        version = version_at(robot, until)
        state = _state(robot, until)
        session.add(
            Device(
                id=robot,
                target=TARGETS[0],
                tags={"site": "lyon", "line": "ab"[i % 2]},
                runtime="onnxruntime 1.31.1",
                agent_version="0.1.0",
                enrolled_at=start,
                connected=True,
                connected_at=start + 1,
                last_seen=start + until,
                active_model=MODEL if version else "",
                active_version=version,
                standby_version=version - 1 if version > 1 else 0,
                state=state,
            )
        )


def _state(robot: str, second: float) -> str:
    begun = ROLLOUT if robot == ROBOTS[0] else WAVE
    ended = CANARY if robot == ROBOTS[0] else FIXED - 4.0
    if second < PUSHED + 6:
        return ""
    if second < RUNNING:
        return "fetching"
    if begun <= second < ended:
        steps = ("fetching", "qualifying", "shadowing", "probation")
        return steps[min(int((second - begun) / (ended - begun) * 4), 3)]
    return "committed"


def profile(version: int) -> bytes:
    """A reference profile as the compiler stores it."""
    histogram = Histogram("confidence")
    for i in range(600):
        histogram.add(min(CONFIDENCE[version] + (i % 40 - 20) / 600, 0.999))
    packed: dict[str, Any] = {"confidence": histogram.pack()}
    return msgspec.json.encode({"error_rate": ERRORS[version], "error_rate_n": 2000, "histograms": packed})


def _tell_versions(session: Session, blobs: BlobStore, start: float, until: float) -> None:
    if until < PUSHED:
        return
    ready = {1: PUSHED + 6, 2: CANDIDATE}
    session.add(Model(name=MODEL, created_at=start + PUSHED, versions=2 if until >= BUILDING else 1))
    for version, begun in ((1, PUSHED), (2, BUILDING)):
        if until < begun:
            continue
        done = until >= ready[version]
        session.add(
            ModelVersion(
                model=MODEL,
                version=version,
                state="ready" if done else "building",
                source="push" if version == 1 else "rebuild",
                parent=version - 1,
                created_at=start + begun,
                finished_at=start + ready[version] if done else 0.0,
                labels=["t-shirt", "trouser"],
                metrics={"holdout_accuracy": 1 - ERRORS[version]} if done else {},
            )
        )
        if done:
            for target in TARGETS:
                session.add(artifact(blobs, version, target))


def artifact(blobs: BlobStore, like: int, target: str, version: int = 0) -> Artifact:
    """An artifact with the profile of version ``like``, of that version or of another one."""
    version = version or like
    full = 612_000 if target == TARGETS[0] else 2_310_000
    return Artifact(
        model=MODEL,
        version=version,
        target=target,
        precision="int8" if target == TARGETS[0] else "fp32",
        qualification="emulated",
        manifest_sha256=f"{like}" * 64,
        manifest_length=2100,
        artifact_sha256=f"{like + 3}" * 64,
        artifact_length=full,
        patch_lengths={"1": 6_600} if version == 2 else {},
        gates=_gates(target),
        profile_sha256=blobs.put(profile(like)),
    )


def _gates(target: str) -> dict[str, Any]:
    int8_passed = target == TARGETS[0]
    agreement = "agrees with fp32 on 99.40% of the frames (at least 98.00%)"
    error = "relative logit error 0.1210 (at most 0.1)"
    tried = [
        ("int8", int8_passed, 612_000, [f"pass: {agreement}"] if int8_passed else [f"FAIL: {error}"]),
        ("fp32", True, 2_310_000, ["pass: fp32 is the reference; its logits are finite"]),
    ]
    return {
        "chosen": "int8" if int8_passed else "fp32",
        "verdicts": [
            {"name": name, "passed": passed, "length": length, "sentences": sentences, "failures": []}
            for name, passed, length, sentences in tried
        ],
    }


def _tell_rollouts(session: Session, start: float, until: float) -> None:
    plans = ((1, PUSHED + 7, RUNNING, RUNNING), (2, ROLLOUT, WAVE, FIXED))
    for number, begun, second_wave, ended in plans:
        if until < begun:
            continue
        finished = until >= ended
        waves = [
            {"name": "first robot", "count": 1, "gate": "quality" if number == 2 else "install"},
            {"name": "all the others", "count": 0, "gate": "install"},
        ]
        sentence = "41 of 41 labelled items right on robot-1, 31 of 118 wrong on the others: better, proceed."
        session.add(
            Rollout(
                id=number,
                model=MODEL,
                version=number,
                state="finished" if finished else "running",
                reason="Rebuild 1 answers alarm 1." if number == 2 else "",
                waves=waves,
                wave=1 if until >= second_wave else 0,
                created_at=start + begun,
                finished_at=start + ended if finished else 0.0,
                gate={"sentence": sentence} if number == 2 and until >= CANARY else {},
            )
        )
        session.flush()
        for robot in ROBOTS:
            session.add(_part(number, robot, start, begun, until))


def _part(number: int, robot: str, start: float, begun: float, until: float) -> RolloutDevice:
    first = robot == ROBOTS[0]
    reached = until >= (begun if first or number == 1 else WAVE)
    state = "committed" if number == 1 and until >= RUNNING else _state(robot, until)
    return RolloutDevice(
        rollout=number,
        device=robot,
        wave=0 if first else 1,
        state=state if reached else "",
        previous_version=number - 1,
        assigned_at=start + begun if reached else 0.0,
        updated_at=start + min(until, begun + 9) if reached else 0.0,
        fetched_bytes=(640_000 if number == 1 else 9_100) if state == "committed" and reached else 0,
        swap_gap_us=2100 if state == "committed" and reached else 0,
    )


def _tell_evidence(session: Session, start: float, until: float) -> None:
    if until >= ALARM:
        session.add(
            Alarm(
                id=1,
                model=MODEL,
                version=1,
                raised_at=start + ALARM,
                closed_at=start + FIXED if until >= FIXED else 0.0,
                signal="error-rate",
                sentence=(
                    f"{MODEL} v1 does harm: of 144 labelled items since 10:41:02 UTC 33 (23%) were wrong, "
                    "testing showed 1.4%, and harm begins at 4.1%; by chance this is seen once in 100,000 "
                    "windows."
                ),
                evidence={"e_value": 4.1e6},
            )
        )
    if until >= QUEUED:
        session.add(
            Rebuild(
                id=1,
                model=MODEL,
                from_version=1,
                cause="error-rate",
                alarm=1,
                state="done" if until >= FIXED else "rolling-out" if until >= ROLLOUT else "training",
                queued_at=start + QUEUED,
                started_at=start + BUILDING if until >= BUILDING else 0.0,
                finished_at=start + FIXED if until >= FIXED else 0.0,
                rung="head" if until >= BUILDING else "",
                new_version=2 if until >= CANDIDATE else 0,
                rollout=2 if until >= ROLLOUT else 0,
            )
        )


_TOLD: Final[tuple[tuple[float, str, str, dict[str, Any]], ...]] = (
    *(
        (0.1 * i, "device.enrolled", f"{r} enrolled as {TARGETS[0]}.", {"device": r})
        for i, r in enumerate(ROBOTS)
    ),
    *((1.0, "device.connected", f"{r} connected, agent 0.1.0.", {"device": r}) for r in ROBOTS),
    (PUSHED, "version.pushed", f"{MODEL} v1 was pushed.", {"model": MODEL, "version": 1}),
    (PUSHED + 6, "version.ready", f"{MODEL} v1 is ready for 2 targets.", {"model": MODEL, "version": 1}),
    (
        PUSHED + 7,
        "rollout.started",
        f"Rollout 1 of {MODEL} v1 to 4 devices started.",
        {"model": MODEL, "version": 1, "rollout": 1},
    ),
    (
        RUNNING,
        "rollout.finished",
        f"Rollout 1 of {MODEL} v1 is finished: 4 of 4 devices run it.",
        {"model": MODEL, "version": 1, "rollout": 1},
    ),
    (
        NOTICED,
        "drift.noticed",
        f"The confidence of {MODEL} v1 has fallen.",
        {"model": MODEL, "version": 1},
    ),
    (
        ALARM,
        "alarm.raised",
        f"{MODEL} v1 does harm: 33 of 144 labelled items were wrong.",
        {"model": MODEL, "version": 1},
    ),
    (QUEUED, "rebuild.queued", f"Rebuild 1 of {MODEL} is queued.", {"model": MODEL, "version": 1}),
    (
        BUILDING,
        "rebuild.started",
        "Rebuild 1 fits a new head on 512 fresh items.",
        {"model": MODEL, "version": 1},
    ),
    (
        CANDIDATE,
        "rebuild.candidate",
        f"{MODEL} v2 passed its gates: 98.1 % right on fresh items, v1 77.0 %.",
        {"model": MODEL, "version": 2},
    ),
    (
        ROLLOUT,
        "rollout.started",
        f"Rollout 2 of {MODEL} v2 to 4 devices started.",
        {"model": MODEL, "version": 2, "rollout": 2},
    ),
    (
        CANARY,
        "device.committed",
        f"robot-1 runs {MODEL} v2.",
        {"model": MODEL, "version": 2, "device": "robot-1", "rollout": 2},
    ),
    (
        WAVE,
        "rollout.wave",
        "Rollout 2 opens wave 2: the gate says proceed.",
        {"model": MODEL, "version": 2, "rollout": 2},
    ),
    (
        FIXED,
        "rollout.finished",
        f"Rollout 2 of {MODEL} v2 is finished: 4 of 4 devices run it.",
        {"model": MODEL, "version": 2, "rollout": 2},
    ),
    (
        FIXED,
        "alarm.closed",
        f"The alarm about {MODEL} v1 is closed: v2 runs everywhere.",
        {"model": MODEL, "version": 2},
    ),
)
"""Second, kind, sentence and subject of each event."""


def _tell_events(session: Session, start: float, until: float) -> None:
    for at, kind, sentence, about in _TOLD:
        if at <= until:
            session.add(Event(at=start + at, kind=kind, sentence=sentence, **about))
            session.flush()


def _tell_windows(session: Session, start: float, until: float, randomness: random.Random) -> None:
    windows = [
        _window(robot, start, step, randomness)
        for step in range(int(until) // PERIOD_S)
        for robot in ROBOTS
        if version_at(robot, step * PERIOD_S)
    ]
    keys = ("ts", "device", "seq", "model", "version", "labelled", "wrong")
    insert_windows(session, windows)
    insert_outcomes(session, [{key: window[key] for key in keys} for window in windows])
    add_to_rollups(session, _minutes(windows))


def _window(robot: str, start: float, step: int, randomness: random.Random) -> dict[str, Any]:
    second = step * PERIOD_S
    version = version_at(robot, second)
    drifted = second >= DRIFT and version == 1
    p = DRIFTED if drifted else ERRORS[version]
    sure = (DRIFTED_CONFIDENCE if drifted else CONFIDENCE[version]) + randomness.gauss(0, 0.008)
    labelled = LABELLED + randomness.randint(-2, 2)
    wrong = sum(randomness.random() < p for _ in range(labelled))
    return {
        "ts": start + second,
        "device": robot,
        "stream": "s",
        "seq": step + 1,
        "seconds": PERIOD_S,
        "model": MODEL,
        "version": version,
        "frames": ITEMS,
        "fallback": 0,
        "labelled": labelled,
        "wrong": wrong,
        "confidence_sum": sure * ITEMS,
        "confidence_count": ITEMS,
        "payload": encode(_told(robot, start + second, step, version, Outcomes(version, labelled, wrong))),
    }


def _told(robot: str, start: float, step: int, version: int, outcomes: Outcomes) -> messages.Window:
    return messages.Window(
        device=robot,
        stream="s",
        seq=step + 1,
        start=start,
        seconds=PERIOD_S,
        model=MODEL,
        version=version,
        tag="",
        frames=ITEMS,
        by_source={"active": ITEMS},
        causes={},
        classes={},
        histograms={},
        outcomes=(outcomes,),
        truths={},
    )


def _minutes(windows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = ("frames", "fallback", "labelled", "wrong", "confidence_sum", "confidence_count")
    rollups: dict[tuple[float, int], dict[str, Any]] = {}
    for window in windows:
        bucket = window["ts"] // 60 * 60
        key = {"bucket": bucket, "resolution": 60, "model": MODEL, "version": window["version"]}
        rollup = rollups.setdefault(
            (bucket, window["version"]), {**key, "windows": 0, **dict.fromkeys(names, 0)}
        )
        rollup["windows"] += 1
        for name in names:
            rollup[name] += window[name]
    return list(rollups.values())
