"""``edgewright keys`` and ``edgewright models withdraw``, as people type them."""

import io
import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.controller import registry
from edgewright.controller.database.tables import Artifact, ModelVersion
from edgewright.controller.trust import ceremony
from edgewright.controller.trust.documents import TargetEntry
from edgewright.wire.assignment import TargetCustom
from edgewright.wire.manifest import (
    Limits,
    Manifest,
    Preprocessing,
    RuntimeRange,
    Tensor,
    encode_manifest,
    split_blob,
    target_path,
)
from tests.controller.parts import Parts, make_parts
from tests.controller.served import served
from tests.controller.test_cli import refused, run, said

Capture = pytest.CaptureFixture[str]
MODEL, TARGET = "bearing", "x86_64-ort-cpu"


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty folder, and nothing in the environment."""
    for name in ("EDGEWRIGHT_URL", "EDGEWRIGHT_TOKEN", "EDGEWRIGHT_DATA", "EDGEWRIGHT_PIN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """A controller with laboratory keys, listening."""
    (tmp_path / "data").mkdir()
    made = make_parts(tmp_path / "data")
    with served(made):
        yield made
    made.db.close()


def holders(capture: Capture, *names: str) -> list[str]:
    """Key files of these people, made by the command."""
    for name in names:
        said(capture, "keys", "new", f"{name}.pem")
    return [f"{name}.pem.pub" for name in names]


def options(option: str, values: list[str]) -> list[str]:
    """An option that is repeated."""
    return [word for value in values for word in (option, value)]


def release(parts: Parts, version: int) -> set[str]:
    """A version that is ready, with golden vectors that all versions share; returns its chunks."""
    blobs = [split_blob(data)[0] for data in (b"artifact %d" % version, b"golden")]
    manifest = Manifest(
        model=MODEL,
        version=version,
        target=TARGET,
        release_counter=version,
        precision="int8",
        qualification="emulated",
        runtime=RuntimeRange("onnxruntime", "1.20", "2", "CPUExecutionProvider"),
        preprocessing=Preprocessing(28, 28, "gray", (0.5,), (0.5,)),
        input=Tensor("x", "float32", (1, 1, 28, 28)),
        output=Tensor("y", "float32", (1, 10)),
        labels=("a", "b"),
        fallback="manual",
        artifact=blobs[0],
        golden=blobs[1],
        patches=(),
        limits=Limits(0.1, 1000, 100, 1, 1),
        temperature=1.0,
        provenance_sha256="cd" * 32,
    )
    raw = encode_manifest(manifest)
    sha256 = parts.blobs.put(raw)
    custom = TargetCustom(MODEL, TARGET, version, version)
    parts.repository.add_release([TargetEntry(target_path(MODEL, TARGET, version), len(raw), sha256, custom)])
    with parts.db.session() as session:
        assert registry.add_version(session, MODEL, {}, "push") == version
        session.get_one(ModelVersion, (MODEL, version)).state = registry.READY
        session.add(
            Artifact(
                model=MODEL,
                version=version,
                target=TARGET,
                precision="int8",
                qualification="emulated",
                manifest_sha256=sha256,
                manifest_length=len(raw),
                artifact_sha256=blobs[0].sha256,
                artifact_length=blobs[0].length,
                profile_sha256="",
            )
        )
    return {sha256, *(chunk for blob in blobs for chunk in blob.chunks)}


def test_a_ceremony_on_sticks(capsys: Capture) -> None:
    """``init`` writes the keys where told, readable by their owner only, and never over others."""
    sticks = [f"{who}/root.pem" for who in ("a", "b", "c")]
    words = [
        "keys",
        "init",
        "--data",
        "plant",
        *options("--root", sticks),
        *options("--release", ["a/r", "b/r"]),
    ]
    printed = said(capsys, *words)
    assert printed.count("made") == 5
    assert "plant is ready" in printed
    assert {stat.S_IMODE(Path(stick).stat().st_mode) for stick in sticks} == {0o600}
    assert list(Path("plant/keys").rglob("LABORATORY.txt")) == []
    before = Path("a/root.pem").read_bytes()
    assert refused(capsys, *words)[0] == 99
    status, message = refused(capsys, *[w.replace("plant", "other") for w in words])
    assert (status, "not overwritten" in message) == (66, True)
    assert Path("a/root.pem").read_bytes() == before


def test_a_ceremony_of_public_keys(capsys: Capture) -> None:
    """With public keys alone, the first root is exported, signed elsewhere twice, and imported."""
    keys = holders(capsys, "ann", "ben", "cas")
    printed = said(
        capsys, "keys", "init", "--data", "plant", *options("--root", keys), *options("--release", keys)
    )
    assert "waits for 2 more signatures of root, targets" in printed
    (number,) = [
        line.split()[0] for line in said(capsys, "keys", "requests", "--data", "plant").splitlines()
    ][:1]
    said(capsys, "keys", "export", number, "root.json", "--data", "plant")
    shown = said(capsys, "keys", "sign", "root.json", "--key", "ann.pem", "--yes")
    assert "root, version 1" in shown
    assert "waits for 1 more signature" in shown
    assert refused(capsys, "keys", "sign", "root.json", "--key", "ann.pem", "--yes")[0] == 103
    said(capsys, "keys", "sign", "root.json", "--key", "cas.pem", "--yes")
    assert "plant is ready" in said(capsys, "keys", "import", "root.json", "--data", "plant")
    assert Path("plant/tuf/image/timestamp.json").exists()


def test_from_a_laboratory_to_two_of_three(parts: Parts, capsys: Capture) -> None:
    """The laboratory's keys are replaced by two of three; the table and the notice say so."""
    assert "LABORATORY KEYS" in said(capsys, "keys", "show", "--data", "data")
    keys = holders(capsys, "ann", "ben", "cas")
    order = ["keys", "rotate", "root", "targets", "release", *options("--public", keys)]
    printed = said(capsys, *order, "--threshold", "2", "--data", "data")
    number = printed.split("keys export ")[1].split()[0]
    said(capsys, "keys", "export", number, "change.json", "--data", "data")
    said(capsys, "keys", "sign", "change.json", "--key", "ann.pem", "--yes")
    assert "1 more" in said(capsys, "keys", "import", "change.json", "--data", "data")
    said(capsys, "keys", "sign", "change.json", "--key", "ben.pem", "--yes")
    assert "committed" in said(capsys, "keys", "import", "change.json", "--data", "data")
    assert refused(capsys, "keys", "import", "change.json", "--data", "data")[0] == 103
    assert said(capsys, "keys", "requests", "--data", "data") == "Nothing waits for signatures.\n"
    table = said(capsys, "keys", "show", "--data", "data")
    assert "LABORATORY" not in table
    assert table.count("2 of 3") == 9
    assert table.count("elsewhere") == 9
    recovered = said(capsys, "keys", "rotate", "snapshot", "timestamp", "--recover", "--data", "data")
    assert "2 more signatures of root" in recovered


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["keys", "revoke", "ffffff"], 99, "no role has such a key"),
        (["keys", "add", "root", "--public", "private.pem"], 66, "no public key"),
        (["keys", "add", "root", "--threshold", "2"], 99, "threshold of root cannot be 2 with 1 keys"),
        (["keys", "rotate", "timestamp", "--recover"], 99, "both snapshot and timestamp"),
        (["keys", "export", "0123456789ab", "file"], 111, "waits for signatures"),
        (["keys", "import", "private.pem"], 103, "no signing request"),
        (["models", "withdraw", "bearing"], 99, "is no MODEL@VERSION"),
        (["models", "withdraw", "bearing@9"], 90, "no bearing v9"),
    ],
)
def test_bad_input_is_told_by_number(
    parts: Parts, capsys: Capture, words: list[str], status: int, message: str
) -> None:
    """What cannot be done ends with its number and a sentence, and changes nothing."""
    ceremony.make_key(Path("private.pem"))
    before = parts.repository.files()
    ended, error = refused(capsys, *words, "--data", "data")
    assert (ended, message in error) == (status, True), error
    assert parts.repository.files() == before


