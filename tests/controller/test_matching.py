"""Devices that are, or are not, what their targets ask for: in the table, in rollouts, in what people see."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fastapi.testclient import TestClient

from edgewright.controller import matching
from edgewright.controller.api.app import create_app
from edgewright.controller.blobs import BlobStore
from edgewright.controller.compiler.targets import (
    SHIPPED,
    TARGETS,
    site_table,
    standing_table,
)
from edgewright.controller.database import select
from edgewright.controller.database.tables import (
    Artifact,
    Assignment,
    Device,
    Event,
    ModelVersion,
    RolloutDevice,
)
from edgewright.controller.database.versiontables import Alias, LeftOut
from edgewright.controller.errors import (
    NoMatchingDeviceError,
    TargetTableError,
)
from edgewright.controller.ingest.batch import Batch
from edgewright.controller.rollouts.policy import Wave
from edgewright.controller.rollouts.reconciler import Reconciler
from edgewright.controller.up import _targets
from edgewright.wire.messages import Hello
from edgewright.wire.targets import shipped_demands
from tests.controller.parts import TOKEN, Parts, make_assigner, make_parts

ORT = "onnxruntime 1.31.1 CPUExecutionProvider"
VNNI: dict[str, Any] = {"machine": "x86_64", "cpu": ["avx2", "vnni"], "runtimes": [ORT], "memory_mb": 8000}
PLAIN: dict[str, Any] = {**VNNI, "cpu": ["avx2"]}
BOARD: dict[str, Any] = {"machine": "aarch64", "cpu": ["neon"], "runtimes": [ORT], "memory_mb": 1900}

SITE = """
[target.press]
summary = "The press's computer."
machine = "x86_64"
cpu = ["avx2"]
runtime = { name = "onnxruntime", minimum = "1.24", below = "2.0", provider = "CPUExecutionProvider" }
precisions = ["fp32"]
activation = "uint8"
memory_mb = 4000
"""


@pytest.mark.parametrize(
    ("target", "told", "fits", "better", "could"),
    [
        ("x86_64-ort-cpu", VNNI, "yes", "", ("x86_64-ort-cpu", "x86_64-ort-cpu-fp32")),
        (
            "x86_64-ort-cpu-fp32",
            VNNI,
            "yes",
            "x86_64-ort-cpu would fit r1: its processor has vnni.",
            ("x86_64-ort-cpu", "x86_64-ort-cpu-fp32"),
        ),
        (
            "x86_64-ort-cpu",
            PLAIN,
            "no",
            "x86_64-ort-cpu-fp32 would fit r1: it has what that needs.",
            ("x86_64-ort-cpu-fp32",),
        ),
        (
            "x86_64-ort-cpu",
            BOARD,
            "no",
            "aarch64-ort-cpu would fit r1: it has what that needs.",
            ("aarch64-ort-cpu",),
        ),
        ("x86_64-ort-cpu", {}, "not known", "", ()),
        ("x86_64-ort-cpu", {"runtime": "onnxruntime 1.31.1"}, "not known", "", ()),
        ("somebodys-own", {}, "not known", "", ()),
        ("x86_64-ort-cpu", {**BOARD, "machine": "riscv64"}, "no", "", ()),
    ],
)
def test_a_device_is_judged(
    target: str, told: dict[str, Any], fits: str, better: str, could: tuple[str, ...]
) -> None:
    """A device's facts say whether its target fits, and which better one it could have."""
    verdict = matching.judge(Device(id="r1", target=target, **told), TARGETS)
    assert (verdict.fits, verdict.better, verdict.could) == (fits, better, could)
    assert bool(verdict.reasons) == (fits == "no")


def test_a_hello_fills_the_columns(tmp_path: Path) -> None:
    """What a device says that it is stands in its row, within bounds; the first runtime stands for all."""
    parts = make_parts(tmp_path)
    hello = Hello(
        device="r1",
        agent_version="1",
        target="t",
        tags={},
        runtime="onnxruntime 1.31.1",
        runtimes=(ORT, "litert 2.3.0 XNNPACK"),
        sent_at=1.0,
        machine="x86_64",
        cpu=("vnni", "avx2", "time travel"),
        memory_mb=1 << 40,
    )
    for told in (hello, msgspec.structs.replace(hello, sent_at=2.0, machine="", cpu=(), memory_mb=-5)):
        with parts.db.session() as session:
            if told is hello:
                session.add(Device(id="r1", target="t"))
                session.flush()
            batch = Batch(session, BlobStore(tmp_path / "blobs"), now=1000.0)
            batch.apply(told)
            batch.finish()
            device = session.get_one(Device, "r1")
            assert device.runtime == "onnxruntime 1.31.1"
            assert device.runtimes == [ORT, "litert 2.3.0 XNNPACK"]
            seen = (device.machine, device.cpu, device.memory_mb)
        assert seen == (("x86_64", ["avx2", "vnni"], 1 << 30) if told is hello else ("", [], 0))
    parts.db.close()


