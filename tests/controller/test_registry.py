"""The registry on a real database and a real blob store."""

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edgewright.controller import registry
from edgewright.controller.blobs import BlobStore
from edgewright.controller.compiler.gates import Verdict
from edgewright.controller.compiler.patches import Base
from edgewright.controller.compiler.protocol import BuildResult, Built
from edgewright.controller.compiler.worker import run_build
from edgewright.controller.database import select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import Artifact, Event
from edgewright.controller.errors import (
    DataFolderDamagedError,
    GateFailedError,
    ModelTomlError,
    NotAModelError,
    UnknownModelError,
)
from edgewright.wire.assignment import TargetCustom
from tests.controller.small_model import LABELS, write_folder

TARGET = "x86_64-ort-cpu"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """An empty database."""
    database = Database.in_folder(tmp_path)
    database.create()
    yield database
    database.close()


def _result(version: int, ranges: str = "aa") -> BuildResult:
    built = Built(
        target=TARGET,
        path=f"small/{TARGET}/{version}.json",
        length=1000,
        sha256=f"manifest-{version}",
        custom=TargetCustom("small", TARGET, version, version),
        precision="int8",
        qualification="emulated",
        artifact_sha256=f"artifact-{version}",
        artifact_length=5000,
        patch_lengths={version - 1: 40} if version > 1 else {},
        profile_sha256="profile",
        provenance_sha256="provenance",
        chosen="int8",
        verdicts=(Verdict("int8", passed=True, length=5000, sentences=("pass: all",), failures=()),),
    )
    return BuildResult(
        model="small",
        version=version,
        labels=LABELS,
        built=(built,),
        ranges_sha256=ranges,
        metrics={"fp32_error_rate": 0.1},
    )


def _add(db: Database, parent: int = 0, source: str = "push") -> int:
    with db.session() as session:
        return registry.add_version(session, "small", {"model.toml": "00"}, source, parent)


def _ready(db: Database, parent: int = 0) -> int:
    version = _add(db, parent)
    with db.session() as session:
        registry.record_build(session, _result(version))
    return version


def test_numbers_are_given_once(db: Database) -> None:
    """Versions count from 1, and pushes at the same time get different numbers."""
    numbers: list[int] = []
    threads = [threading.Thread(target=lambda: numbers.append(_add(db))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 9))
    with db.reading() as session:
        states = {row.state for row in registry.list_versions(session, "small")}
    assert states == {"building"}


def test_a_build_makes_a_version_ready_once(db: Database) -> None:
    """Recording a result writes artifacts, labels and metrics; a repeated step changes nothing."""
    version = _add(db)
    for _ in range(2):
        with db.session() as session:
            registry.record_build(session, _result(version))
    with db.reading() as session:
        row = registry.find_version(session, "small", version)
        artifacts = session.exec(select(Artifact)).all()
        kinds = [event.kind for event in session.exec(select(Event)).all()]
    assert (row.state, row.labels, row.metrics) == ("ready", list(LABELS), {"fp32_error_rate": 0.1})
    assert [artifact.artifact_sha256 for artifact in artifacts] == ["artifact-1"]
    assert artifacts[0].gates["verdicts"][0]["sentences"] == ["pass: all"]
    assert kinds == ["version.pushed", "version.ready"]


def test_a_failed_version_keeps_its_reason(db: Database) -> None:
    """A failed build leaves number and sentence, and no artifact."""
    version = _add(db)
    with db.session() as session:
        registry.mark_failed(session, "small", version, GateFailedError("No candidate passed."))
    with db.reading() as session:
        row = registry.find_version(session, "small", version)
        assert session.exec(select(Artifact)).all() == []
    assert (row.state, row.error, row.detail) == ("failed", 75, "No candidate passed.")


