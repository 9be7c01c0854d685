"""Runs: every training of a rebuild as it can be looked up and compared, whatever became of it.

A run is opened before its recipe starts and closed by the gate, or by what went wrong. One that was killed
in between is opened again by the same row: a run is a rebuild, an attempt and a rung.
"""

import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from edgewright.controller.database import MOST_NUMBER, Session, col, select
from edgewright.controller.database.evidencetables import Rebuild, RebuildRun
from edgewright.controller.errors import RebuildStateError
from edgewright.controller.model_toml import ModelSpec
from edgewright.controller.rebuild.ladder import Measured, RungVerdict

PASSED: Final = "passed"
REFUSED: Final = "refused"
FAILED: Final = "failed"


def open_run(
    session: Session, rebuild: Rebuild, rung: str, spec: ModelSpec, files: Mapping[str, str], seed: int
) -> None:
    """Open the run of a rung, with everything that decides over what comes of it.

    Args:
        session: a writing session.
        rebuild: whose.
        rung: of the recipe's ladder.
        spec: of the version that it starts from.
        files: of that version, path to SHA-256.
        seed: of everything random in the recipe.
    """
    found, attempt = rebuild.gates, rebuild.gates.get("refused", 0) + 1
    run = _run_of(session, rebuild, rung, attempt) or RebuildRun(
        rebuild=rebuild.id or 0, model=rebuild.model, rung=rung, attempt=attempt, started_at=time.time()
    )
    run.started_at, run.outcome, run.detail = time.time(), "", ""
    run.parameters = {
        "from_version": rebuild.from_version,
        "trigger": rebuild.trigger,
        "seed": seed,
        "recipe_sha256": files[spec.rebuild.recipe],
        "model_sha256": files[spec.model.file],
        "dataset_sha256": found["dataset"],
        "labels": list(found["labels"]),
        "fit": found["fit"],
        "gate": found["gate"],
        "audited": found.get("audited", 0),
        "set_aside": sorted(found.get("set_aside", {})),
        "harm_tolerance": spec.drift.harm_tolerance,
    }
    run.artifacts = {"dataset": found["dataset"]}
    session.add(run)


def note_trained(session: Session, rebuild: Rebuild, rung: str, result: Mapping[str, Any]) -> None:
    """Write down what a rung's worker has made and measured."""
    run = _run_of(session, rebuild, rung, rebuild.gates.get("refused", 0) + 1)
    if run is None:
        return
    measured = msgspec.convert(result["measured"], Measured)
    items = max(measured.fresh.items, 1)
    run.finished_at = time.time()
    run.artifacts = {**run.artifacts, **result["files"]}
    run.metrics = {
        **{f"recipe_{name}": value for name, value in result["metrics"].items()},
        "fresh_accuracy": measured.fresh_right_after / items,
        "fresh_accuracy_before": (measured.fresh_right_after - measured.fresh.gained + measured.fresh.lost)
        / items,
        "old_accuracy": measured.old_right_after / max(measured.old, 1),
        "old_accuracy_before": measured.old_right_before / max(measured.old, 1),
        "forgotten": measured.forgotten,
        "forgotten_worst_class": measured.worst_class[1],
        "took_s": run.finished_at - run.started_at,
    }
    session.add(run)


def close_run(session: Session, rebuild: Rebuild, rung: str, verdict: RungVerdict) -> None:
    """Write down what the gate said."""
    run = _run_of(session, rebuild, rung, rebuild.gates.get("refused", 0) + 1)
    if run is not None:
        run.outcome, run.detail = PASSED if verdict.passed else REFUSED, verdict.sentence
        run.metrics = {**run.metrics, "gain_at_least": verdict.numbers["gain_at_least"]}
        session.add(run)


def fail_runs(session: Session, number: int, sentence: str) -> None:
    """Close the runs of a rebuild that has failed which no gate will close any more."""
    for run in session.exec(
        select(RebuildRun).where(col(RebuildRun.rebuild) == number, col(RebuildRun.outcome) == "")
    ).all():
        run.outcome, run.detail, run.finished_at = FAILED, sentence, time.time()
        session.add(run)


def runs_of(session: Session, number: int) -> list[RebuildRun]:
    """The runs of a rebuild, in the order in which they were begun."""
    statement = select(RebuildRun).where(col(RebuildRun.rebuild) == number).order_by(col(RebuildRun.id))
    return list(session.exec(statement).all())


def find_run(session: Session, number: int) -> RebuildRun:
    """One run.

    Raises:
        RebuildStateError: there is none of this number.
    """
    run = session.get(RebuildRun, number) if 0 < number <= MOST_NUMBER else None
    if run is None:
        raise RebuildStateError(f"There is no run {number}.")
    return run


def _run_of(session: Session, rebuild: Rebuild, rung: str, attempt: int) -> RebuildRun | None:
    statement = (
        select(RebuildRun)
        .where(col(RebuildRun.rebuild) == rebuild.id, col(RebuildRun.rung) == rung)
        .where(col(RebuildRun.attempt) == attempt)
    )
    return session.exec(statement).first()
