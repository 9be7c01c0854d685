"""What a rebuild does in each of its states: one function a state, and ``carry_on`` that picks it.

A function does its state's work and moves the row on. Each can be done again: a process that is killed in
the middle leaves the row in the state, and the next one does the state's work from its beginning, with what
was stored. What a person may see of it stands in the row: ``gates`` holds the dataset, the labels, and each
rung's measurements and verdict.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from edgewright.controller import registry
from edgewright.controller.database import Session, col, select
from edgewright.controller.database.evidencetables import Alarm, Rebuild
from edgewright.controller.database.tables import Rollout
from edgewright.controller.errors import RecipeError
from edgewright.controller.lineage import of_rebuild
from edgewright.controller.model_toml import FILE_NAME, MOST_SAMPLES, ModelSpec, parse_model, write_model
from edgewright.controller.rebuild.context import Context
from edgewright.controller.rebuild.dataset import count_labelled, count_robots, gather, snapshot
from edgewright.controller.rebuild.frames_chosen import Snapshot, tell_dataset
from edgewright.controller.rebuild.job import Answer, Job
from edgewright.controller.rebuild.ladder import GATE_ALPHA, Measured, judge
from edgewright.controller.rebuild.orders import move, past_of, verify_base
from edgewright.controller.rebuild.policy import Change, Hold, hold, lacks_evidence, why_a_person
from edgewright.controller.rebuild.rung import fit_rung
from edgewright.controller.rebuild.runs import close_run, fail_runs, note_trained, open_run
from edgewright.controller.rebuild.states import AT_WORK, IN_FLIGHT, RebuildState
from edgewright.controller.rebuild.versions import compile_version, release_version, take_back
from edgewright.controller.rollouts.policy import RolloutState
from edgewright.controller.rollouts.service import REBUILD_WAVES
from edgewright.wire.errors import EdgewrightError

COLLECT_LIMIT_S: Final = 900.0
"""Labelled items that have not come after this time do not come; the alarm stays open."""

POLL_S: Final = 0.2

REST: Final = 10.0
"""Times as long as a look for items has taken there is a rest before the next one: thousands take 0.1 s."""

ATTEMPTS: Final = 3
"""How often a rebuild collects before it is refused: a gate may only lack items that tell."""

_S = RebuildState


def carry_on(context: Context, number: int) -> str:
    """Do the work of a rebuild's state; returns the state after it.

    Raises:
        Interrupted: the controller goes down; the state's work will be done again.
    """
    rebuild = _row(context, number)
    if rebuild.state not in AT_WORK:
        return rebuild.state
    try:
        WORK[RebuildState(rebuild.state)](context, rebuild)
    except EdgewrightError as error:
        if rebuild.new_version:
            with context.db.session() as session:
                registry.mark_failed(session, rebuild.model, rebuild.new_version, error)
        return end_failed(context, number, error.sentence)
    except ValueError:
        # The one move that the table refuses without a defect: a person has cancelled it in the meantime.
        if _row(context, number).state != _S.CANCELLED:
            raise
        with context.db.session() as session:
            fail_runs(session, number, "The rebuild was cancelled.")
    return _row(context, number).state


def end_failed(context: Context, number: int, sentence: str) -> str:
    """End a rebuild that cannot go on; returns its state, which may be another end that came first."""
    with context.db.session() as session:
        row = session.get_one(Rebuild, number)
        if row.state in IN_FLIGHT:
            move(session, row, _S.FAILED, sentence)
        fail_runs(session, number, sentence)
        return row.state


def wait_turn(context: Context, rebuild: Rebuild) -> None:
    """Queued: until the cooldown after the last one is over and the day has room; a person does not wait."""
    spec = _spec(context, rebuild)
    if not spec.rebuild.recipe or not spec.rebuild.ladder:
        raise RecipeError(f"{rebuild.model} has no rebuild recipe.")
    while held := _held(context, rebuild.id or 0, spec):
        _tell(context, rebuild.id or 0, held.sentence)
        context.pause(POLL_S)
    with context.db.session() as session:
        row = session.get_one(Rebuild, rebuild.id)
        verify_base(session, row)
        alarm = session.get(Alarm, row.alarm) if row.alarm else None
        onset = alarm.evidence.get("onset_at") if alarm else None
        since = float(onset) if onset else 0.0
        sentence = f"collects {spec.rebuild.minimum_samples} labelled frames."
        move(session, row, _S.COLLECTING, sentence, gates={**row.gates, "since": since})


def _held(context: Context, number: int, spec: ModelSpec) -> Hold | None:
    """Why the rebuild has to wait; it may have become a person's, or have been cancelled, in the meantime."""
    with context.db.reading() as session:
        row = session.get_one(Rebuild, number)
        if row.state != _S.QUEUED:
            return None
        past = past_of(session, row.model, row.trigger, time.time())
        return hold(row.trigger, spec.rebuild, past, time.time())