@dataclass
class Fleet:
    """Four robots of one target, one of which is another machine; two versions of a model."""

    parts: Parts
    client: TestClient

    def get(self, path: str) -> Any:
        """What the API answers."""
        return self.client.get(path).json()

    def taken(self, rollout: int) -> set[str]:
        """Devices of a rollout."""
        with self.parts.db.reading() as session:
            return {p.device for p in session.exec(select(RolloutDevice)) if p.rollout == rollout}

    def left_out(self, rollout: int) -> dict[str, str]:
        """Devices that a rollout leaves out."""
        with self.parts.db.reading() as session:
            return {row.device: row.reason for row in session.exec(select(LeftOut)) if row.rollout == rollout}

    def describe(self, device: str, **told: Any) -> None:
        """Change what a device has said."""
        with self.parts.db.session() as session:
            row = session.get(Device, device) or Device(id=device, target="x86_64-ort-cpu")
            row.sqlmodel_update(told)
            session.add(row)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """The fleet on a new data folder."""
    parts = make_parts(tmp_path)
    client = TestClient(
        create_app(parts),
        base_url="http://127.0.0.1/api/v1",
        headers={"Authorization": f"Bearer {TOKEN}"},
    )
    made = Fleet(parts, client)
    for name, told in {"r1": VNNI, "r2": PLAIN, "r3": {}, "r4": BOARD}.items():
        made.describe(name, connected=True, **told)
    with parts.db.session() as session:
        for version in (1, 2):
            session.add(
                ModelVersion(model="m", version=version, state="ready", source="push", created_at=1.0)
            )
            session.add(
                Artifact(
                    model="m",
                    version=version,
                    target="x86_64-ort-cpu",
                    precision="int8",
                    qualification="",
                    manifest_sha256=f"{version}" * 64,
                    manifest_length=1,
                    artifact_sha256="",
                    artifact_length=1,
                    profile_sha256="",
                )
            )
    yield made
    parts.db.close()


def test_a_rollout_leaves_out_what_contradicts_its_target(fleet: Fleet) -> None:
    """A robot without VNNI and one of another architecture are left out and named with the reason, in the
    event, the API, and on the page; one that has said nothing takes part.
    """
    number = fleet.parts.rollouts.create("m", 2)
    assert fleet.taken(number) == {"r1", "r3"}
    lacks = "x86_64-ort-cpu does not fit: its processor lacks vnni."
    assert fleet.left_out(number)["r2"] == lacks
    assert "processor is aarch64" in fleet.left_out(number)["r4"]
    with fleet.parts.db.reading() as session:
        said = [event.sentence for event in session.exec(select(Event)) if event.rollout == number]
    assert f"to 2 devices started. Left out: r2: {lacks}" in said[0]
    assert [row["device"] for row in fleet.get(f"/rollouts/{number}")["left_out"]] == ["r2", "r4"]
    pages = TestClient(create_app(fleet.parts), base_url="http://127.0.0.1", follow_redirects=True)
    pages.get("/", params={"token": TOKEN})
    assert lacks in pages.get(f"/rollouts/{number}").text


def test_a_slip_in_the_sites_table_hides_no_device(fleet: Fleet) -> None:
    """With a wrong table, lists, pages and rollouts go by the shipped one, or by the site's as it was when it
    was right; the pages say what is wrong, and only compiling refuses.
    """
    pages = TestClient(create_app(fleet.parts), base_url="http://127.0.0.1", follow_redirects=True)
    pages.get("/", params={"token": TOKEN})
    file = fleet.parts.data / "targets.toml"
    shipped, site = list(SHIPPED.target), ["press", *SHIPPED.target]
    for right, expected in (("", shipped), (SITE, site)):
        file.write_text(right)
        assert list(site_table(fleet.parts.data).target) == expected
        assert "targets.toml is wrong" not in pages.get("/targets").text
        file.write_text(right + "[target.press\n")
        table, complaint = standing_table(fleet.parts.data)
        assert list(table.target) == expected
        assert "is no TOML" in complaint
        assert list(_targets(fleet.parts.data)) == expected
        assert [row["id"] for row in fleet.get("/devices")] == ["r1", "r2", "r3", "r4"]
        assert fleet.get("/devices/r2")["fits"] == "no"
        assert [row["name"] for row in fleet.get("/targets") if row["qualified"]] == expected
        for page in ("/devices/r2", "/targets"):
            answer = pages.get(page)
            assert answer.status_code == 200
            assert "targets.toml is wrong" in answer.text
        with pytest.raises(TargetTableError):
            site_table(fleet.parts.data)


