"""Models and their versions: numbers, source files, states, artifacts. Functions on a database session.

A version is ``building`` from the moment it has a number, ``signing`` while it waits for signatures of keys
that are elsewhere, then ``ready`` or ``failed``, and at any time ``withdrawn``. Its source files are blobs
named by path, so a version can be built again from the database and the blobs alone. Whoever adds a version
has verified it (``verify_upload``): what cannot become an artifact gets no number.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any, Final

from edgewright.controller.blobs import BlobStore
from edgewright.controller.compiler.cache import FOLDER as CACHE_FOLDER
from edgewright.controller.compiler.patches import Base
from edgewright.controller.compiler.protocol import (
    BuildRequest,
    BuildResult,
    Built,
    Checked,
    CheckRequest,
)
from edgewright.controller.compiler.scratch import scratch
from edgewright.controller.compiler.worker import run_check
from edgewright.controller.database import MOST_NUMBER, Session, col, select
from edgewright.controller.database.tables import Artifact, Model, ModelVersion
from edgewright.controller.database.versiontables import Alias
from edgewright.controller.errors import ModelTomlError, UnknownModelError
from edgewright.controller.events import record
from edgewright.controller.model_toml import read_model, source_files
from edgewright.wire.errors import EdgewrightError
from edgewright.wire.targets import TABLE

BUILDING: Final = "building"
SIGNING: Final = "signing"
READY: Final = "ready"
FAILED: Final = "failed"
WITHDRAWN: Final = "withdrawn"

UNFINISHED: Final = (BUILDING, SIGNING)
"""States of a version that somebody still works on."""

MAX_PATH_BYTES: Final = 200
"""Of a source file in its model's folder; file systems take 255 for each name in it."""

PATCH_BASES: Final = 3
"""Patches are made from so many newest ready versions: devices may be a release or two behind."""


def store_folder(blobs: BlobStore, folder: Path) -> dict[str, str]:
    """Store a model folder's source files; returns path to SHA-256.

    Raises:
        ModelTomlError: model.toml is missing or wrong.
    """
    files = source_files(folder, read_model(folder))
    return {name: blobs.put(path.read_bytes()) for name, path in files.items()}


def materialise(blobs: BlobStore, files: Mapping[str, str], folder: Path) -> None:
    """Write a version's source files into a folder.

    Raises:
        ModelTomlError: a path leaves the folder or is none; nothing was written.
        DataFolderDamagedError: a blob is missing or has changed.
    """
    paths = {str(PurePosixPath(name)) for name in files}
    for name in files:
        path = PurePosixPath(name)
        if not path.parts or path.is_absolute() or ".." in path.parts:
            raise ModelTomlError(f"The path {name!r} leaves the model's folder.")
        below_a_file = any(str(parent) in paths for parent in path.parents[:-1])
        if below_a_file or "\0" in name or len(name.encode()) > MAX_PATH_BYTES:
            raise ModelTomlError(f"The path {name[:80]!r} can name no file.")
    for name, sha256 in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(blobs.read(sha256))


def verify_upload(blobs: BlobStore, model: str, files: Mapping[str, str]) -> Checked:
    """Check in a child process that uploaded files can become a version of ``model``.

    Raises:
        ModelError: they cannot; the number says why.
        DataFolderDamagedError: a blob is missing or has changed.
    """
    beside = blobs.root.parent
    with scratch(beside) as folder:
        materialise(blobs, files, folder)
        cache, table = str(beside / CACHE_FOLDER), str(beside / TABLE)
        checked = run_check(CheckRequest(str(folder), cache, table, scratch=str(beside)))
    if checked.model != model:
        raise ModelTomlError(f"[model] name: it is {checked.model!r}, but it was pushed as {model!r}.")
    return checked


