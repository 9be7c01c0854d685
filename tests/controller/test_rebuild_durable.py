"""A rebuild that is killed at any step goes on, on a file of its own and on PostgreSQL."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.controller.database import select
from edgewright.controller.database.evidencetables import Rebuild, RebuildRun
from edgewright.controller.database.tables import ModelVersion, Rollout
from edgewright.controller.rebuild.context import Context
from edgewright.controller.rebuild.orders import approve
from edgewright.controller.rebuild.states import AT_WORK, RebuildState
from edgewright.controller.rebuild.steps import WORK, carry_on
from edgewright.controller.rebuild.workflows import SCHEMA_FILE
from tests.controller.colour_plant import BY_ADA, MODEL, Plant, wait_until
from tests.controller.postgres import postgres

ROOT = Path(__file__).parents[2]
PERSON = ("automatic = true", 'automatic = true\napproval = "person"')


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    """A plant whose rebuilds a person approves."""
    plant = Plant(tmp_path)
    plant.push()
    plant.change_rules(PERSON)
    plant.capture(90)
    yield plant
    plant.db.close()


def expect_one_of_everything(plant: Plant) -> None:
    """One rebuild that is done, two versions, one rollout, one run a rung with an outcome each."""
    with plant.db.reading() as session:
        (rebuild,) = session.exec(select(Rebuild)).all()
        assert (rebuild.state, rebuild.new_version, rebuild.approved_by) == ("done", 2, "Ada")
        assert len(session.exec(select(ModelVersion)).all()) == 2
        assert len(session.exec(select(Rollout)).all()) == 1
        runs = session.exec(select(RebuildRun)).all()
    assert [(run.rung, run.outcome) for run in runs] == [("lazy", "refused"), ("centroids", "passed")]


def test_what_is_done_again_in_any_state_is_done_once(plant: Plant) -> None:
    """Each state's work, killed after its last act and before its end is noted, ends with the same rows."""
    context, number = (
        plant.context(),
        plant.workflows().enqueue_rebuild(MODEL, "a person.", BY_ADA),
    )
    seen = []
    while (state := plant.rebuild(number).state) != RebuildState.DONE:
        if state == RebuildState.WAITING_APPROVAL:
            assert carry_on(context, number) == state  # nothing happens until a person comes
            with plant.db.session() as session:
                approve(session, number, "Ada")
            continue
        if state not in seen:
            seen.append(state)
            _do_and_lose(context, plant, number)
            assert plant.rebuild(number).state == state
        assert carry_on(context, number) not in (RebuildState.FAILED, RebuildState.CANCELLED)
    assert set(seen) == set(AT_WORK)
    expect_one_of_everything(plant)


def _do_and_lose(context: Context, plant: Plant, number: int) -> None:
    """Do a state's work, with everything it leaves, but lose the move of the row at its end."""
    before = plant.rebuild(number)
    WORK[RebuildState(before.state)](context, before)
    with plant.db.session() as session:
        row = session.get_one(Rebuild, number)
        row.state, row.gates, row.rung = before.state, before.gates, before.rung
        row.finished_at = 0.0


def kill_in(plant: Plant, number: int, state: RebuildState, database: str = "") -> None:
    """Carry on in a process of its own, and kill it as soon as the rebuild is in a state."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.controller.colour_plant", str(plant.data), database],
        cwd=ROOT,
    )
    try:
        wait_until(lambda: plant.rebuild(number).state == state)
    finally:
        child.kill()
        child.wait()


@pytest.mark.slow
def test_a_rebuild_that_waits_for_a_person_outlives_the_controller(plant: Plant) -> None:
    """Killed with -9 while it waits, after the approval and while it rolls out, it ends right."""
    number = plant.workflows().enqueue_rebuild(MODEL, "a person.", BY_ADA)
    kill_in(plant, number, RebuildState.WAITING_APPROVAL)
    kill_in(plant, number, RebuildState.WAITING_APPROVAL)
    plant.workflows().approve_rebuild(number, "Ada")
    kill_in(plant, number, RebuildState.DONE)
    expect_one_of_everything(plant)


@pytest.mark.slow
def test_workflows_in_postgresql_outlive_the_controller(plant: Plant) -> None:
    """The same on a real PostgreSQL, in a schema of the data folder's own."""
    with postgres() as address:
        number = plant.workflows().enqueue_rebuild(MODEL, "a person.", BY_ADA)
        kill_in(plant, number, RebuildState.TRAINING, address)
        kill_in(plant, number, RebuildState.WAITING_APPROVAL, address)
        plant.workflows().approve_rebuild(number, "Ada")
        kill_in(plant, number, RebuildState.DONE, address)
    expect_one_of_everything(plant)
    assert (plant.data / SCHEMA_FILE).read_text().startswith("edgewright_")
    assert not (plant.data / "dbos.db").exists()


def test_a_workflow_that_the_engine_gave_up_is_started_again(plant: Plant) -> None:
    """A rebuild at work whose workflow the engine counts as ended is carried on at the next start."""
    plant.rollouts.create(MODEL, 2)
    with plant.db.session() as session:
        session.add(
            Rebuild(model=MODEL, from_version=1, cause="c", state="", queued_at=1.0, new_version=2, rollout=1)
        )
    for _ in range(2):
        with plant.db.session() as session:
            row = session.get_one(Rebuild, 1)
            row.state = "rolling-out"
        workflows = plant.workflows()
        workflows.start()
        try:
            wait_until(lambda: plant.rebuild().state == RebuildState.DONE)
            workflows.forget_ended()
        finally:
            workflows.stop()
