"""Killing parts of a running plant: nothing waits for a person, and nothing is lost or counted twice."""

import sqlite3

import psutil
import pytest

from simulators.demo.figures import Tally
from tests.system.plant import MODEL, MODEL_FOLDER, Plant

pytestmark = [pytest.mark.slow, pytest.mark.serial, pytest.mark.timeout(240)]


def counted(plant: Plant, robot: str) -> tuple[int, int]:
    """Frames and messages of a robot that the controller has stored."""
    with sqlite3.connect(f"file:{plant.data}/edgewright.db?mode=ro", uri=True) as db:
        frames, rows = db.execute(
            "select coalesce(sum(frames), 0), count(*) from window where device = ?", (robot,)
        ).fetchone()
    return frames, rows


def sent(plant: Plant, robot: str) -> int:
    """Frames that a robot's cell has sent in all phases, by its own count."""
    return sum(counts.sent for counts in plant.cells[robot].phases.values())


def holding(plant: Plant, version: int) -> list[str]:
    """Robots that have fetched and verified a version, and are proving it or run it."""
    proving = {"staged", "qualifying", "shadowing", "waiting-safe", "probation"}
    return [d["id"] for d in plant.get("/devices") if d["state"] in proving or d["active_version"] == version]


def test_controller_killed_in_mid_rollout(plant: Plant) -> None:
    """Devices that hold a release finish without controller and broker; back again, it ends the rollout."""
    version = plant.push()
    # The embedded broker dies with its controller, so what is not fetched by then waits for both.
    plant.wait("a robot that holds the release", lambda: bool(holding(plant, version)))
    rollout = max(each["id"] for each in plant.get("/rollouts"))
    assigned = holding(plant, version)
    plant.controller.kill()
    decided = {
        robot: plant.cells[robot].phases["before"].by_version.get(str(version), Tally()) for robot in assigned
    }
    plant.wait(
        "decisions of the new version without a controller",
        lambda: all(
            plant.cells[robot].phases["before"].by_version.get(str(version), Tally()).decided
            > decided[robot].decided + 20
            for robot in assigned
        ),
    )
    plant.restart_controller()
    plant.wait("the end of the rollout", lambda: plant.runs(version))
    plant.wait("its end", lambda: plant.get(f"/rollouts/{rollout}")["state"] == "finished")


def test_broker_killed(plant: Plant) -> None:
    """After a kill -9 of the broker everyone comes back, and each frame is in the windows exactly once."""
    (broker,) = plant.processes(plant.controller, "nats-server")
    before = counted(plant, "r1")
    psutil.Process(broker.pid).kill()
    plant.wait("telemetry again", lambda: counted(plant, "r1")[1] >= before[1] + 3)
    version = plant.push()
    plant.wait("a rollout over the new broker", lambda: plant.runs(version))
    with sqlite3.connect(f"file:{plant.data}/edgewright.db?mode=ro", uri=True) as db:
        gaps = db.execute(
            "select device, stream, count(*) - count(distinct seq) from window group by device, stream"
        ).fetchall()
    assert [row for row in gaps if row[2]] == []


def test_runner_killed(plant: Plant) -> None:
    """A killed runner is replaced and reported, and every frame still gets its decision."""
    replaced = len([e for e in plant.events("device.event") if "r1" in e["sentence"]])
    dropped = plant.cells["r1"].phases["before"].dropped
    runner = plant.processes(plant.agents["r1"], "edgewright.agent.runner")[0]
    runner.kill()
    plant.wait(
        "the report",
        lambda: len([e for e in plant.events("device.event") if "r1" in e["sentence"]]) > replaced,
    )
    decided = plant.cells["r1"].phases["before"].decided
    plant.wait("decisions", lambda: plant.cells["r1"].phases["before"].decided > decided + 20)
    assert plant.cells["r1"].phases["before"].dropped == dropped


def test_agent_killed(plant: Plant) -> None:
    """An agent that lost its power comes back with its committed model, by itself."""
    version = plant.device("r2")["active_version"]
    plant.agents["r2"].kill()
    plant.start_agent("r2")
    before = counted(plant, "r2")[0]
    plant.wait("telemetry", lambda: counted(plant, "r2")[0] > before + 40)
    assert plant.device("r2")["active_version"] == version


def test_every_frame_is_counted_once(plant: Plant) -> None:
    """After all of this the stored windows hold as many frames of r1 as its cell has sent."""
    cell = plant.cells["r1"]
    cell.end()
    plant.wait("the last window", lambda: counted(plant, "r1")[0] >= sent(plant, "r1"))
    assert counted(plant, "r1")[0] == sent(plant, "r1")
    assert plant.get(f"/models/{MODEL}/versions")
    assert MODEL_FOLDER.is_dir()
