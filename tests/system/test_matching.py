"""Devices as they describe themselves, between real agents and a real controller."""

import platform
import re
from pathlib import Path

from edgewright.wire.handshake import CPU_FEATURES
from tests.system.plant import MODEL, Plant


def test_a_real_hello_says_what_the_machine_is(plant: Plant) -> None:
    """Architecture, features, memory and every runtime of a running robot stand in the controller's row."""
    robot = plant.device("r1")
    assert robot["machine"] == platform.machine()
    assert set(robot["cpu"]) <= set(CPU_FEATURES)
    assert robot["memory_mb"] > 0
    assert re.fullmatch(r"onnxruntime \d+\.\d+\S*", robot["runtime"])
    assert f"{robot['runtime']} CPUExecutionProvider" in robot["runtimes"]
    assert robot["fits"] == "yes"


def test_a_robot_on_another_machine_is_named_and_goes_on(plant: Plant) -> None:
    """A robot whose disk went into another machine and that runs the model there is not left out of its next
    rollout: the event names it, with what it says that does not fit.
    """
    config = plant.folder / "r2" / "agent.toml"
    before, version = config.read_text(), plant.device("r2")["active_version"]
    _move(plant, config, f'{before}\n[machine]\narchitecture = "riscv64"\ncpu = ["neon"]\n', "riscv64")
    answer = plant.edgewright("rollout", "create", MODEL, str(version))
    assert answer.returncode == 0, answer.stderr
    number = int(answer.stdout.split()[1])
    assert {part["device"] for part in plant.get(f"/rollouts/{number}")["devices"]} == {"r1", "r2"}
    told = [event["sentence"] for event in plant.get("/events") if event["rollout"] == number]
    named = [sentence for sentence in told if "whatever they say" in sentence]
    assert len(named) == 1
    assert "its processor is riscv64" in named[0]
    plant.wait("the rollout", lambda: plant.get(f"/rollouts/{number}")["state"] == "finished")
    _move(plant, config, before, platform.machine())
    assert plant.device("r2")["active_version"] == version
    plant.wait("both robots", lambda: plant.runs(version))


def _move(plant: Plant, config: Path, text: str, machine: str) -> None:
    """Stop r2, change its configuration, start it, and wait for what it says that it is."""
    plant.agents["r2"].end()
    config.write_text(text)
    plant.start_agent("r2")
    plant.wait(
        "the hello",
        lambda: plant.device("r2")["machine"] == machine and plant.device("r2")["connected"],
    )
