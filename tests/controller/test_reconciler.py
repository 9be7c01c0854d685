"""Carrying rollouts on, over a real database and real signatures."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from edgewright.controller.aliases import list_aliases
from edgewright.controller.database import col, select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import (
    Artifact,
    Assignment,
    Device,
    ModelVersion,
    Rollout,
    RolloutDevice,
)
from edgewright.controller.rollouts.assigner import Assigner
from edgewright.controller.rollouts.policy import RolloutState, Wave
from edgewright.controller.rollouts.reconciler import SPACING_S, Reconciler
from edgewright.controller.rollouts.service import RolloutService, matching_devices
from edgewright.wire.assignment import FIELD
from tests.controller.parts import SimulatedPublisher, make_assigner


class BrokenPublisher(SimulatedPublisher):
    """A publisher whose process dies before it has published anything."""

    def publish_assignment(self, device: str, document: bytes) -> None:
        """Die."""
        del device, document
        raise KeyboardInterrupt


@dataclass
class Fleet:
    """Three robots that run v1, and v2 to be rolled out."""

    data: Path
    db: Database
    publisher: SimulatedPublisher
    assigner: Assigner
    rollouts: RolloutService
    reconciler: Reconciler

    def assigned(self) -> dict[str, int]:
        """The version that each device was assigned last."""
        with self.db.reading() as session:
            return {row.device: row.model_version for row in session.exec(select(Assignment))}

    def published(self) -> dict[str, int]:
        """The version of the document that lies on each device's topic."""
        return {device: _version(document) for device, document in self.publisher.published}

    def part(self, number: int, device: str) -> RolloutDevice:
        """A device's part in a rollout."""
        with self.db.reading() as session:
            return session.get_one(RolloutDevice, (number, device))

    def report(self, number: int, state: str) -> None:
        """All assigned devices of a rollout report a state."""
        with self.db.session() as session:
            statement = select(RolloutDevice).where(col(RolloutDevice.rollout) == number)
            for part in session.exec(statement.where(col(RolloutDevice.assignment_version) > 0)):
                part.state = state
                session.add(part)

    def state(self, number: int) -> str:
        """The state of a rollout."""
        with self.db.reading() as session:
            return session.get_one(Rollout, number).state


def _version(document: bytes) -> int:
    version: int = json.loads(document)["signed"]["version"]
    return version


def _artifact(version: int, model: str = "m", target: str = "t") -> Artifact:
    return Artifact(
        model=model,
        version=version,
        target=target,
        precision="int8",
        qualification="",
        manifest_sha256=f"{version}" * 64,
        manifest_length=1,
        artifact_sha256="",
        artifact_length=1,
        profile_sha256="",
    )


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """The fleet on a new data folder."""
    db = Database.in_folder(tmp_path)
    db.create()
    with db.session() as session:
        for name in ("r1", "r2", "r3"):
            session.add(Device(id=name, target="t", active_model="m", active_version=1, connected=True))
        for version in (1, 2):
            session.add(
                ModelVersion(model="m", version=version, state="ready", source="push", created_at=1.0)
            )
            session.add(_artifact(version))
    publisher = SimulatedPublisher()
    assigner = make_assigner(tmp_path, db, publisher)
    awake = threading.Event()
    yield Fleet(
        tmp_path,
        db,
        publisher,
        assigner,
        RolloutService(db, assigner, awake.set),
        Reconciler(db, assigner, awake),
    )
    db.close()


def test_the_champion_is_what_a_rollout_finished_with(fleet: Fleet) -> None:
    """A rollout that finishes names its version the champion, one that is stopped names nothing, and a
    rollback names the version before when it has finished.
    """

    def champion() -> dict[str, int]:
        with fleet.db.reading() as session:
            return {alias.name: alias.version for alias in list_aliases(session)}

    def finish(number: int) -> None:
        fleet.reconciler.step()
        fleet.report(number, "committed")
        fleet.reconciler.step()
        assert fleet.state(number) == RolloutState.FINISHED

    fleet.rollouts.create("m", 1, waves=(Wave("all"),))
    assert champion() == {}
    finish(1)
    assert champion() == {"champion": 1}
    fleet.rollouts.create("m", 2, waves=(Wave("all"),))
    fleet.reconciler.step()
    fleet.report(2, "failed")
    fleet.reconciler.step()
    assert (fleet.state(2), champion()) == (RolloutState.STOPPED, {"champion": 1})
    fleet.rollouts.create("m", 2, waves=(Wave("all"),))
    finish(3)
    assert champion() == {"champion": 2}
    assert fleet.rollouts.rollback(3) == 4
    assert champion() == {"champion": 2}
    finish(4)
    assert champion() == {"champion": 1}


