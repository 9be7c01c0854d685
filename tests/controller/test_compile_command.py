"""``edgewright compile`` on real folders and files, as a person runs it."""

import json
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from edgewright.controller.cli.program import main
from edgewright.wire.canonical import sha256_hex
from tests.controller.small_model import spec, write_folder

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def run(*arguments: object) -> int:
    """A command line's exit status."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def test_a_model_folder_becomes_artifacts_with_all_that_tells_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Artifacts, golden vectors, report, card and bill lie in a folder; a second run compiles nothing."""
    folder, out = write_folder(tmp_path / "model"), tmp_path / "out"
    assert run("compile", folder, "--out", out, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert {found["target"] for found in report["targets"]} == {
        "x86_64-ort-cpu",
        "x86_64-ort-cpu-fp32",
        "aarch64-ort-cpu",
    }
    for found in report["targets"]:
        artifact = (out / f"small.{found['target']}.onnx").read_bytes()
        assert sha256_hex(artifact) == found["sha256"]
        assert (out / f"small.{found['target']}.golden").stat().st_size > 0
        assert not found["cached"]
    assert json.loads((out / "report.json").read_text()) == report
    assert (out / "card.md").read_text().startswith("# small")
    assert json.loads((out / "sbom.cdx.json").read_text())["bomFormat"] == "CycloneDX"
    assert run("compile", folder, "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert all(found["cached"] for found in again["targets"])
    assert [found["sha256"] for found in again["targets"]] == [found["sha256"] for found in report["targets"]]


def test_a_bare_file_is_compiled_by_a_proposal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model file without a declaration is compiled on drawn inputs, and the report says so."""
    network = tmp_path / "mlp.onnx"
    network.write_bytes((DATA / "pytorch-converted" / "test_Linear" / "model.onnx").read_bytes())
    assert run("compile", network, "--out", tmp_path / "out", "--target", "x86_64-ort-cpu") == 0
    said = capsys.readouterr().out
    assert "drawn, not recorded" in said
    (golden,) = (tmp_path / "out").glob("*.golden")
    with np.load(golden, allow_pickle=False) as vectors:
        assert any(name.startswith("in:") for name in vectors.files)
        assert any(name.startswith("out:") for name in vectors.files)


def test_one_target_that_cannot_be_served_stops_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A described target is refused by its number, which is the exit status; the other has its artifact."""
    folder = write_folder(tmp_path / "model")
    out = tmp_path / "out"
    assert run("compile", folder, "--target", "x86_64-cuda", "--target", "x86_64-ort-cpu", "--out", out) == 79
    assert "E079 The target x86_64-cuda is not qualified yet" in capsys.readouterr().out
    assert (out / "small.x86_64-ort-cpu.onnx").exists()


def test_nothing_of_a_secret_model_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A confidential model is compiled anew each time, and written to no other place than --out."""
    secret = msgspec.structs.replace(spec().confidential, enabled=True)
    targets = ("x86_64-ort-cpu-fp32",)
    folder = write_folder(
        tmp_path / "model", msgspec.structs.replace(spec(), confidential=secret, targets=targets)
    )
    for _ in range(2):
        assert run("compile", folder, "--out", tmp_path / "out", "--json") == 0
        report = json.loads(capsys.readouterr().out)
        assert not report["targets"][0]["cached"]
        assert any("nothing of it is remembered" in note for note in report["notes"])
        artifact = (tmp_path / "out" / "small.x86_64-ort-cpu-fp32.onnx").read_bytes()
        assert sha256_hex(artifact) == report["targets"][0]["sha256"]
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_a_path_to_nothing_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong path ends with E070 and no traceback."""
    assert run("compile", tmp_path / "nothing.onnx") == 70
    said = capsys.readouterr().err
    assert said.startswith("E070 ")
    assert "Traceback" not in said
