"""Robots of two targets: each is held against the test of its own artifact."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgewright.controller.database import select
from edgewright.controller.database.tables import Artifact, Device
from edgewright.wire.canonical import canonical_json
from tests.controller.windows_fleet import DEVICES, MODEL, Fleet, histogram_of

SURE, UNSURE = (14.0, 1.2), (11.0, 2.0)
"""Confidences of the two targets' tests; both are wrong on about nine in a hundred."""


class Mixed(Fleet):
    """Some robots of the target whose promise is the weakest, the others of a network of whole numbers."""

    def __init__(self, folder: Path, whole: tuple[str, ...]) -> None:
        super().__init__(folder)
        sure = self._profile("x86_64-ort-cpu", SURE, 0.092)
        unsure = self._profile("pi", UNSURE, 0.09)
        with self.db.session() as session:
            for artifact in session.exec(select(Artifact).where(Artifact.version == 1)).all():
                artifact.profile_sha256 = sure
                session.add(artifact)
            session.add(
                Artifact(
                    model=MODEL,
                    version=1,
                    target="pi",
                    precision="int8",
                    qualification="emulated",
                    manifest_sha256="p",
                    manifest_length=1,
                    artifact_sha256="p",
                    artifact_length=1,
                    profile_sha256=unsure,
                )
            )
            for device in DEVICES:
                session.add(Device(id=device, target="pi" if device in whole else "x86_64-ort-cpu"))
        self._whole = whole

    def _profile(self, target: str, confidence: tuple[float, float], error: float) -> str:
        rng = np.random.default_rng(1)
        drawn = rng.beta(*confidence, 1000)
        right = rng.random(1000) > error * (1 - drawn) / (1 - drawn).mean()
        seen = histogram_of("confidence", drawn.tolist()).pack()
        profile = {
            "model": MODEL,
            "version": 1,
            "target": target,
            "error_rate": error,
            "error_rate_n": 1000,
            "histograms": {
                "confidence": seen,
                "labelled_confidence": seen,
                "right_confidence": histogram_of("confidence", drawn[right].tolist()).pack(),
            },
            "classes": {"A": 1},
        }
        return self.blobs.put(canonical_json(profile))

    def unlabelled(self, rounds: int, sure: tuple[float, float], unsure: tuple[float, float]) -> None:
        """Rounds of windows without labels, with confidences of the one target and of the other."""
        for _ in range(rounds):
            some = zip(self.windows(0.0, confidence=sure), self.windows(0.0, confidence=unsure), strict=True)
            chosen = [pair[pair[0].device in self._whole] for pair in some]
            self.send([msgspec.structs.replace(window, outcomes=()) for window in chosen])


@pytest.mark.parametrize("whole", [DEVICES, DEVICES[:2], DEVICES[:1]])
def test_robots_that_behave_as_their_own_target_was_tested_are_told_nothing(
    tmp_path: Path, whole: tuple[str, ...]
) -> None:
    """A network of whole numbers that is as unsure as in its test is neither harm nor other input."""
    fleet = Mixed(tmp_path, whole)
    fleet.unlabelled(80, SURE, UNSURE)
    assert (fleet.alarms, fleet.monitor.findings(MODEL)) == ([], [])
    assert not fleet.events("drift.noticed")


def test_robots_that_are_less_sure_than_their_own_target_was_tested_do_harm(tmp_path: Path) -> None:
    """Where most robots fall below the test of their own target, harm is estimated without labels."""
    fleet = Mixed(tmp_path, DEVICES[:3])
    fleet.unlabelled(20, SURE, UNSURE)
    fleet.unlabelled(80, SURE, (7.0, 4.0))
    (verdict,) = (one for one in fleet.monitor.findings(MODEL) if not one.device)
    assert verdict.harm
    assert "without labels" in verdict.sentence


def test_one_robot_of_a_target_is_no_fleet(tmp_path: Path) -> None:
    """The only robot of a target that falls below its test raises no alarm of all."""
    fleet = Mixed(tmp_path, DEVICES[:1])
    fleet.unlabelled(20, SURE, UNSURE)
    fleet.unlabelled(80, SURE, (7.0, 4.0))
    assert not fleet.alarms
    assert not any(one.harm and not one.device for one in fleet.monitor.findings(MODEL))
