"""Rebuilds end to end on a tiny model: real child processes, real engine, kill -9."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edgewright.controller.compiler.frames import read_frames
from edgewright.controller.compiler.protocol import BuildResult
from edgewright.controller.database import select
from edgewright.controller.database.evidencetables import Alarm, Rebuild
from edgewright.controller.database.tables import Artifact, ModelVersion, Rollout
from edgewright.controller.errors import BrokerFullError, DataFolderDamagedError, RebuildStateError
from edgewright.controller.evidence.paired import Pairs
from edgewright.controller.model_toml import parse_model
from edgewright.controller.rebuild import dataset, steps
from edgewright.controller.rebuild.context import Interrupted
from edgewright.controller.rebuild.ladder import Measured
from edgewright.controller.rebuild.states import IN_FLIGHT, RebuildState
from edgewright.controller.rebuild.steps import ATTEMPTS, build, carry_on, collect, follow, gate, wait_turn
from edgewright.controller.rebuild.versions import compile_version, release_version
from edgewright.controller.rollouts.policy import RolloutState
from tests.controller.colour_plant import BY_ADA, MODEL, Plant, Shelf, wait_until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    """A plant with version 1 of the colour model."""
    plant = Plant(tmp_path)
    plant.push()
    yield plant
    plant.db.close()


def raise_alarm(plant: Plant, onset_at: float) -> int:
    """An alarm of version 1, as the monitor stores it."""
    with plant.db.session() as session:
        alarm = Alarm(model=MODEL, version=1, raised_at=1.0, signal="error-rate", sentence="Blue is wrong.")
        alarm.evidence = {"onset_at": onset_at}
        session.add(alarm)
        session.flush()
        return alarm.id or 0


@pytest.mark.slow
def test_an_alarm_becomes_a_version_on_the_line(plant: Plant) -> None:
    """From the alarm on: queued, the first rung refused, the second passed, built, signed, rolled out."""
    plant.capture(10, ("red",), taken_at=0.0)
    plant.capture(90, taken_at=100.0)
    workflows = plant.workflows()
    number = workflows.enqueue_for_alarm(raise_alarm(plant, onset_at=100.0))
    assert plant.rebuild(number).state == RebuildState.QUEUED
    workflows.start()
    try:
        wait_until(lambda: plant.rebuild(number).state not in IN_FLIGHT)
    finally:
        workflows.stop()
    rebuild = plant.rebuild(number)
    assert (rebuild.state, rebuild.rung, rebuild.new_version, rebuild.rollout) == ("done", "centroids", 2, 1)
    rungs = rebuild.gates["rungs"]
    assert [rungs[rung]["passed"] for rung in ("lazy", "centroids")] == [False, True]
    assert rebuild.gates["fit"] + rebuild.gates["gate"] == 90
    expect_version_2(plant)
    assert plant.events() == [
        "version.pushed",
        "rebuild.queued",
        "rebuild.started",
        "rebuild.candidate",
        "version.ready",
        "rebuild.finished",
    ]


def expect_version_2(plant: Plant) -> None:
    """The registry's version 2 knows blue, keeps the old frames, and is released and rolled out once."""
    with plant.db.reading() as session:
        version = session.get_one(ModelVersion, (MODEL, 2))
        artifact = session.get_one(Artifact, (MODEL, 2, "x86_64-ort-cpu-fp32"))
        (rollout,) = session.exec(select(Rollout)).all()
    assert (version.state, version.source, version.parent) == ("ready", "rebuild", 1)
    assert version.labels == ["red", "green", "blue"]
    assert (version.lineage["kind"], version.lineage["rung"]) == ("rebuild", "centroids")
    assert parse_model(plant.blobs.read(version.files["model.toml"])).model.labels == ("red", "green", "blue")
    holdout = read_frames(plant.blobs.path(version.files["holdout.npz"]))
    assert holdout.labels[:80] == ("red",) * 40 + ("green",) * 40
    assert "blue" in holdout.labels[80:]
    assert plant.shelf.releases in ([artifact.manifest_sha256], [])
    signed = Plant(plant.data).repository.files()
    assert f"{MODEL}.json" in {name.partition(".")[2] for name in signed}
    assert (rollout.version, [wave["gate"] for wave in rollout.waves]) == (2, ["quality", "install"])