def _tell(context: Context, number: int, sentence: str) -> None:
    """Say in a queued rebuild's row what it waits for, once."""
    if _row(context, number).detail != sentence:
        with context.db.session() as session:
            move(session, session.get_one(Rebuild, number), _S.QUEUED, sentence)


def collect(context: Context, rebuild: Rebuild) -> None:
    """Collecting: until there are enough labelled items since the onset, then the dataset is fixed."""
    spec = _spec(context, rebuild)
    needed = min(spec.rebuild.minimum_samples * 2 ** rebuild.gates.get("refused", 0), MOST_SAMPLES)
    began = time.monotonic()
    while (chosen := _enough(context, rebuild, spec, needed)) is None:
        if time.time() > rebuild.started_at + COLLECT_LIMIT_S:
            _make_do(context, rebuild, needed)
            return
        context.pause(max(POLL_S, REST * (time.monotonic() - began)))
        began = time.monotonic()
    dataset = {
        "dataset": context.blobs.put(msgspec.json.encode(chosen)),
        "labels": list(chosen.labels),
        "new_labels": len(chosen.labels) - len(spec.model.labels),
        "fit": len(chosen.fit),
        "gate": len(chosen.gate),
        "left_out": chosen.left_out,
        "audited": chosen.audited,
        "set_aside": chosen.set_aside,
        "trimmed": chosen.trimmed,
        "one_device": chosen.one_device,
    }
    with context.db.session() as session:
        row = session.get_one(Rebuild, rebuild.id)
        gates = {**row.gates, **dataset, "rungs": {}}
        move(session, row, _S.TRAINING, tell_dataset(chosen, spec.model.labels), gates=gates)


def _make_do(context: Context, rebuild: Rebuild, needed: int) -> None:
    """Go on with a candidate that has passed its gates, where the frames that were to show more do not come.

    Raises:
        RecipeError: there is none.
    """
    kept = rebuild.gates.get("kept")
    why = f"No {needed} labelled frames to be believed came in {COLLECT_LIMIT_S:.0f} s"
    if not kept:
        raise RecipeError(f"{why}.")
    _move(context, rebuild.id or 0, _S.BUILDING, f"{why}; goes on with {kept['rung']}.", **kept)


def _enough(context: Context, rebuild: Rebuild, spec: ModelSpec, needed: int) -> Snapshot | None:
    """What the rebuild works with; None while too few items are there that are believed."""
    since = float(rebuild.gates["since"])
    with context.db.reading() as session:
        if session.get_one(Rebuild, rebuild.id).state != _S.COLLECTING:
            raise ValueError(f"Rebuild {rebuild.id} does not collect any more.")
        if count_labelled(session, rebuild.model, since) < needed:
            return None
        gathered = gather(session, rebuild.model, since)
        robots = count_robots(session, rebuild.model)
    if len(gathered.items) < needed:
        return None
    return snapshot(gathered, spec.model.labels, spec.rebuild, robots)


def train(context: Context, rebuild: Rebuild) -> None:
    """Training: the next rung that was not tried makes a candidate and has it measured."""
    spec = _spec(context, rebuild)
    rung = next(rung for rung in spec.rebuild.ladder if rung not in rebuild.gates["rungs"])
    with tempfile.TemporaryDirectory(dir=context.data, prefix="rung-") as name, context.one_child:
        folder = Path(name)
        with context.db.reading() as session:
            files = registry.find_version(session, rebuild.model, rebuild.from_version).files
        with context.db.session() as session:
            open_run(session, rebuild, rung, spec, files, rebuild.id or 0)
        registry.materialise(context.blobs, files, folder / "model")
        job = Job(
            folder=str(folder / "model"),
            blobs=str(context.blob_root),
            snapshot_sha256=rebuild.gates["dataset"],
            rung=rung,
            seed=rebuild.id or 0,
        )
        answer = fit_rung(context, job, folder)
        result = _stored(context, answer, folder)
    if spec.confidential.enabled:
        context.blobs.seal(result["files"]["candidate"])
    rungs = {**rebuild.gates["rungs"], rung: result}
    with context.db.session() as session:
        row = session.get_one(Rebuild, rebuild.id)
        gates = {**row.gates, "rungs": rungs}
        move(session, row, _S.GATING, f"judges {rung}.", rung=rung, gates=gates)
        note_trained(session, row, rung, result)


