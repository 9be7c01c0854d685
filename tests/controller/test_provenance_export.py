"""An artifact that leaves the controller, and its check on a machine that knows no controller."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from edgewright.controller import registry
from edgewright.controller.cli.program import app
from edgewright.controller.database import select
from edgewright.controller.database.tables import Artifact
from edgewright.controller.datadir import read_endpoint
from edgewright.controller.errors import InvalidRequestError, ProvenanceError
from edgewright.controller.provenance.verification import Verified, verify_artifact
from edgewright.controller.trust.documents import TargetEntry
from edgewright.controller.trust.keys import KeyStore
from edgewright.controller.trust.repository import ImageRepository
from edgewright.controller.web.origins import origin_of
from edgewright.wire.assignment import TargetCustom
from tests.controller.attested import TARGET, Attested, attested_version
from tests.controller.parts import TOKEN, Parts, make_parts
from tests.controller.served import served

Released = tuple[Attested, Parts, Path]

_run = CliRunner().invoke


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Released]:
    """A controller with version 1 signed, and that version exported."""
    data = tmp_path_factory.mktemp("controller")
    bench = attested_version(data)
    parts = make_parts(data)
    entries = [TargetEntry(b.path, b.length, b.sha256, b.custom) for b in bench.result.built]
    other = TargetEntry("other/t/1.json", 1, "ab" * 32, TargetCustom("other", "t", 1, 1))
    parts.repository.add_release([*entries, other])
    with parts.db.session() as session:
        registry.record_build(session, bench.result)
    out = tmp_path_factory.mktemp("taken") / "export"
    with served(parts):
        done = _run(app, ["export", "small@1", "--target", TARGET, "--out", str(out), "--data", str(data)])
        assert done.exit_code == 0, done.output
        yield bench, parts, out


@pytest.fixture
def export(released: Released, tmp_path: Path) -> Path:
    """A copy of the export, to be tampered with."""
    return Path(shutil.copytree(released[2], tmp_path / "export"))


def _artifact(export: Path) -> Path:
    return export / "model" / f"small-1-{TARGET}.onnx"


def test_an_export_verifies_without_a_controller(released: Released, export: Path) -> None:
    """Folder and artifact file verify, by a root that is known already and by the export's own."""
    bench, parts, _ = released
    root = export.parent / "trusted.json"
    root.write_bytes(parts.repository.root_bytes())
    for artifact in (export, _artifact(export)):
        checked: Verified = verify_artifact(artifact, root=root)
        assert checked.manifest == bench.manifest()
        assert checked.root_given
    assert not verify_artifact(export).root_given


def test_other_models_stay_at_home(released: Released, export: Path) -> None:
    """An export has the metadata that leads to its own model, and nothing about what other models release."""
    names = {path.name for path in (export / "metadata").iterdir()}
    assert names < set(released[1].repository.files())
    assert not [name for name in names if "other" in name]


def test_every_edited_file_is_refused(export: Path) -> None:
    """A byte that is flipped in any file of the chain, of the model or of the statements is noticed."""
    needed = [*(export / "model").iterdir(), export / "provenance.intoto.jsonl"]
    needed += [export / "metadata" / name for name in ("1.root.json", "timestamp.json")]
    needed += (export / "metadata").glob("*.small.json")
    assert len(needed) == 6
    for path in needed:
        whole = path.read_bytes()
        middle = len(whole) // 2
        path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        with pytest.raises(ProvenanceError):
            verify_artifact(export)
        path.write_bytes(whole)
    verify_artifact(export)


def test_card_and_bill_of_materials_are_those_of_the_build(export: Path) -> None:
    """An export has both by the digests that were signed: an edited one is refused, a missing one is not."""
    for name, begins in (("model-card.md", b"# small, version 1"), ("sbom.cdx.json", b'{"$schema"')):
        paper = export / name
        whole = paper.read_bytes()
        assert whole.startswith(begins)
        paper.write_bytes(whole.replace(b"small", b"large", 1))
        with pytest.raises(ProvenanceError, match=f"{name} is not the one"):
            verify_artifact(export)
        paper.unlink()
        verify_artifact(export)
        paper.write_bytes(whole)


def test_an_extra_file_is_refused(export: Path) -> None:
    """Nothing lies beside the artifact that was not signed."""
    (export / "model" / "weights.bin").write_bytes(b"x")
    with pytest.raises(ProvenanceError, match="nobody signed"):
        verify_artifact(export)