def test_a_rollout_without_a_device_says_why(fleet: Fleet) -> None:
    """Where all devices contradict their target the refusal names them and the reasons."""
    with pytest.raises(
        NoMatchingDeviceError, match=r"^E092 .* r2: x86_64-ort-cpu does not fit: .* lacks vnni"
    ):
        fleet.parts.rollouts.create("m", 2, "id=r2")
    for number in range(5, 9):
        fleet.describe(f"r{number}", **BOARD)
    with pytest.raises(NoMatchingDeviceError, match=r"r2.* r4.* r5.* And 3 more\."):
        fleet.parts.rollouts.create("m", 2, "id in (r2, r4, r5, r6, r7, r8)")


def test_the_way_back_leaves_nobody_out(fleet: Fleet) -> None:
    """Devices that got a version go back, whatever they have said of themselves since."""
    number = fleet.parts.rollouts.create("m", 2, "id in (r1, r3)", waves=(Wave("all"),))
    with fleet.parts.db.session() as session:
        for part in session.exec(select(RolloutDevice)):
            part.previous_version = 1
            session.add(part)
    fleet.describe("r1", **BOARD)
    assert fleet.taken(fleet.parts.rollouts.rollback(number)) == {"r1", "r3"}


def test_a_late_joiner_that_does_not_fit_is_named_until_it_does(fleet: Fleet) -> None:
    """A device that enrols later and contradicts its target is left out once, and taken in when it has told
    otherwise.
    """
    parts = fleet.parts
    assigner = make_assigner(parts.data, parts.db, parts.publisher)
    reconciler = Reconciler(parts.db, assigner, threading.Event())
    number = parts.rollouts.create("m", 2, "id in (r1, r3, r9)", waves=(Wave("all"),))
    reconciler.step()
    with parts.db.session() as session:
        for part in session.exec(select(RolloutDevice)):
            part.state = "committed"
            session.add(part)
    fleet.describe("r9", connected=True, **PLAIN)
    for _ in range(3):
        reconciler.step()
    assert (fleet.taken(number), set(fleet.left_out(number))) == ({"r1", "r3"}, {"r9"})
    fleet.describe("r9", **VNNI)
    reconciler.step()
    assert (fleet.taken(number), fleet.left_out(number)) == ({"r1", "r3", "r9"}, {})


def test_devices_and_targets_are_told_apart_by_the_api(fleet: Fleet) -> None:
    """A device's view has its facts, the verdict and what it could be; a target's view counts who fits."""
    devices = {device["id"]: device for device in fleet.get("/devices")}
    assert {name: device["fits"] for name, device in devices.items()} == {
        "r1": "yes",
        "r2": "no",
        "r3": "not known",
        "r4": "no",
    }
    assert devices["r2"] == fleet.get("/devices/r2")
    assert devices["r2"]["reasons"] == ["its processor lacks vnni"]
    assert devices["r2"]["better"] == "x86_64-ort-cpu-fp32 would fit r2: it has what that needs."
    (fleet.parts.data / "targets.toml").write_text(SITE)
    targets = {target["name"]: target for target in fleet.get("/targets")}
    assert {
        name: (t["enrolled"], t["fitting"], t["site"]) for name, t in targets.items() if t["fitting"]
    } == {
        "press": (0, 2, True),
        "x86_64-ort-cpu": (4, 1, False),
        "x86_64-ort-cpu-fp32": (0, 2, False),
        "aarch64-ort-cpu": (0, 1, False),
    }
    assert not targets["x86_64-cuda"]["qualified"]
    assert targets["x86_64-cuda"]["missing"]
    json.dumps(targets)


def _roll_out(fleet: Fleet, reconciler: Reconciler, version: int, selector: str = "") -> int:
    """Roll a version out until it has finished; who takes part runs it then."""
    number = fleet.parts.rollouts.create("m", version, selector, waves=(Wave("all"),))
    reconciler.step()
    with fleet.parts.db.session() as session:
        for part in session.exec(select(RolloutDevice).where(RolloutDevice.rollout == number)):
            part.state = "committed"
            device = session.get_one(Device, part.device)
            device.active_model, device.active_version = "m", version
    reconciler.step()
    return number


def _events(fleet: Fleet, device: str) -> list[tuple[str, str]]:
    with fleet.parts.db.reading() as session:
        return [
            (event.kind, event.sentence) for event in session.exec(select(Event)) if event.device == device
        ]