def kill_in(plant: Plant, number: int, state: RebuildState) -> None:
    """Carry on in a process of its own, and kill it as soon as the rebuild is in a state."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.controller.colour_plant", str(plant.data)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        wait_until(lambda: plant.rebuild(number).state == state)
    finally:
        child.kill()
        child.wait()


@pytest.mark.slow
def test_a_controller_that_is_killed_at_any_step_goes_on(plant: Plant) -> None:
    """Killed with -9 in training and in building, a rebuild ends with one version and one rollout."""
    plant.capture(90)
    number = plant.workflows().enqueue_rebuild(MODEL, "a person.", BY_ADA)
    for state in (RebuildState.TRAINING, RebuildState.BUILDING, RebuildState.DONE):
        kill_in(plant, number, state)
        assert plant.rebuild(number).state == state
    assert plant.rebuild(number).new_version == 2
    expect_version_2(plant)
    with plant.db.reading() as session:
        assert len(session.exec(select(ModelVersion)).all()) == 2
        assert len(session.exec(select(Rebuild)).all()) == 1


def test_a_pushed_version_is_built_and_released_once(tmp_path: Path) -> None:
    """A version that is building when the engine starts is built; asking again changes nothing."""
    plant = Plant(tmp_path)
    plant.push("building")
    workflows = plant.workflows()
    workflows.start()
    try:
        workflows.enqueue_build(MODEL, 1)
        wait_until(lambda: "version.ready" in plant.events())
        workflows.enqueue_build(MODEL, 1)
    finally:
        workflows.stop()
    assert plant.events() == ["version.pushed", "version.ready"]
    assert len(plant.shelf.releases) == 1
    assert plant.shelf.metadata == 1
    plant.db.close()


def test_a_version_that_cannot_be_built_fails_by_name(tmp_path: Path) -> None:
    """A file that is no model ends as failed with the error's number, and nothing is released."""
    plant = Plant(tmp_path)
    plant.push("building")
    with plant.db.session() as session:
        row = session.get_one(ModelVersion, (MODEL, 1))
        row.files = {**row.files, "colours.onnx": plant.blobs.put(b"no model")}
    workflows = plant.workflows()
    workflows.start()
    try:
        wait_until(lambda: "version.failed" in plant.events())
    finally:
        workflows.stop()
    with plant.db.reading() as session:
        row = session.get_one(ModelVersion, (MODEL, 1))
    assert (row.state, row.error) == ("failed", 70)
    assert plant.shelf.releases == []
    plant.db.close()


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a plant whose version 1 is compiled and not released, and the build's blob."""
    plant = Plant(tmp_path_factory.mktemp("compiled"))
    plant.push("building")
    result = compile_version(plant.context(), MODEL, 1)
    plant.db.close()
    return plant.data, result


@pytest.fixture
def built(compiled: tuple[Path, str], tmp_path: Path) -> Iterator[tuple[Plant, str, str]]:
    """A plant of its own whose version 1 is compiled; the build's blob, and its path in the catalogue."""
    folder, result = compiled
    shutil.copytree(folder, tmp_path / "copy")
    plant = Plant(tmp_path / "copy")
    (path,) = (built.path for built in msgspec.json.decode(plant.blobs.read(result), type=BuildResult).built)
    yield plant, result, path
    plant.db.close()