def add_version(
    session: Session,
    model: str,
    files: Mapping[str, str],
    source: str,
    parent: int = 0,
    labels: Sequence[str] = (),
    lineage: Mapping[str, Any] | None = None,
) -> int:
    """Give a version its number; its state is ``building``.

    Args:
        session: a writing session.
        model: name; a new one makes the model.
        files: path in the model's folder to the SHA-256 of the blob.
        source: ``push`` or ``rebuild``.
        parent: the version that a rebuild started from.
        labels: classes of the output, where they are known already.
        lineage: where it comes from; see ``lineage``.
    """
    now = time.time()
    row = session.get(Model, model, with_for_update=True)
    if row is None:
        row = Model(name=model, created_at=now)
    row.versions += 1
    session.add(row)
    session.add(
        ModelVersion(
            model=model,
            version=row.versions,
            state=BUILDING,
            source=source,
            parent=parent,
            created_at=now,
            files=dict(files),
            labels=list(labels),
            lineage=dict(lineage or {}),
        )
    )
    if source == "push":
        record(
            session,
            "version.pushed",
            f"{model} v{row.versions} was pushed.",
            model=model,
            version=row.versions,
        )
    return row.versions


def plan_build(session: Session, blobs: Path, model: str, version: int, folder: Path) -> BuildRequest:
    """What a build of a version is asked for; its files lie in ``folder``, the blobs below ``blobs``.

    The release counter is the version's number: both only grow.

    Raises:
        UnknownModelError: no such version.
    """
    row = find_version(session, model, version)
    return BuildRequest(
        folder=str(folder),
        blobs=str(blobs),
        version=version,
        release_counter=version,
        parent=row.parent,
        bases=_bases(session, model, version),
        ranges_sha256=_inherited_ranges(session, model, row.parent),
        cache=str(blobs.parent / CACHE_FOLDER),
        targets_file=str(blobs.parent / TABLE),
        scratch=str(blobs.parent),
    )


def record_artifacts(session: Session, result: BuildResult) -> None:
    """Write a build's artifacts, before anything of them is published: what lies on the broker is known."""
    for built in result.built:
        session.merge(_artifact_row(result, built))


def record_build(session: Session, result: BuildResult) -> None:
    """Write a build's artifacts and make the version ready; doing it twice changes nothing.

    Raises:
        UnknownModelError: no such version.
    """
    row = find_version(session, result.model, result.version)
    record_artifacts(session, result)
    if row.state not in UNFINISHED:
        return
    row.state, row.detail, row.finished_at = READY, " ".join(result.warnings), time.time()
    row.labels, row.metrics = list(result.labels), dict(result.metrics)
    row.card_sha256, row.sbom_sha256 = result.card_sha256, result.sbom_sha256
    session.add(row)
    count = len(result.built)
    sentence = f"{row.model} v{row.version} is ready for {count} target{'s' if count != 1 else ''}."
    sentence = " ".join((sentence, *result.warnings))
    record(session, "version.ready", sentence, model=row.model, version=row.version)


def mark_failed(session: Session, model: str, version: int, error: EdgewrightError) -> None:
    """Record that a version could not be built, and why.

    Raises:
        UnknownModelError: no such version.
    """
    row = find_version(session, model, version)
    if row.state not in UNFINISHED:
        return
    row.state, row.finished_at = FAILED, time.time()
    row.error, row.detail = error.number, error.sentence
    session.add(row)
    record(
        session,
        "version.failed",
        f"{model} v{version} failed: {error.sentence}",
        model=model,
        version=version,
    )


def mark_signing(session: Session, model: str, version: int, sentence: str) -> bool:
    """Record that a version waits for signatures, and whose; returns whether it still may.

    Raises:
        UnknownModelError: no such version.
    """
    row = find_version(session, model, version)
    if row.state not in UNFINISHED:
        return False
    if row.state == BUILDING:
        said = f"{model} v{version} is compiled. {sentence}"
        record(session, "version.signing", said, model=model, version=version)
    row.state, row.detail = SIGNING, sentence
    session.add(row)
    return True