def test_links_are_refused(export: Path) -> None:
    """A link in the model folder is refused, and so is a link to the artifact."""
    outside = export.parent / "outside"
    outside.symlink_to(_artifact(export))
    with pytest.raises(ProvenanceError, match="link"):
        verify_artifact(outside)
    whole = _artifact(export).rename(export.parent / "elsewhere")
    _artifact(export).symlink_to(whole)
    with pytest.raises(ProvenanceError, match="link"):
        verify_artifact(export)


def test_another_fleets_root_is_refused(export: Path, tmp_path: Path) -> None:
    """Who trusts another root gets nothing from this export."""
    stranger = ImageRepository(tmp_path / "tuf", KeyStore(tmp_path / "keys"))
    stranger.ensure()
    root = tmp_path / "root.json"
    root.write_bytes(stranger.root_bytes())
    with pytest.raises(ProvenanceError, match="does not verify"):
        verify_artifact(export, root=root)


def test_a_withdrawn_version_is_refused(released: Released, tmp_path: Path) -> None:
    """Metadata that no longer has the version proves nothing about it."""
    _, parts, out = released
    again = Path(shutil.copytree(out, tmp_path / "export"))
    shutil.copytree(parts.data / "tuf", tmp_path / "tuf")
    later = ImageRepository(tmp_path / "tuf" / "image", KeyStore(parts.data / "keys"))
    later.ensure()
    later.withdraw([f"small/{TARGET}/1.json"])
    shutil.rmtree(again / "metadata")
    (again / "metadata").mkdir()
    for name, data in later.files().items():
        (again / "metadata" / name).write_bytes(data)
    with pytest.raises(ProvenanceError, match="withdrawn"):
        verify_artifact(again)


def test_the_command_says_what_it_checked(export: Path) -> None:
    """`edgewright verify` tells source, compilers, gates and signer, and whose root it took."""
    done = _run(app, ["verify", str(export)])
    assert done.exit_code == 0
    for words in ("is what was signed", "small.onnx", "onnxruntime", "top-1 agreement", "the export's own"):
        assert words in done.output
    told = json.loads(_run(app, ["verify", str(_artifact(export)), "--json"]).output)
    assert (told["model"], told["version"], told["root_given"]) == ("small", 1, False)


def test_a_controller_tells_the_same(released: Released) -> None:
    """`edgewright provenance` tells each target's story, and `--json` gives the statements."""
    data = str(released[1].data)
    done = _run(app, ["provenance", "small@v1", "--data", data])
    assert done.exit_code == 0, done.output
    assert done.output.count("Signed by") == 3
    assert "L2-like" in done.output
    told = json.loads(_run(app, ["provenance", "small@1", "--data", data, "--json"]).output)
    assert told["targets"][0]["provenance"]["predicateType"] == "https://slsa.dev/provenance/v1"


def test_the_models_page_tells_it_too(released: Released) -> None:
    """The page of a model has the same words about its newest version."""
    parts = released[1]
    with parts.db.reading() as session:
        rows = session.exec(select(Artifact).order_by(Artifact.target)).all()
    origin = origin_of({1: rows}, parts.blobs)
    assert origin is not None
    assert [line.about for line in origin.lines][-1] == "Signed by"
    damaged = Artifact(**{**rows[0].model_dump(), "provenance_sha256": rows[0].manifest_sha256})
    broken = origin_of({1: [damaged]}, parts.blobs)
    assert broken is not None
    assert broken.problem.startswith("E106")
    address = read_endpoint(parts.data).api
    with httpx.Client(base_url=address, follow_redirects=True) as browser:
        browser.get("/", params={"token": TOKEN})
        page = browser.get("/models/small").text
    assert "Where v1 comes from" in page
    assert "top-1 agreement" in page


def test_bad_words_are_refused(released: Released, tmp_path: Path) -> None:
    """A release that is none, a folder that exists and a file that is no export are refused by number."""
    data = str(released[1].data)
    with pytest.raises(InvalidRequestError, match="MODEL@VERSION"):
        _run(app, ["provenance", "small", "--data", data], catch_exceptions=False)
    arguments = ["export", "small@1", "--target", TARGET, "--out", str(tmp_path), "--data", data]
    with pytest.raises(InvalidRequestError, match="exists already"):
        _run(app, arguments, catch_exceptions=False)
    lonely = tmp_path / "model.onnx"
    lonely.write_bytes(b"x")
    with pytest.raises(ProvenanceError, match="not part of an export"):
        _run(app, ["verify", str(lonely)], catch_exceptions=False)