@pytest.fixture
def reconciler(fleet: Fleet) -> Reconciler:
    """What carries the fleet's rollouts on; its thread is not started."""
    parts = fleet.parts
    return Reconciler(parts.db, make_assigner(parts.data, parts.db, parts.publisher), threading.Event())


def test_who_runs_the_model_is_not_left_out(fleet: Fleet, reconciler: Reconciler) -> None:
    """A robot that runs a version of the model gets the next one whatever it says of itself since, and the
    event names it with the reason; one that runs another model is left out as ever.
    """
    fleet.describe("r2", **VNNI)
    _roll_out(fleet, reconciler, 1, "id in (r1, r2)")
    fleet.describe("r2", **PLAIN)
    fleet.describe("r4", active_model="other", active_version=1)
    number = fleet.parts.rollouts.create("m", 2)
    assert fleet.taken(number) == {"r1", "r2", "r3"}
    assert set(fleet.left_out(number)) == {"r4"}
    with fleet.parts.db.reading() as session:
        (said,) = (event.sentence for event in session.exec(select(Event)) if event.rollout == number)
    assert "Taken because they run m, whatever they say: r2: x86_64-ort-cpu does not fit: its" in said


def test_a_row_of_an_older_controller_contradicts_nothing(fleet: Fleet) -> None:
    """All runtimes in one text, as controllers wrote them before, are not read as one: nothing is known."""
    joined = "litert 2.1.3 XNNPACK, onnxruntime 1.31.1 CPUExecutionProvider"
    device = Device(id="old", target="x86_64-ort-cpu", runtime=joined)
    choice = matching.choose([device], shipped_demands())
    assert (choice.taken, choice.left_out) == (["old"], {})
    assert matching.judge(device, shipped_demands()).fits == "not known"


def test_who_fits_again_is_taken_back(fleet: Fleet, reconciler: Reconciler) -> None:
    """A robot with an assignment that a rollout left out gets the version when it fits, with an event; not
    while it does not, and not when it was given something else since.
    """
    fleet.describe("r2", **VNNI)
    _roll_out(fleet, reconciler, 1, "id in (r1, r2, r3)")
    for name in ("r2", "r3"):
        fleet.describe(name, active_model="", active_version=0, **PLAIN)
    number = _roll_out(fleet, reconciler, 2)
    assert set(fleet.left_out(number)) == {"r2", "r3", "r4"}
    with fleet.parts.db.session() as session:
        session.get_one(Assignment, "r3").model = "other"
    for name in ("r2", "r3"):
        fleet.describe(name, **VNNI)
    for _ in range(2):
        reconciler.step()
    assert fleet.taken(number) == {"r1", "r2"}
    assert set(fleet.left_out(number)) == {"r3", "r4"}
    with fleet.parts.db.reading() as session:
        assert session.get_one(Assignment, "r2").model_version == 2
    assert _events(fleet, "r2") == [
        ("rollout.taken_back", "r2 was left out and fits now: it gets m v2."),
    ]


def test_a_late_joiner_that_is_left_out_is_an_event(fleet: Fleet, reconciler: Reconciler) -> None:
    """Who joins late and does not fit is named once, with the reason."""
    _roll_out(fleet, reconciler, 1)
    fleet.describe("r9", connected=True, **PLAIN)
    for _ in range(3):
        reconciler.step()
    assert _events(fleet, "r9") == [
        (
            "rollout.left_out",
            "r9 joined and gets no m: x86_64-ort-cpu does not fit: its processor lacks vnni.",
        )
    ]


def test_a_rollout_to_a_part_leaves_champion_and_late_joiners(fleet: Fleet, reconciler: Reconciler) -> None:
    """A rollout to one robot moves no champion while others have another version, and who joins late gets the
    champion; the rollout that brings it to the last of them moves it.
    """
    _roll_out(fleet, reconciler, 1)
    _roll_out(fleet, reconciler, 2, "id=r1")

    def champion() -> int:
        with fleet.parts.db.reading() as session:
            return session.get_one(Alias, ("m", "champion")).version

    assert champion() == 1
    fleet.describe("r5", connected=True, **VNNI)
    reconciler.step()
    with fleet.parts.db.reading() as session:
        assert session.get_one(Assignment, "r5").model_version == 1
        kept = [event.sentence for event in session.exec(select(Event)) if event.kind == "alias.kept"]
    assert kept == ["v1 stays the champion of m: rollout 2 does not take r3, with another version."]
    _roll_out(fleet, reconciler, 2, "id in (r3, r5)")
    assert champion() == 2
