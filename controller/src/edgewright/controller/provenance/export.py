"""An artifact as a folder that can be checked anywhere, without a controller and without a network.

::

    model/                    what is used; the OpenSSF signature is over exactly these two files
        <model>-<version>-<target>.onnx
        manifest.json
    provenance.intoto.jsonl   the signed statements of the build
    model.sig                 the OpenSSF model-signing bundle, where the controller has the extra
    build-key.pem             the key of both, for other people's tools; ours takes it from the manifest
    model-card.md             what the version is, and
    sbom.cdx.json             what it is made of; their digests stand in the signed statements
    metadata/                 the image repository's signed metadata, from the first root to this release
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgewright.controller.blobs import BlobStore
from edgewright.controller.database import Session
from edgewright.controller.database.tables import Artifact
from edgewright.controller.errors import ProvenanceError, UnknownModelError
from edgewright.controller.provenance import modelsigner
from edgewright.controller.provenance.bundle import Told, open_bundle
from edgewright.controller.provenance.statements import papers_in
from edgewright.controller.trust.chain import TIMESTAMP
from edgewright.controller.trust.envelopes import BuildKey
from edgewright.wire.manifest import Manifest, decode_manifest

MODEL_FOLDER: Final = "model"
MANIFEST: Final = "manifest.json"
BUNDLE: Final = "provenance.intoto.jsonl"
MODEL_SIGNATURE: Final = "model.sig"
BUILD_KEY: Final = "build-key.pem"
METADATA_FOLDER: Final = "metadata"


class Exported(NamedTuple):
    """What an export holds.

    Attributes:
        files: small files by their path in the folder.
        artifact: path of the artifact in the folder.
        artifact_sha256: its blob.
    """

    files: dict[str, bytes]
    artifact: str
    artifact_sha256: str


class Attestation(NamedTuple):
    """The verified statements about one artifact, and where they lie."""

    target: str
    manifest: Manifest
    bundle_sha256: str
    told: Told


def artifact_name(manifest: Manifest) -> str:
    """File name of an exported artifact.

    An encrypted one says so: no runtime can load it as it is.
    """
    kind = "onnx" if manifest.runtime.name == "onnxruntime" else "tflite"
    return f"{manifest.model}-{manifest.version}-{manifest.target}.{kind}"


def read_attestation(row: Artifact, blobs: BlobStore) -> Attestation:
    """The statements about one artifact.

    Raises:
        ProvenanceError: it was built before builds were attested, or they do not verify.
        DataFolderDamagedError: a blob is missing or has changed.
    """
    if not row.provenance_sha256:
        raise ProvenanceError(f"{row.model} v{row.version} was built before builds were attested.")
    manifest = decode_manifest(blobs.read(row.manifest_sha256))
    told = open_bundle(blobs.read(row.provenance_sha256), manifest)
    return Attestation(row.target, manifest, row.provenance_sha256, told)


def find_artifact(session: Session, model: str, version: int, target: str) -> Artifact:
    """The row of one artifact.

    Raises:
        UnknownModelError: there is none.
    """
    row = session.get(Artifact, (model, version, target))
    if row is None:
        raise UnknownModelError(f"There is no artifact of {model} v{version} for {target!r}.")
    return row


def export(
    row: Artifact, blobs: BlobStore, metadata: Callable[[], Mapping[str, bytes]], data: Path
) -> Exported:
    """Everything of an export but the artifact's bytes, which may be a gigabyte.

    Args:
        row: the artifact.
        blobs: where its parts lie.
        metadata: gives the image repository's files.
        data: the data folder: the build key, and a place for the signer to look at.

    Raises:
        ProvenanceError: the build was not attested, or does not verify.
    """
    attestation = read_attestation(row, blobs)
    manifest, key = attestation.manifest, BuildKey(data)
    name = artifact_name(manifest)
    files = {
        f"{MODEL_FOLDER}/{MANIFEST}": blobs.read(row.manifest_sha256),
        BUNDLE: blobs.read(row.provenance_sha256),
        **{f"{METADATA_FOLDER}/{file}": content for file, content in _chain(metadata(), row.model).items()},
    }
    files |= {file: blobs.read(sha256) for file, sha256 in papers_in(attestation.told.provenance).items()}
    if manifest.build_key == key.public_der.hex():
        public = key.private.public_key()
        files[BUILD_KEY] = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        if modelsigner.installed():
            files[MODEL_SIGNATURE] = _sign(files[f"{MODEL_FOLDER}/{MANIFEST}"], name, manifest, blobs, key)
    return Exported(files, f"{MODEL_FOLDER}/{name}", manifest.artifact.sha256)


def _chain(metadata: Mapping[str, bytes], model: str) -> dict[str, bytes]:
    """The files that lead to a model; what the other models' roles say is nobody's business."""
    endings = (".root.json", ".snapshot.json", ".targets.json", f".{model}.json")
    return {name: data for name, data in metadata.items() if name.endswith(endings) or name == TIMESTAMP}


def _sign(manifest_bytes: bytes, name: str, manifest: Manifest, blobs: BlobStore, key: BuildKey) -> bytes:
    with tempfile.TemporaryDirectory(dir=key.path.parents[2], prefix="export-") as place:
        folder = Path(place) / MODEL_FOLDER
        folder.mkdir()
        (folder / MANIFEST).write_bytes(manifest_bytes)
        # A second name for the blob: one file system, and no copy of a large artifact.
        (folder / name).hardlink_to(blobs.path(manifest.artifact.sha256))
        return modelsigner.sign_folder(folder, key.path)