def test_a_device_of_another_target_does_not_hold_a_rollout_up(fleet: Fleet) -> None:
    """A device whose target changed under way ends as refused, and the rollout goes on without it."""
    fleet.rollouts.create("m", 2, waves=(Wave("first", count=1), Wave("rest")))
    with fleet.db.session() as session:
        session.get_one(Device, "r1").target = "another"
    fleet.reconciler.step()
    assert fleet.part(1, "r1").state == "refused"
    fleet.reconciler.step()
    assert fleet.state(1) == RolloutState.STOPPED


def test_a_stop_and_the_way_back_are_one_act(fleet: Fleet) -> None:
    """A controller that dies when it stops a rollout sends the devices back at its next start."""
    fleet.rollouts.create("m", 2, waves=(Wave("all"),))
    fleet.reconciler.step()
    assert fleet.assigned() == {"r1": 2, "r2": 2, "r3": 2}
    fleet.report(1, "failed")
    dying = make_assigner(fleet.data, fleet.db, BrokenPublisher())
    with pytest.raises(KeyboardInterrupt):
        Reconciler(fleet.db, dying, threading.Event()).step()
    assert fleet.state(1) == RolloutState.STOPPED
    assert fleet.assigned() == {"r1": 1, "r2": 1, "r3": 1}
    fleet.assigner.republish()
    assert fleet.published() == {"r1": 2, "r2": 2, "r3": 2}


def test_an_aborted_rollout_assigns_nothing_more(fleet: Fleet) -> None:
    """Facts that were gathered before an abort lead to no assignment after it."""
    number = fleet.rollouts.create("m", 2, waves=(Wave("all"),))
    fleet.rollouts.abort(number)
    fleet.reconciler._assign(number, ("r1", "r2"))
    assert fleet.assigned() == {}


def test_an_abort_sends_back_who_is_under_way(fleet: Fleet) -> None:
    """Devices that run the new version keep it; the others are assigned what they ran before."""
    number = fleet.rollouts.create("m", 2, waves=(Wave("all"),))
    fleet.reconciler.step()
    with fleet.db.session() as session:
        session.get_one(RolloutDevice, (number, "r1")).state = "committed"
    fleet.rollouts.abort(number)
    assert fleet.assigned() == {"r1": 2, "r2": 1, "r3": 1}
    assert fleet.published() == {"r1": 1, "r2": 2, "r3": 2}


def test_an_aborted_first_rollout_stops_who_had_nothing(fleet: Fleet) -> None:
    """A device that ran no version of the model is told to run none, also by every renewal after it."""
    with fleet.db.session() as session:
        device = session.get_one(Device, "r1")
        device.active_model, device.active_version = "another", 7
    number = fleet.rollouts.create("m", 2, waves=(Wave("all"),))
    fleet.reconciler.step()
    fleet.rollouts.abort(number)
    fleet.assigner.renew(0.0)
    with fleet.db.reading() as session:
        rows = {row.device: (row.model_version, row.stop) for row in session.exec(select(Assignment)).all()}
    assert rows == {"r1": (2, True), "r2": (1, False), "r3": (1, False)}
    newest = dict(fleet.publisher.published)
    assert {name: json.loads(raw)["signed"][FIELD]["stop"] for name, raw in newest.items()} == {
        "r1": True,
        "r2": False,
        "r3": False,
    }
    fleet.rollouts.create("m", 2, waves=(Wave("all"),))
    fleet.reconciler.step()
    with fleet.db.reading() as session:
        assert not session.get_one(Assignment, "r1").stop


def test_documents_are_published_in_their_order(fleet: Fleet) -> None:
    """While one thread publishes again what a broker lost, no newer assignment comes between."""
    number = fleet.rollouts.create("m", 2, waves=(Wave("all"),))
    with fleet.assigner.issuing() as issue:
        issue.assign(("r1",), "m", 1, rollout=0)
        again = threading.Thread(target=fleet.assigner.republish)
        again.start()
        again.join(0.05)
        issue.assign(("r1",), "m", 2, rollout=number)
    again.join(10.0)
    assert [_version(document) for _, document in fleet.publisher.published] == [2, 2]


