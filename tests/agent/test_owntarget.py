"""Which target a device is: told, chosen once where it enrols, and kept."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.agent.cli import main
from edgewright.agent.configuration import parse_settings, read_settings
from edgewright.agent.doctor import Finding, examine
from edgewright.agent.owntarget import describe_targets, own_facts, resolve
from edgewright.agent.settings import BrokerSettings, MachineSettings, Settings
from edgewright.wire.errors import EnrolmentError
from edgewright.wire.matching import Facts
from tests.controller.doors import OpenDoor, opened

ORT = "onnxruntime 1.31.1 CPUExecutionProvider"
PLAIN_PC = MachineSettings(architecture="x86_64", cpu=("sse4", "avx2"))
VNNI_PC = MachineSettings(architecture="x86_64", cpu=("avx2", "vnni"))
BOARD = MachineSettings(architecture="aarch64", cpu=("neon",))
STRANGER = MachineSettings(architecture="riscv64", cpu=("neon",))


@pytest.fixture
def door(tmp_path: Path) -> Iterator[OpenDoor]:
    """A controller that enrols."""
    with opened(tmp_path / "controller") as door:
        yield door


@pytest.mark.parametrize(
    ("told", "target"),
    [(VNNI_PC, "x86_64-ort-cpu"), (PLAIN_PC, "x86_64-ort-cpu-fp32"), (BOARD, "aarch64-ort-cpu")],
)
def test_auto_is_the_best_that_fits(told: MachineSettings, target: str) -> None:
    """A device that asks for `auto` gets the first row that it fits for sure, and a name stays."""
    assert resolve("auto", told) == target
    assert resolve("somebodys-own", told) == "somebodys-own"


def test_auto_is_refused_where_nothing_fits() -> None:
    """A machine that no shipped target is for does not enrol as a guess."""
    with pytest.raises(EnrolmentError, match="No shipped target fits"):
        resolve("auto", STRANGER)


def test_every_target_is_told_with_its_reason() -> None:
    """The command's lines say what this device is, the best target, what is not known, and why others do not
    fit.
    """
    told = Facts(machine="x86_64", cpu=("avx2",), runtimes=(ORT,), memory_mb=4096)
    lines = list(describe_targets(told))
    assert lines[0] == f"This device: x86_64, avx2, 4096 MiB, {ORT}."
    assert "no    x86_64-ort-cpu: its processor lacks vnni." in lines
    assert any(line.startswith("fits  x86_64-ort-cpu-fp32, the best: ") for line in lines)
    assert any(
        "?     x86_64-ort-cpu: not known here: processor, " in line for line in describe_targets(Facts())
    )
    assert len(lines) == len(list(describe_targets(Facts())))


def test_the_command_looks_at_the_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the owner has entered counts; without a configuration it is what the agent finds."""
    config = tmp_path / "agent.toml"
    text = 'device = "r1"\ntarget = "t"\ndata = "/d"\n[broker]\nhost = "127.0.0.1"\nport = 1\ntls = false\n'
    config.write_text(f'{text}[machine]\narchitecture = "aarch64"\ncpu = ["neon"]\nmemory_mb = 77\n')
    assert main(["target", "--config", str(config)]) == 0
    assert capsys.readouterr().out.startswith("This device: aarch64, neon, 77 MiB, ")
    assert main(["target"]) == 0
    assert capsys.readouterr().out.startswith(f"This device: {own_facts().machine}")


def test_a_first_boot_chooses_once(door: OpenDoor, tmp_path: Path) -> None:
    """A board's file may say `auto`; the configuration has what it came to, and keeps it elsewhere too."""
    file = tmp_path / "edgewright.toml"
    file.write_text(
        f'controller = "{door.url}"\ntoken = "{door.token()}"\ntarget = "auto"\ndevice = "press-7"\n'
        '[machine]\narchitecture = "aarch64"\ncpu = ["neon"]\n'
    )
    boot = ["first-boot", "--from", str(file), "--data", str(tmp_path / "data")]
    assert main(boot) == 0
    config = tmp_path / "data" / "agent.toml"
    assert read_settings(config).target == "aarch64-ort-cpu"
    config.write_text(config.read_text().replace('aarch64"\ncpu', 'x86_64"\ncpu'))
    assert main(boot) == 0
    settings = read_settings(config)
    assert settings.target == "aarch64-ort-cpu"
    said = _finding(settings)
    assert (said.ok, "its processor is x86_64" in said.said) == (False, True)


@pytest.mark.parametrize(
    ("target", "told", "ok", "said", "remedy"),
    [
        ("x86_64-ort-cpu", VNNI_PC, True, "is what x86_64-ort-cpu asks for.", ""),
        ("x86_64-ort-cpu-fp32", VNNI_PC, True, "x86_64-ort-cpu would fit too, and be better", ""),
        ("x86_64-ort-cpu", PLAIN_PC, False, "lacks vnni", "--target x86_64-ort-cpu-fp32"),
        ("x86_64-ort-cpu", STRANGER, False, "processor is riscv64", "edgewright-agent target"),
        ("press", VNNI_PC, True, "is the site's own", ""),
    ],
)
def test_a_doctor_holds_the_device_against_its_target(
    target: str, told: MachineSettings, ok: bool, said: str, remedy: str, tmp_path: Path
) -> None:
    """A target that does not fit any more is bad news with the one that does; a better one is told."""
    broker = BrokerSettings("127.0.0.1", 1, tls=False)
    found = _finding(Settings(device="r1", target=target, data=str(tmp_path), broker=broker, machine=told))
    assert found.ok == ok
    assert said in found.said
    assert remedy in found.remedy


def test_auto_is_no_target_of_a_configuration() -> None:
    """A configuration has the name of a target: nothing is chosen anew behind a person's back."""
    content = {"device": "r1", "target": "auto", "data": "/d", "broker": {"host": "h", "port": 1}}
    with pytest.raises(ValueError, match=r"`auto` is for enrolling.* - at `\$.target`"):
        parse_settings(content)


def _finding(settings: Settings) -> Finding:
    """What the doctor says of the target; the first finding of all names it too."""
    (found,) = [
        finding
        for finding in examine(settings)[1:]
        if "asks for" in finding.said or finding.said.startswith("The target ")
    ]
    return found
