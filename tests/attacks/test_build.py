"""The attacker gets at a build: its inputs, its result, or the folder that leaves the controller with it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from edgewright.controller.errors import ProvenanceError
from edgewright.controller.provenance.attest import attest, verify_build
from edgewright.controller.provenance.modelfolder import verify_folder
from edgewright.controller.trust.envelopes import BuildKey
from tests.controller.attested import TARGET, Attested, attested_version

SIGNED_BY_THE_LIBRARY = Path(__file__).parents[1] / "data" / "model-signing" / "library"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Attested:
    """A version that was built and attested; it may be released."""
    made = attested_version(tmp_path_factory.mktemp("built"))
    verify_build(made.result, made.files, made.blobs, made.key)
    return made


def test_build_of_other_inputs(built: Attested) -> None:
    """A build whose recorded source is not the version's gets no release signature."""
    swapped = {**built.files, "small.onnx": "ab" * 32}
    with pytest.raises(ProvenanceError, match="other files"):
        verify_build(built.result, swapped, built.blobs, built.key)


def test_artifact_swapped_after_the_gates(built: Attested) -> None:
    """A manifest that names another artifact than the one that passed the gates gets no release signature."""
    result, manifest = built.result, built.manifest()
    evil = built.blobs.put(b"another model")
    forged = msgspec.structs.replace(
        manifest, artifact=msgspec.structs.replace(manifest.artifact, sha256=evil)
    )
    data = msgspec.json.encode(forged)
    swapped = tuple(
        msgspec.structs.replace(one, sha256=built.blobs.put(data), length=len(data), artifact_sha256=evil)
        if one.target == TARGET
        else one
        for one in result.built
    )
    with pytest.raises(ProvenanceError, match="other bytes"):
        verify_build(msgspec.structs.replace(result, built=swapped), built.files, built.blobs, built.key)


def test_build_by_a_foreign_builder(built: Attested, tmp_path: Path) -> None:
    """A build that another machine's key attested, or nobody's, gets no release signature."""
    foreign = attest(built.facts, built.plain, built.blobs, BuildKey(tmp_path))
    for result in (foreign, built.plain):
        with pytest.raises(ProvenanceError, match="not attested by this controller"):
            verify_build(result, built.files, built.blobs, built.key)


def _edit(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"another model")


def _add(folder: Path) -> None:
    (folder / "extra.py").write_bytes(b"")


def _link(folder: Path) -> None:
    (folder / "model.onnx").rename(folder.parent / "elsewhere")
    (folder / "model.onnx").symlink_to(folder.parent / "elsewhere")


@pytest.mark.parametrize("attack", [_edit, _add, _link])
def test_tampered_model_directory(tmp_path: Path, attack: Callable[[Path], None]) -> None:
    """A signed folder with an edited file, an extra file or a link for a file does not verify."""
    key = load_pem_public_key((SIGNED_BY_THE_LIBRARY / "signer.pem").read_bytes())
    public = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    bundle = (SIGNED_BY_THE_LIBRARY / "model.sig").read_bytes()
    folder = tmp_path / "signed"
    shutil.copytree(SIGNED_BY_THE_LIBRARY / "signed", folder)
    assert "model.onnx" in verify_folder(folder, bundle, public)
    attack(folder)
    with pytest.raises(ProvenanceError):
        verify_folder(folder, bundle, public)