def test_a_version_that_does_not_get_through_is_not_in_the_catalogue(built: tuple[Plant, str, str]) -> None:
    """What does not fit is not signed; what fails while it is published is out of the signed catalogue again,
    and its artifacts are known, so that the broker can be cleared of them.
    """
    plant, result, path = built
    before = plant.repository.timestamp_version
    plant.shelf.full = BrokerFullError("There is no room.")
    with pytest.raises(BrokerFullError):
        release_version(plant.context(), result)
    assert plant.repository.timestamp_version == before
    plant.shelf.full, plant.shelf.damage = None, DataFolderDamagedError("A blob is damaged.")
    with pytest.raises(DataFolderDamagedError):
        release_version(plant.context(), result)
    assert plant.repository.timestamp_version > before
    assert plant.repository.entry(path) is None
    with plant.db.reading() as session:
        assert len(session.exec(select(Artifact).where(Artifact.version == 1)).all()) == 1


class CancellingShelf(Shelf):
    """Somebody cancels the rebuild right after its version was published."""

    def __init__(self, plant: Plant) -> None:
        super().__init__()
        self._plant = plant

    def publish_metadata(self) -> None:
        """Publish, and cancel once."""
        super().publish_metadata()
        if self.metadata == 1:
            self._plant.workflows().cancel_rebuild(1, "Ada")


def test_a_version_that_is_cancelled_while_it_is_published_is_taken_back(
    built: tuple[Plant, str, str],
) -> None:
    """A cancel between publishing and the row's move leaves nothing in the signed catalogue."""
    plant, result, path = built
    plant.shelf = CancellingShelf(plant)
    row = Rebuild(model=MODEL, from_version=1, cause="c", state="signing", queued_at=1.0, new_version=1)
    row.gates = {"build": result}
    with plant.db.session() as session:
        session.add(row)
    assert carry_on(plant.context(), 1) == RebuildState.CANCELLED
    assert plant.repository.entry(path) is None
    assert plant.shelf.metadata == 2
    with plant.db.reading() as session:
        assert session.get_one(ModelVersion, (MODEL, 1)).state == "withdrawn"


def test_a_candidate_of_a_cancelled_rebuild_is_no_version(plant: Plant) -> None:
    """A cancel after the step has read its row leaves no version that builds for ever."""
    number = plant.workflows().enqueue_rebuild(MODEL, "a person.", BY_ADA)
    files = {what: plant.blobs.put(what.encode()) for what in ("candidate", "holdout", "replay")}
    with plant.db.session() as session:
        row = session.get_one(Rebuild, number)
        row.state, row.rung = "building", "lazy"
        row.gates = {"labels": ["red", "green"], "rungs": {"lazy": {"files": files}}}
    stale = plant.rebuild(number)
    plant.workflows().cancel_rebuild(number, "Ada")
    with pytest.raises(ValueError, match="does not build any more"):
        build(plant.context(), stale)
    with plant.db.reading() as session:
        assert len(session.exec(select(ModelVersion)).all()) == 1


