"""OpenSSF model-signing bundles, verified: a folder holds exactly the files that somebody signed.

The bundle is the portable signature, which other people's tools check too. It is a sigstore bundle v0.3 with
a public key, in it a DSSE envelope, in it an in-toto statement that lists each file's digest; its subject is
the SHA-256 over the raw digests in their order. This is a verifier of its own, on ``cryptography`` alone, so
that a check needs none of the 36 packages of the reference library. Where it is stricter: no file is ignored,
no symbolic link is followed, SHA-256 only, one key on P-256.

Source: https://github.com/sigstore/model-transparency (model_signing 1.1.1), predicate
``https://model_signing/signature/v1.0``.
"""

import base64
import binascii
import hashlib
import hmac
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from edgewright.controller.errors import ProvenanceError

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
MAX_BUNDLE_BYTES: Final = 16 * 1024 * 1024


class _Signature(msgspec.Struct):
    sig: str


class _Envelope(msgspec.Struct, rename="camel"):
    payload: str
    payload_type: Literal["application/vnd.in-toto+json"]
    signatures: list[_Signature]


class _Bundle(msgspec.Struct, rename="camel"):
    media_type: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"]
    dsse_envelope: _Envelope


class _Resource(msgspec.Struct):
    name: str
    algorithm: Literal["sha256"]
    digest: str


class _Serialization(msgspec.Struct):
    method: Literal["files"]
    hash_type: Literal["sha256"]


class _Predicate(msgspec.Struct):
    resources: list[_Resource]
    serialization: _Serialization


class _Subject(msgspec.Struct):
    digest: dict[str, str]


class _Statement(msgspec.Struct, rename={"type_": "_type", "predicate_type": "predicateType"}):
    type_: Literal["https://in-toto.io/Statement/v1"]
    subject: list[_Subject]
    predicate_type: Literal["https://model_signing/signature/v1.0"]
    predicate: _Predicate


def verify_folder(folder: Path, bundle: bytes, public_der: bytes) -> tuple[str, ...]:
    """Verify that a folder holds the signed files and nothing else; returns their names.

    Args:
        folder: what was signed.
        bundle: JSON.
        public_der: the signer's P-256 key, SubjectPublicKeyInfo.

    Raises:
        ProvenanceError: the key did not sign it, or a file is missing, edited, added or a link.
    """
    statement = _signed_statement(bundle, public_der)
    resources = statement.predicate.resources
    signed = {resource.name: resource.digest for resource in resources}
    try:
        whole = hashlib.sha256(b"".join(bytes.fromhex(resource.digest) for resource in resources)).hexdigest()
    except ValueError as error:
        raise ProvenanceError("The model signature lists a digest that is none.") from error
    if len(signed) != len(resources) or [item.digest for item in statement.subject] != [{"sha256": whole}]:
        raise ProvenanceError("The model signature's subject is not the digest of its files.")
    found = dict(list_files(folder))
    if extra := sorted(found.keys() - signed.keys()):
        raise ProvenanceError(f"The model folder has a file that nobody signed: {extra[0][:200]!r}.")
    for name, digest in signed.items():
        if name not in found:
            raise ProvenanceError(f"The model folder lacks the signed file {name[:200]!r}.")
        if not hmac.compare_digest(file_digest(found[name]), digest):
            raise ProvenanceError(f"The file {name[:200]!r} is not the one that was signed.")
    return tuple(signed)


def list_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Regular files below a folder by their relative names.

    Raises:
        ProvenanceError: there is no such folder, or something below it is neither a file nor a folder.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise ProvenanceError(f"{folder.name!r} is no folder.")
    waiting = [folder]
    while waiting:
        for path in sorted(waiting.pop().iterdir()):
            mode = path.lstat().st_mode
            name = path.relative_to(folder).as_posix()
            if stat.S_ISDIR(mode):
                waiting.append(path)
            elif stat.S_ISREG(mode):
                yield name, path
            else:
                raise ProvenanceError(f"{name[:200]!r} in the model folder is a link or no file.")


def file_digest(path: Path) -> str:
    """SHA-256 of a file, read in parts.

    Raises:
        ProvenanceError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ProvenanceError(f"{path.name} cannot be read: {error.strerror}.") from error


def _signed_statement(bundle: bytes, public_der: bytes) -> _Statement:
    if len(bundle) > MAX_BUNDLE_BYTES:
        raise ProvenanceError("The model signature is larger than any real one.")
    try:
        envelope = msgspec.json.decode(bundle, type=_Bundle).dsse_envelope
        payload = base64.b64decode(envelope.payload, validate=True)
        (signature,) = envelope.signatures
        _public_key(public_der).verify(
            base64.b64decode(signature.sig, validate=True), _pae(payload), ec.ECDSA(hashes.SHA256())
        )
        return msgspec.json.decode(payload, type=_Statement)
    except InvalidSignature as error:
        raise ProvenanceError("The model signature is not one of the build key.") from error
    except (msgspec.MsgspecError, binascii.Error, ValueError) as error:
        raise ProvenanceError("The model signature is no bundle that this release reads.") from error


def _public_key(public_der: bytes) -> ec.EllipticCurvePublicKey:
    key: Any = load_der_public_key(public_der)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ProvenanceError("The key that should have signed the model is no P-256 key.")
    return key


def _pae(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
