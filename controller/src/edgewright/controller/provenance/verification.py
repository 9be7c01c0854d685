"""Checking an exported artifact on any machine: no controller, no network, no clock.

The order is that of trust: the metadata chain from a root to the manifest's digest; the manifest to the
artifact's digest, to the build key and to the statements; the statements to the gates. The folder may hold
nothing else: what is not signed is not there by accident.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from edgewright.controller.errors import ProvenanceError
from edgewright.controller.provenance.bundle import MAX_BUNDLE_BYTES, Told, open_bundle
from edgewright.controller.provenance.export import (
    BUNDLE,
    MANIFEST,
    METADATA_FOLDER,
    MODEL_FOLDER,
    MODEL_SIGNATURE,
    artifact_name,
)
from edgewright.controller.provenance.modelfolder import file_digest, list_files, verify_folder
from edgewright.controller.provenance.statements import papers_in
from edgewright.controller.trust.chain import Release, verify_chain
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.errors import MessageError
from edgewright.wire.manifest import MAX_MANIFEST_BYTES, Manifest, decode_manifest, target_path

MAX_METADATA_BYTES: Final = 16 * 1024 * 1024


class Verified(NamedTuple):
    """What was checked.

    Attributes:
        root_sha256: of the root that everything follows from.
        root_given: whether the reader gave that root; else it came with the export and proves only that the
            export is whole.
        model_signature: whether there was an OpenSSF bundle.
        fresh_until: see ``chain.Release``.
    """

    manifest: Manifest
    told: Told
    root_sha256: str
    root_given: bool
    model_signature: bool
    fresh_until: datetime


def verify_artifact(artifact: Path, bundle: Path | None = None, root: Path | None = None) -> Verified:
    """Verify an export.

    Args:
        artifact: the exported folder, or the artifact file in it.
        bundle: the signed statements, where they do not lie in the export.
        root: a root of the image repository that the reader trusts, for example the one a device enrolled
            with; without it the export's own first root is taken.

    Raises:
        ProvenanceError: something is missing, edited, added, a link, or signed by somebody else.
    """
    folder = _export_of(artifact)
    manifest_bytes = _read(folder / MODEL_FOLDER / MANIFEST, MAX_MANIFEST_BYTES)
    try:
        manifest = decode_manifest(manifest_bytes)
    except MessageError as error:
        raise ProvenanceError(f"{MANIFEST} is none: {error.sentence}") from error
    metadata = {
        path.name: _read(path, MAX_METADATA_BYTES) for _, path in list_files(folder / METADATA_FOLDER)
    }
    trusted = _read(root, MAX_METADATA_BYTES) if root else _first_root(metadata)
    path = target_path(manifest.model, manifest.target, manifest.version)
    release = verify_chain(metadata, trusted, path)
    _verify_manifest(manifest, manifest_bytes, release)
    _verify_files(folder / MODEL_FOLDER, manifest)
    told = open_bundle(_read(bundle or folder / BUNDLE, MAX_BUNDLE_BYTES), manifest)
    _verify_papers(folder, told)
    signature = folder / MODEL_SIGNATURE
    if signature.exists():
        key = bytes.fromhex(manifest.build_key)
        verify_folder(folder / MODEL_FOLDER, _read(signature, MAX_BUNDLE_BYTES), key)
    return Verified(
        manifest, told, sha256_hex(trusted), root is not None, signature.exists(), release.fresh_until
    )


def _export_of(artifact: Path) -> Path:
    if artifact.is_symlink() or not artifact.exists():
        raise ProvenanceError(f"{artifact.name!r} is a link, or there is nothing of this name.")
    folder = artifact if artifact.is_dir() else artifact.absolute().parent.parent
    if not (folder / MODEL_FOLDER / MANIFEST).is_file():
        raise ProvenanceError(
            f"{artifact.name!r} is not part of an export: {MODEL_FOLDER}/{MANIFEST} is missing."
        )
    if artifact.is_file() and artifact.absolute().parent != folder / MODEL_FOLDER:
        raise ProvenanceError(f"{artifact.name!r} does not lie in the folder {MODEL_FOLDER}/ of an export.")
    return folder


def _verify_manifest(manifest: Manifest, data: bytes, release: Release) -> None:
    entry = release.entry
    if (entry.length, entry.sha256) != (len(data), sha256_hex(data)):
        raise ProvenanceError(f"{MANIFEST} is not the one that the release keys signed.")
    named = (manifest.model, manifest.target, manifest.version, manifest.release_counter)
    custom = entry.custom
    if named != (custom.model, custom.target, custom.version, custom.release_counter):
        raise ProvenanceError(f"{MANIFEST} describes another release than the signed metadata.")


def _verify_files(folder: Path, manifest: Manifest) -> None:
    name = artifact_name(manifest)
    found = dict(list_files(folder))
    if name not in found:
        raise ProvenanceError(f"The artifact {name!r} is missing.")
    if extra := sorted(found.keys() - {name, MANIFEST}):
        raise ProvenanceError(f"The model folder has a file that nobody signed: {extra[0][:200]!r}.")
    if file_digest(found[name]) != manifest.artifact.sha256:
        raise ProvenanceError(f"The artifact {name!r} is not the one that was signed.")


def _verify_papers(folder: Path, told: Told) -> None:
    """Card and bill of materials may be left out of an export, and not be others than those of the build."""
    for name, sha256 in papers_in(told.provenance).items():
        if (folder / name).exists() and file_digest(folder / name) != sha256:
            raise ProvenanceError(f"{name} is not the one that the build made.")


def _first_root(metadata: Mapping[str, bytes]) -> bytes:
    versions = sorted(int(name.split(".")[0]) for name in metadata if name.endswith(".root.json"))
    if not versions:
        raise ProvenanceError("The export has no root; name one with --root.")
    return metadata[f"{versions[0]}.root.json"]


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise ProvenanceError(f"{path.name} cannot be read: {error.strerror}.") from error
    if len(data) > limit:
        raise ProvenanceError(f"{path.name} is larger than {limit} bytes.")
    return data