def test_signing_asks_first(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --yes and without a yes nothing is signed."""
    keys = holders(capsys, "ann", "ben")
    said(capsys, "keys", "init", "--data", "plant", *options("--root", keys), *options("--release", keys))
    number = json.loads(said(capsys, "keys", "requests", "--data", "plant", "--json"))[0]["id"]
    said(capsys, "keys", "export", number, "root.json", "--data", "plant")
    before = Path("root.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdin", io.StringIO("n\n"))
        assert run("keys", "sign", "root.json", "--key", "ann.pem") == 130
    assert Path("root.json").read_bytes() == before


def test_a_controller_may_hold_a_key(parts: Parts, capsys: Capture) -> None:
    """A key that the controller is given to hold signs by itself, and the table says where it is."""
    said(capsys, "keys", "new", "line.pem", "--p256")
    said(capsys, "keys", "add", MODEL, "--public", "line.pem.pub", "--threshold", "1", "--data", "data")
    assert "1 more signature of bearing" in said(capsys, "keys", "requests", "--data", "data")
    said(capsys, "keys", "hold", MODEL, "--key", "line.pem", "--data", "data")
    assert said(capsys, "keys", "requests", "--data", "data") == "Nothing waits for signatures.\n"
    assert release(parts, 1)
    rows = json.loads(said(capsys, "keys", "show", "--data", "data", "--json"))["keys"]
    assert [row["store"] for row in rows if row["role"] == MODEL] == ["file"]


def test_a_version_is_withdrawn(parts: Parts, capsys: Capture) -> None:
    """A withdrawn version is in no catalogue and no rollout; it goes off the broker, and the other stays."""
    first, second = release(parts, 1), release(parts, 2)
    assert "ready" in said(capsys, "models", MODEL, "--data", "data")
    printed = said(capsys, "models", "withdraw", f"{MODEL}@2", "--reason", "burnt", "--data", "data")
    assert printed == f"{MODEL} v2 was withdrawn.\n"
    assert parts.repository.entry(target_path(MODEL, TARGET, 2)) is None
    assert parts.repository.entry(target_path(MODEL, TARGET, 1)) is not None
    listed = said(capsys, "models", "list", "--data", "data")
    assert "withdrawn" in listed
    assert "burnt" in listed
    cleared = parts.signing._publisher.withdrawn  # type: ignore[attr-defined]  # the simulator's memory
    assert len(cleared) == 1
    assert set(cleared) <= second - first
    assert refused(capsys, "rollout", "create", MODEL, "2", "--data", "data")[0] == 97