def gate(context: Context, rebuild: Rebuild) -> None:
    """Gating: the candidate goes on, or the next rung is tried, or the rebuild is refused."""
    spec, rungs = _spec(context, rebuild), rebuild.gates["rungs"]
    result = rungs[rebuild.rung]
    measured = msgspec.convert(result["measured"], Measured)
    alpha = GATE_ALPHA / (len(spec.rebuild.ladder) * ATTEMPTS)
    verdict = judge(measured, margin=spec.drift.harm_tolerance, alpha=alpha)
    result = {**result, "passed": verdict.passed, "sentence": verdict.sentence, "numbers": verdict.numbers}
    gates = {**rebuild.gates, "rungs": {**rungs, rebuild.rung: result}, "kept": None}
    refused = rebuild.gates.get("refused", 0) + 1
    if verdict.passed:
        # What was shown may be enough for the gate and too little to go to the line without a person.
        more = lacks_evidence(spec.rebuild, _change(rebuild, verdict.numbers)) and refused < ATTEMPTS
        to = _S.COLLECTING if more else _S.BUILDING
        if more:
            gates = {**gates, "refused": refused, "kept": {"rung": rebuild.rung, "gates": gates}}
    elif len(rungs) < len(spec.rebuild.ladder):
        to = _S.TRAINING
    elif refused < ATTEMPTS:
        to, gates = _S.COLLECTING, {**gates, "refused": refused}
    else:
        # What forgets may be right: only a person can say that the old labels do not hold any more.
        to = _S.BUILDING if verdict.better else _S.REFUSED
    with context.db.session() as session:
        row = session.get_one(Rebuild, rebuild.id)
        close_run(session, row, rebuild.rung, verdict)
        move(session, row, to, f"{rebuild.rung}: {verdict.sentence}", gates=gates)


def build(context: Context, rebuild: Rebuild) -> None:
    """Building: the candidate becomes a version of the registry and is compiled for all targets."""
    version = rebuild.new_version or _register(context, rebuild)
    result = compile_version(context, rebuild.model, version)
    judged = rebuild.gates["rungs"][rebuild.rung]
    change = msgspec.structs.replace(_change(rebuild, judged["numbers"]), forgets=not judged["passed"])
    why = why_a_person(_spec(context, rebuild).rebuild, change)
    to = _S.WAITING_APPROVAL if why else _S.SIGNING
    sentence = f"v{version} is compiled." + (f" It waits for a person to approve it: {why}" if why else "")
    with context.db.session() as session:
        row = session.get_one(Rebuild, rebuild.id)
        waits = {"why_a_person": why, "waits_since": time.time()} if why else {}
        move(session, row, to, sentence, gates={**row.gates, "build": result, **waits})


def _change(rebuild: Rebuild, numbers: Mapping[str, float]) -> Change:
    """What the rebuild would bring to the line; ``numbers`` are its gate's."""
    found = rebuild.gates
    return Change(
        new_labels=found.get("new_labels", 0),
        audited=found.get("audited", 0),
        gain_at_least=numbers["gain_at_least"],
        one_device=found.get("one_device", ""),
    )


def sign(context: Context, rebuild: Rebuild) -> None:
    """Signing: the version is released and published; one that was cancelled meanwhile is taken back."""
    with context.db.reading() as session:
        verify_base(session, rebuild)
    release_version(context, rebuild.gates["build"])
    try:
        _move(context, rebuild.id or 0, _S.ROLLING_OUT, f"v{rebuild.new_version} is signed.")
    except ValueError:
        take_back(context, rebuild.gates["build"])
        raise


