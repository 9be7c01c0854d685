"""A version is measured on a real device: broker, director, agent and runtime are real; nothing moves."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewright.controller.qualification.choice import SAME
from tests.system.plant import MODEL, MODEL_FOLDER, Plant

pytestmark = [pytest.mark.slow, pytest.mark.serial, pytest.mark.timeout(240)]
TARGET = "x86_64-ort-cpu"


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """A released version that nobody runs, a device that takes candidates, and one whose owner does not."""
    started = Plant(tmp_path_factory.mktemp("qualification"))
    try:
        for robot in ("q1", "r1"):
            settings = started.enrol_robot(robot, TARGET, {}, bound={"qualify": "yes"})
            if robot == "q1":
                with settings.open("a") as file:
                    file.write("\n[qualification]\naccept = true\n")
            started.start_agent(robot)
        started.wait("both devices", lambda: all(each["connected"] for each in started.get("/devices")))
        answer = started.edgewright("push", str(MODEL_FOLDER))
        assert answer.returncode == 0, answer.stderr
        started.wait("the version", lambda: any(each["state"] == "ready" for each in started.versions()))
        yield started
    finally:
        started.close()


def test_a_version_is_measured_where_it_shall_run(plant: Plant) -> None:
    """The willing device measures the artifact on its own runtime, runs nothing of it and keeps nothing."""
    answer = plant.edgewright("qualify", f"{MODEL}@1", "--json")
    assert answer.returncode == 0, answer.stderr
    (row,) = json.loads(answer.stdout)
    assert (row["device"], row["target"], row["state"], row["error"]) == ("q1", TARGET, "measured", 0)
    result = row["result"]
    assert 0 < result["latency_p50_us"] <= result["latency_p99_us"]
    assert result["memory_mb"] > 0
    assert result["threads"] >= 1
    assert result["placement"].keys() == {"CPUExecutionProvider"}
    assert result["runtime"].startswith("onnxruntime ")
    device = plant.device("q1")
    assert (device["active_version"], device["state"], device["error"]) == (0, "", 0)
    assert not list((Path(plant.folder) / "q1" / "store").iterdir())
    assert plant.events("qualification.measured")


def test_a_device_whose_owner_has_not_said_so_is_not_asked(plant: Plant) -> None:
    """A device without the setting is refused by name, whatever its tags say."""
    answer = plant.edgewright("qualify", f"{MODEL}@1", "--device", "r1")
    assert answer.returncode == 114, answer.stdout
    assert "r1 takes no candidates" in answer.stderr


def test_an_order_outlives_controller_and_agent(plant: Plant) -> None:
    """An order for a device that is away waits over a restart of the controller until it is back."""
    plant.agents["q1"].kill()
    answer = plant.edgewright("qualify", f"{MODEL}@1", "--device", "q1", "--no-wait")
    assert answer.returncode == 0, answer.stderr
    plant.wait("the order", lambda: plant.get("/qualifications")[0]["state"] == "ordered")
    plant.controller.kill()
    plant.restart_controller()
    plant.start_agent("q1")
    plant.wait("its result", lambda: plant.get("/qualifications")[0]["state"] == "measured")


def test_an_order_that_nobody_answers_expires(plant: Plant) -> None:
    """A device that stays away does not hold anything up: its order ends at its deadline."""
    plant.agents["q1"].kill()
    answer = plant.edgewright("qualify", f"{MODEL}@1", "--minutes", "0.1", "--json")
    assert answer.returncode == 0, answer.stderr
    assert [row["state"] for row in json.loads(answer.stdout)] == ["expired"]


def of_target(plant: Plant, version: int) -> dict[str, Any]:
    """What the registry says of a version's artifact for the target."""
    artifacts = plant.get(f"/models/{MODEL}/versions/{version}")["artifacts"]
    (found,) = (each for each in artifacts if each["target"] == TARGET)
    artifact: dict[str, Any] = found
    return artifact


def test_a_push_that_asks_devices_ships_what_they_chose(plant: Plant, tmp_path: Path) -> None:
    """Before the release every candidate that passed the gates is measured, and the best of them ships."""
    if not plant.agents["q1"].running:
        plant.start_agent("q1")
    model = tmp_path / MODEL
    shutil.copytree(MODEL_FOLDER, model)
    declaration = model / "model.toml"
    text = declaration.read_text()
    assert "[gates]" in text
    declaration.write_text(text.replace("[gates]", "[gates]\nqualify_minutes = 2.0", 1))
    answer = plant.edgewright("push", str(model))
    assert answer.returncode == 0, answer.stderr
    plant.wait("the version", lambda: any(each["version"] == 2 for each in plant.versions()))
    plant.wait("its release", lambda: plant.get(f"/models/{MODEL}/versions/2")["state"] == "ready")
    rows = [row for row in plant.get("/qualifications") if row["version"] == 2]
    assert len(rows) > 1
    assert {row["device"] for row in rows} == {"q1"}
    measured = [row for row in rows if row["state"] == "measured"]
    fastest = min(row["result"]["latency_p50_us"] for row in measured)
    # What no device measured before its release is emulated, also where this machine is of the target's kind.
    assert of_target(plant, 1)["qualification"] == "emulated"
    shipped = of_target(plant, 2)
    assert shipped["qualification"] == "hardware"
    (chosen,) = (row for row in measured if row["size"] == shipped["artifact_length"])
    assert chosen["result"]["latency_p50_us"] <= fastest * SAME