def test_more_frames_than_a_rebuild_takes_are_never_waited_for(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third attempt collects as many frames as one rebuild can take, not more, and goes on."""
    for module in (steps, dataset):
        monkeypatch.setattr(module, "MOST_SAMPLES", 90)
    plant.capture(100)
    context = plant.context()
    number = plant.workflows().enqueue_rebuild(MODEL, "a person.", BY_ADA)
    wait_turn(context, plant.rebuild(number))
    with plant.db.session() as session:
        row = session.get_one(Rebuild, number)
        row.gates, row.started_at = {**row.gates, "refused": 2}, 1.0
    collect(context, plant.rebuild(number))
    assert plant.rebuild(number).state == RebuildState.TRAINING


def test_a_recipe_that_fails_ends_the_rebuild_with_its_words(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the recipe raised stands in the rebuild's detail; its process has none of the controller's
    variables; and the model can be rebuilt again.
    """
    monkeypatch.setenv("EDGEWRIGHT_PIN", "123456")
    recipe = b"import os\ndef fit(*_):\n    raise ValueError('PIN ' + os.getenv('EDGEWRIGHT_PIN', 'none'))\n"
    with plant.db.session() as session:
        row = session.get_one(ModelVersion, (MODEL, 1))
        row.files = {**row.files, "recipe.py": plant.blobs.put(recipe + b"Dataset = lambda *_: None\n")}
    plant.capture(90)
    context = plant.context()
    number = plant.workflows().enqueue_rebuild(MODEL, "a person.", BY_ADA)
    states = [carry_on(context, number) for _ in range(3)]
    assert states == ["collecting", "training", "failed"]
    assert "PIN none" in plant.rebuild(number).detail
    assert plant.workflows().enqueue_rebuild(MODEL, "a person.", BY_ADA) != number


def test_collecting_takes_only_what_came_since_the_onset(plant: Plant) -> None:
    """Items from before the onset, beyond the lateness of outcomes, are not learned from."""
    plant.capture(50, taken_at=0.0)
    plant.capture(60, taken_at=1000.0)
    context = plant.context()
    number = plant.workflows().enqueue_for_alarm(raise_alarm(plant, onset_at=1000.0))
    wait_turn(context, plant.rebuild(number))
    collect(context, plant.rebuild(number))
    gates = plant.rebuild(number).gates
    assert gates["fit"] + gates["gate"] == 60
    snapshot = msgspec.json.decode(plant.blobs.read(gates["dataset"]))
    assert snapshot["labels"] == ["red", "green", "blue"]


def test_a_refused_ladder_collects_again_before_it_gives_up(plant: Plant) -> None:
    """After a refused last rung the rebuild collects twice as many items; the third refusal ends it."""
    number = plant.workflows().enqueue_for_alarm(raise_alarm(plant, onset_at=1000.0))
    context, said = plant.context(), []
    poor = {
        "measured": msgspec.to_builtins(Measured(Pairs(1, 1, 60), 100, 90, 90)),
        "metrics": {},
        "files": {},
    }
    for _ in range(ATTEMPTS):
        with plant.db.session() as session:
            row = session.get_one(Rebuild, number)
            row.state, row.rung = RebuildState.GATING, "centroids"
            row.gates = {**row.gates, "rungs": {"lazy": poor, "centroids": poor}}
        gate(context, plant.rebuild(number))
        said.append((plant.rebuild(number).state, plant.rebuild(number).gates.get("refused")))
    assert said == [("collecting", 1), ("collecting", 2), ("refused", 2)]


def test_a_candidate_that_has_passed_is_built_when_no_more_frames_come(plant: Plant) -> None:
    """What was shown to be better waits for a person, and is not thrown away for frames that stay away."""
    plant.change_rules(("unaudited_margin = 0.0", "unaudited_margin = 0.2"))
    number = plant.workflows().enqueue_for_alarm(raise_alarm(plant, onset_at=1000.0))
    good = {
        "measured": msgspec.to_builtins(Measured(Pairs(36, 2, 82), 100, 90, 90)),
        "metrics": {},
        "files": {},
    }
    with plant.db.session() as session:
        row = session.get_one(Rebuild, number)
        row.state, row.rung = RebuildState.GATING, "lazy"
        row.gates = {"since": 1000.0, "rungs": {"lazy": good}, "labels": ["red"], "audited": 0}
    context = plant.context()
    assert carry_on(context, number) == RebuildState.COLLECTING
    with plant.db.session() as session:
        session.get_one(Rebuild, number).started_at = 1.0
    collect(context, plant.rebuild(number))
    row = plant.rebuild(number)
    assert (row.state, row.rung) == (RebuildState.BUILDING, "lazy")
    assert row.gates["rungs"]["lazy"]["passed"]
    assert "goes on with lazy" in row.detail


def test_what_is_better_now_and_forgets_waits_for_a_person_in_the_end(plant: Plant) -> None:
    """The last refusal of a candidate that is better on fresh frames leaves the old labels to a person."""
    number = plant.workflows().enqueue_for_alarm(raise_alarm(plant, onset_at=1000.0))
    changed = {"measured": msgspec.to_builtins(Measured(Pairs(100, 2, 98), 400, 380, 340)), "metrics": {}}
    with plant.db.session() as session:
        row = session.get_one(Rebuild, number)
        row.state, row.rung = RebuildState.GATING, "centroids"
        rungs = {"lazy": changed, "centroids": changed}
        row.gates = {"since": 1000.0, "rungs": rungs, "audited": 0, "refused": ATTEMPTS - 1}
    gate(plant.context(), plant.rebuild(number))
    row = plant.rebuild(number)
    assert row.state == RebuildState.BUILDING
    assert not row.gates["rungs"]["centroids"]["passed"]


def test_an_alarm_of_a_model_that_is_rebuilt_by_hand_starts_nothing(plant: Plant) -> None:
    """Where model.toml says that rebuilds are not automatic, an alarm queues none."""
    with plant.db.session() as session:
        row = session.get_one(ModelVersion, (MODEL, 1))
        toml = plant.blobs.read(row.files["model.toml"]).replace(b"automatic = true", b"automatic = false")
        row.files = {**row.files, "model.toml": plant.blobs.put(toml)}
    assert plant.workflows().enqueue_for_alarm(raise_alarm(plant, onset_at=1.0)) == 0
    assert "rebuild.queued" not in plant.events()


def test_a_stopped_rollout_fails_the_rebuild(plant: Plant) -> None:
    """A rebuild whose rollout was stopped ends as failed, and says which rollout and why."""
    plant.quick.end = RolloutState.STOPPED
    with plant.db.session() as session:
        session.add(
            Rebuild(model=MODEL, from_version=1, cause="c", state="rolling-out", queued_at=1.0, new_version=2)
        )
    follow(plant.context(), plant.rebuild())
    assert plant.rebuild().state == RebuildState.FAILED
    assert "rollout 1 was stopped" in plant.rebuild().detail


def test_an_alarm_waits_for_the_cooldown_and_a_person_does_not(plant: Plant) -> None:
    """After a rebuild that has just ended an alarm's rebuild stays queued; a person's starts at once."""
    with plant.db.session() as session:
        row = session.get_one(ModelVersion, (MODEL, 1))
        toml = plant.blobs.read(row.files["model.toml"]).replace(b"cooldown_s = 0.0", b"cooldown_s = 3600.0")
        row.files = {**row.files, "model.toml": plant.blobs.put(toml)}
        session.add(
            Rebuild(
                model=MODEL, from_version=1, cause="", state="done", queued_at=1.0, finished_at=time.time()
            )
        )
    workflows, context = plant.workflows(), plant.context()
    context.stopping.set()
    waiting = workflows.enqueue_for_alarm(raise_alarm(plant, onset_at=1.0))
    with pytest.raises(Interrupted):
        wait_turn(context, plant.rebuild(waiting))
    assert plant.rebuild(waiting).state == RebuildState.QUEUED
    workflows.cancel_rebuild(waiting, "Ada")
    asked = workflows.enqueue_rebuild(MODEL, "a person.", BY_ADA)
    assert carry_on(context, asked) == RebuildState.COLLECTING


def test_a_cancelled_rebuild_does_nothing_more(plant: Plant) -> None:
    """After cancelling, carrying on changes nothing, and cancelling again is refused."""
    workflows = plant.workflows()
    number = workflows.enqueue_rebuild(MODEL, "a person.", BY_ADA)
    workflows.cancel_rebuild(number, "Ada")
    assert carry_on(plant.context(), number) == RebuildState.CANCELLED
    with pytest.raises(RebuildStateError, match="is cancelled"):
        workflows.cancel_rebuild(number, "Ada")