def withdraw(session: Session, model: str, version: int, reason: str = "") -> bool:
    """Take a version out of circulation: no rollout takes it, and nothing is built on it.

    Aliases that name it stay, and the event names them: the champion until a rollout finishes, the others
    until people move them.

    Returns:
        Whether it was not withdrawn already.

    Raises:
        UnknownModelError: no such version.
    """
    row = find_version(session, model, version)
    if row.state == WITHDRAWN:
        return False
    row.state, row.detail, row.finished_at = WITHDRAWN, reason, time.time()
    session.add(row)
    sentence = f"{model} v{version} was withdrawn{': ' + reason if reason else '.'}"
    named = select(Alias.name).where(col(Alias.model) == model, col(Alias.version) == version)
    if names := ", ".join(session.exec(named.order_by(col(Alias.name)))):
        sentence = f"{sentence.removesuffix('.')}. Still named by: {names}."
    record(session, "version.withdrawn", sentence, model=model, version=version)
    return True


def find_version(session: Session, model: str, version: int) -> ModelVersion:
    """One version.

    Raises:
        UnknownModelError: there is none of this number.
    """
    row = session.get(ModelVersion, (model, version)) if version <= MOST_NUMBER else None
    if row is None:
        raise UnknownModelError(f"There is no {model} v{version}.")
    return row


def verify_model(session: Session, model: str) -> None:
    """Refuse a model that is not here.

    Raises:
        UnknownModelError: there is no such model.
    """
    if session.get(Model, model) is None:
        raise UnknownModelError(f"There is no model {model!r}.")


def list_versions(session: Session, model: str) -> Sequence[ModelVersion]:
    """A model's versions, the newest first.

    Raises:
        UnknownModelError: there is no such model.
    """
    verify_model(session, model)
    statement = select(ModelVersion).where(ModelVersion.model == model)
    return session.exec(statement.order_by(col(ModelVersion.version).desc())).all()


def _bases(session: Session, model: str, before: int) -> dict[str, tuple[Base, ...]]:
    ready = (
        select(ModelVersion.version)
        .where(ModelVersion.model == model, ModelVersion.state == READY, ModelVersion.version < before)
        .order_by(col(ModelVersion.version).desc())
        .limit(PATCH_BASES)
    )
    versions = session.exec(ready).all()
    rows = session.exec(
        select(Artifact)
        .where(Artifact.model == model, col(Artifact.version).in_(versions))
        .order_by(col(Artifact.version).desc())
    ).all()
    bases: dict[str, tuple[Base, ...]] = {}
    for row in rows:
        bases[row.target] = (*bases.get(row.target, ()), Base(row.version, row.manifest_sha256))
    return bases


def _inherited_ranges(session: Session, model: str, parent: int) -> str:
    """Digest of the parent's calibration ranges; empty without a parent, or where it has none."""
    rows = session.exec(select(Artifact).where(Artifact.model == model, Artifact.version == parent)).all()
    return next((row.gates["ranges_sha256"] for row in rows if row.gates.get("ranges_sha256")), "")


def _artifact_row(result: BuildResult, built: Built) -> Artifact:
    return Artifact(
        model=result.model,
        version=result.version,
        target=built.target,
        precision=built.precision,
        qualification=built.qualification,
        manifest_sha256=built.sha256,
        manifest_length=built.length,
        artifact_sha256=built.artifact_sha256,
        artifact_length=built.artifact_length,
        patch_lengths={str(base): length for base, length in built.patch_lengths.items()},
        gates={
            "chosen": built.chosen,
            "verdicts": [asdict(verdict) for verdict in built.verdicts],
            "ranges_sha256": result.ranges_sha256,
            "provenance_sha256": built.provenance_sha256,
        },
        profile_sha256=built.profile_sha256,
        provenance_sha256=built.bundle_sha256,
        confidential=built.custom.confidential,
        format=built.format,
        proven_on=list(built.proven_on),
        numbers=dict(built.numbers),
    )