def test_a_version_that_is_not_there_is_named(db: Database) -> None:
    """Unknown models and versions raise with their name."""
    with db.reading() as session:
        for version in (3, 2**63, 2**70):
            with pytest.raises(UnknownModelError, match=f"small v{version}"):
                registry.find_version(session, "small", version)
        with pytest.raises(UnknownModelError, match="no model 'small'"):
            registry.list_versions(session, "small")


def test_a_build_is_planned_on_the_newest_ready_versions(db: Database, tmp_path: Path) -> None:
    """Patches start from the three newest ready versions; ranges come from the parent."""
    for _ in range(5):
        _ready(db)
    with db.session() as session:
        registry.withdraw(session, "small", 4)
    version = _add(db, parent=5, source="rebuild")
    with db.reading() as session:
        request = registry.plan_build(session, tmp_path, "small", version, tmp_path)
    assert (request.version, request.release_counter) == (6, 6)
    assert request.bases[TARGET] == tuple(Base(n, f"manifest-{n}") for n in (5, 3, 2))
    assert request.ranges_sha256 == "aa"
    first = _add(db)
    with db.reading() as session:
        assert registry.plan_build(session, tmp_path, "small", first, tmp_path).ranges_sha256 == ""


def test_source_files_come_back(tmp_path: Path) -> None:
    """A stored folder materialises byte by byte; a path that leaves it or can name no file writes nothing."""
    folder, blobs = write_folder(tmp_path / "model"), BlobStore(tmp_path / "blobs")
    files = registry.store_folder(blobs, folder)
    registry.materialise(blobs, files, tmp_path / "copy")
    for name in files:
        assert (tmp_path / "copy" / name).read_bytes() == (folder / name).read_bytes()
    for bad in ("../escaped", "/tmp/escaped", "a/../../escaped", ""):
        with pytest.raises(ModelTomlError, match="leaves the model's folder"):
            registry.materialise(blobs, {**files, bad: files["model.toml"]}, tmp_path / "none")
    for bad in ("model.toml/below", "a\0b", "n" * 300):
        with pytest.raises(ModelTomlError, match="can name no file"):
            registry.materialise(blobs, {**files, bad: files["model.toml"]}, tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with pytest.raises(DataFolderDamagedError):
        registry.materialise(blobs, {"x": "0" * 64}, tmp_path / "lost")


def test_an_upload_is_verified_before_it_gets_a_number(tmp_path: Path) -> None:
    """Files that cannot become a version, or belong to another model, are refused."""
    folder, blobs = write_folder(tmp_path / "model"), BlobStore(tmp_path / "blobs")
    files = registry.store_folder(blobs, folder)
    assert registry.verify_upload(blobs, "small", files).labels == LABELS
    with pytest.raises(ModelTomlError, match="'small', but it was pushed as 'large'"):
        registry.verify_upload(blobs, "large", files)
    with pytest.raises(NotAModelError):
        registry.verify_upload(blobs, "small", {**files, "small.onnx": blobs.put(b"no model")})


def test_a_pushed_folder_becomes_ready(db: Database, tmp_path: Path) -> None:
    """From a folder to artifacts in the database, by the calls that the controller makes."""
    folder, blobs = write_folder(tmp_path / "model"), BlobStore(tmp_path / "blobs")
    files = registry.store_folder(blobs, folder)
    with db.session() as session:
        version = registry.add_version(session, "small", files, "push")
    registry.materialise(blobs, files, tmp_path / "work")
    with db.reading() as session:
        request = registry.plan_build(session, tmp_path / "blobs", "small", version, tmp_path / "work")
    result = run_build(request)
    with db.session() as session:
        registry.record_build(session, msgspec.json.decode(msgspec.json.encode(result), type=BuildResult))
    with db.reading() as session:
        rows = session.exec(select(Artifact).order_by(Artifact.target)).all()
    assert [row.target for row in rows] == ["aarch64-ort-cpu", "x86_64-ort-cpu", "x86_64-ort-cpu-fp32"]
    assert all(blobs.has(row.manifest_sha256) and blobs.has(row.profile_sha256) for row in rows)