def follow(context: Context, rebuild: Rebuild) -> None:
    """Rolling out: one robot first, then the others when its gate says so; followed to the rollout's end."""
    number = rebuild.rollout or _roll_out(context, rebuild)
    while True:
        with context.db.reading() as session:
            rollout = session.get_one(Rollout, number)
        if rollout.state == RolloutState.FINISHED:
            sentence = f"v{rebuild.new_version} runs on the line."
            return _move(context, rebuild.id or 0, _S.DONE, sentence)
        if rollout.state == RolloutState.STOPPED:
            return _move(
                context, rebuild.id or 0, _S.FAILED, f"rollout {number} was stopped: {rollout.reason}"
            )
        context.pause(POLL_S)


WORK: Final[dict[RebuildState, Callable[[Context, Rebuild], None]]] = {
    _S.QUEUED: wait_turn,
    _S.COLLECTING: collect,
    _S.TRAINING: train,
    _S.GATING: gate,
    _S.BUILDING: build,
    _S.SIGNING: sign,
    _S.ROLLING_OUT: follow,
}


def _row(context: Context, number: int) -> Rebuild:
    with context.db.reading() as session:
        return session.get_one(Rebuild, number)


def _move(context: Context, number: int, to: RebuildState, sentence: str, **changes: Any) -> None:
    with context.db.session() as session:
        move(session, session.get_one(Rebuild, number), to, sentence, **changes)


def _spec(context: Context, rebuild: Rebuild) -> ModelSpec:
    with context.db.reading() as session:
        version = registry.find_version(session, rebuild.model, rebuild.from_version)
    return parse_model(context.blobs.read(version.files[FILE_NAME]))


def _stored(context: Context, answer: Answer, folder: Path) -> dict[str, Any]:
    """An answer as the row holds it: its files as blobs."""
    files = {"candidate": answer.candidate, "holdout": answer.holdout, "replay": answer.replay}
    blobs = {what: context.blobs.put((folder / name).read_bytes()) for what, name in files.items() if name}
    return {"measured": msgspec.to_builtins(answer.measured), "metrics": answer.metrics, "files": blobs}


def _register(context: Context, rebuild: Rebuild) -> int:
    """The candidate as a version, in the same transaction as the row that points to it.

    Raises:
        ValueError: the rebuild was cancelled in the meantime.
    """
    spec, labels = _spec(context, rebuild), tuple(rebuild.gates["labels"])
    made = rebuild.gates["rungs"][rebuild.rung]["files"]
    spec = msgspec.structs.replace(spec, model=msgspec.structs.replace(spec.model, labels=labels))
    changed = {FILE_NAME: context.blobs.put(write_model(spec)), spec.model.file: made["candidate"]}
    changed[spec.data.holdout] = made["holdout"]
    if spec.data.replay:
        changed[spec.data.replay] = made["replay"]
    with context.db.session() as session:
        row = session.get_one(Rebuild, rebuild.id)
        if row.state != _S.BUILDING:
            raise ValueError(f"Rebuild {rebuild.id} does not build any more.")
        parent = registry.find_version(session, rebuild.model, rebuild.from_version)
        files = {**parent.files, **changed}
        origin = of_rebuild(spec, files, rebuild)
        version = registry.add_version(
            session, rebuild.model, files, "rebuild", parent.version, labels, lineage=origin
        )
        row.new_version = rebuild.new_version = version
        session.add(row)
    return version


def _roll_out(context: Context, rebuild: Rebuild) -> int:
    """The rollout of the new version; one that was started before a kill is taken up."""
    with context.db.reading() as session:
        number = _rollout_of(session, rebuild) or 0
        if not number:
            verify_base(session, rebuild)
    reason = f"Rebuild {rebuild.id}: {rebuild.cause}"
    number = number or context.rollouts.create(rebuild.model, rebuild.new_version, "", REBUILD_WAVES, reason)
    with context.db.session() as session:
        row = session.get_one(Rebuild, rebuild.id)
        row.rollout = number
        session.add(row)
    return number


def _rollout_of(session: Session, rebuild: Rebuild) -> int | None:
    statement = (
        select(Rollout.id)
        .where(col(Rollout.model) == rebuild.model)
        .where(col(Rollout.version) == rebuild.new_version)
    )
    return session.exec(statement).first()


def clear_left_overs(context: Context) -> None:
    """Remove working folders of a process that was killed."""
    for pattern in ("rung-*", "build-*"):
        for folder in context.data.glob(pattern):
            shutil.rmtree(folder, ignore_errors=True)