def test_one_broken_rollout_does_not_hold_up_the_others(fleet: Fleet) -> None:
    """A rollout that cannot be carried on is left, and those after it are carried on."""
    with fleet.db.session() as session:
        waves = [{"unknown": 1}]
        session.add(Rollout(model="x", version=1, state=RolloutState.RUNNING, waves=waves, created_at=1.0))
    fleet.rollouts.create("m", 2, waves=(Wave("all"),))
    fleet.reconciler.step()
    assert fleet.assigned() == {"r1": 2, "r2": 2, "r3": 2}


def test_a_late_joiner_gets_the_fleets_version_once(fleet: Fleet) -> None:
    """A device that enrols after a rollout is assigned its version; one of another target is left alone."""
    number = fleet.rollouts.create("m", 2, waves=(Wave("all"),))
    fleet.reconciler.step()
    fleet.report(number, "committed")
    fleet.reconciler.step()
    with fleet.db.session() as session:
        session.add(Device(id="r4", target="t"))
        session.add(Device(id="r5", target="another"))
    fleet.reconciler.step()
    fleet.reconciler.step()
    assert fleet.assigned() == {"r1": 2, "r2": 2, "r3": 2, "r4": 2}
    assert [device for device, _ in fleet.publisher.published].count("r4") == 1


def test_the_first_robot_is_one_that_was_seen_last(fleet: Fleet) -> None:
    """Connected devices stand before the others, and among those the one seen last stands first."""
    with fleet.db.session() as session:
        for name, seen in (("r1", 10.0), ("r2", 30.0)):
            device = session.get_one(Device, name)
            device.connected, device.last_seen = False, seen
    with fleet.db.reading() as session:
        assert [d.id for d in matching_devices(session, "m", 2, "")] == ["r3", "r2", "r1"]


def test_reports_without_a_pause_leave_room_between_steps(fleet: Fleet) -> None:
    """A reconciler that is woken all the time still rests between its steps, and ends when it is told."""
    steps: list[float] = []

    class Counting(Reconciler):
        def step(self) -> None:
            steps.append(time.monotonic())
            awake.set()

    awake = threading.Event()
    awake.set()
    counting = Counting(fleet.db, fleet.assigner, awake)
    counting.start()
    deadline = time.monotonic() + 30.0
    while len(steps) < 3:
        assert time.monotonic() < deadline, "the reconciler does not step"
        time.sleep(0.01)
    counting.stop()
    assert all(later - earlier >= SPACING_S * 0.9 for earlier, later in pairwise(steps[:3]))


def test_a_stopped_rollout_does_not_keep_late_joiners_waiting(fleet: Fleet) -> None:
    """After a rollout that was stopped a device that enrols gets what the fleet finished before it."""
    first = fleet.rollouts.create("m", 1, waves=(Wave("all"),))
    fleet.reconciler.step()
    fleet.report(first, "committed")
    fleet.reconciler.step()
    fleet.rollouts.abort(fleet.rollouts.create("m", 2, waves=(Wave("all"),)))
    with fleet.db.session() as session:
        session.add(Device(id="r4", target="t"))
    fleet.reconciler.step()
    assert fleet.assigned()["r4"] == 1


def test_a_waiting_gate_says_what_it_waits_for(fleet: Fleet) -> None:
    """While a quality gate waits its sentence stands in the rollout's row."""
    number = fleet.rollouts.create("m", 2, waves=(Wave("first", count=1, gate="quality"), Wave("rest")))
    fleet.reconciler.step()
    fleet.reconciler.step()
    with fleet.db.reading() as session:
        assert "labelled items so far" in session.get_one(Rollout, number).gate["sentence"]


def test_resuming_gives_the_gate_its_time_again(fleet: Fleet) -> None:
    """A rollout that its gate has held for want of evidence is not held again at once when it is resumed."""
    waves = (Wave("first", count=1, gate="quality"), Wave("rest"))
    number = fleet.rollouts.create("m", 2, waves=waves)
    fleet.reconciler.step()
    fleet.report(number, "committed")
    with fleet.db.session() as session:
        session.get_one(RolloutDevice, (number, "r1")).updated_at = 1.0
        session.get_one(Rollout, number).wave_started_at = 1.0
    fleet.reconciler.step()
    assert fleet.state(number) == RolloutState.PAUSED
    fleet.rollouts.resume(number)
    fleet.reconciler.step()
    assert fleet.state(number) == RolloutState.RUNNING
