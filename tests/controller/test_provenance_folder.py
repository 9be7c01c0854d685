"""OpenSSF model-signing: our verifier against the reference library's bundle, and the library on ours."""

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from edgewright.controller.errors import ProvenanceError
from edgewright.controller.provenance import modelsigner
from edgewright.controller.provenance.modelfolder import verify_folder
from edgewright.controller.trust.envelopes import BuildKey

RECORDED = Path(__file__).parents[1] / "data" / "model-signing" / "library"


def _der(pem: Path) -> bytes:
    key = load_pem_public_key(pem.read_bytes())
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    """A copy of the folder that the reference library signed."""
    folder = tmp_path / "signed"
    shutil.copytree(RECORDED / "signed", folder)
    return folder


def _verify(folder: Path, bundle: bytes | None = None) -> tuple[str, ...]:
    recorded = (RECORDED / "model.sig").read_bytes()
    return verify_folder(folder, bundle or recorded, _der(RECORDED / "signer.pem"))


def test_the_librarys_bundle_verifies(signed: Path) -> None:
    """What the reference library signed is accepted, file by file."""
    assert _verify(signed) == ("data/manifest.json", "model.onnx")


def test_an_edited_file_is_refused(signed: Path) -> None:
    """One byte of a signed file differs."""
    (signed / "model.onnx").write_bytes(b"hello Model")
    with pytest.raises(ProvenanceError, match="not the one that was signed"):
        _verify(signed)


@pytest.mark.parametrize("name", ["extra.bin", ".gitignore", "data/.git"])
def test_an_extra_file_is_refused(signed: Path, name: str) -> None:
    """A file beside the signed ones is refused, those too that the reference library ignores."""
    (signed / name).write_bytes(b"")
    with pytest.raises(ProvenanceError, match="nobody signed"):
        _verify(signed)


def test_a_missing_file_is_refused(signed: Path) -> None:
    """A signed file that is not there."""
    (signed / "data" / "manifest.json").unlink()
    with pytest.raises(ProvenanceError, match="lacks the signed file"):
        _verify(signed)


def test_a_link_is_refused(signed: Path) -> None:
    """A signed file that was replaced by a link to the same bytes, which may change after the check."""
    (signed / "model.onnx").rename(signed.parent / "elsewhere")
    (signed / "model.onnx").symlink_to(signed.parent / "elsewhere")
    with pytest.raises(ProvenanceError, match="link"):
        _verify(signed)


def test_another_key_is_refused(signed: Path, tmp_path: Path) -> None:
    """A true bundle is nothing for a reader who trusts another key."""
    with pytest.raises(ProvenanceError, match="build key"):
        verify_folder(signed, (RECORDED / "model.sig").read_bytes(), BuildKey(tmp_path).public_der)


def test_an_edited_statement_is_refused(signed: Path) -> None:
    """A list of files that was changed after it was signed."""
    bundle = json.loads((RECORDED / "model.sig").read_bytes())
    statement = base64.b64decode(bundle["dsseEnvelope"]["payload"]).replace(b"model.onnx", b"other.onnx")
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(statement).decode()
    with pytest.raises(ProvenanceError, match="build key"):
        _verify(signed, json.dumps(bundle).encode())


@pytest.mark.parametrize("bundle", [b"{}", b"null", b"\xff", b'{"mediaType":1}'])
def test_what_is_no_bundle_is_refused(signed: Path, bundle: bytes) -> None:
    """Bytes that are no bundle of this version are refused by one error."""
    with pytest.raises(ProvenanceError, match="no bundle"):
        _verify(signed, bundle)


@pytest.mark.skipif(not modelsigner.installed(), reason="needs the extra edgewright-controller[signing]")
def test_our_bundle_verifies_with_the_library(signed: Path, tmp_path: Path) -> None:
    """What the controller signed is accepted by our verifier and by the library, and an edit by none."""
    key = BuildKey(tmp_path)
    public = tmp_path / "public.pem"
    spki = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    public.write_bytes(key.private.public_key().public_bytes(*spki))
    bundle = tmp_path / "ours.sig"
    bundle.write_bytes(modelsigner.sign_folder(signed, key.path))
    verify_folder(signed, bundle.read_bytes(), key.public_der)
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(signed)]
    command += ["--signature", str(bundle), "--public_key", str(public)]
    assert subprocess.run(command, capture_output=True, check=False, env=os.environ).returncode == 0
    (signed / "model.onnx").write_bytes(b"hello Model")
    assert subprocess.run(command, capture_output=True, check=False, env=os.environ).returncode != 0
