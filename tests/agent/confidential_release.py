"""A confidential release as a device's store would hold it, made with the controller's own sealing."""

from pathlib import Path
from typing import Any

import msgspec

from edgewright.controller.confidential.sealing import seal
from edgewright.wire.encryption import SCHEME, Encryption, Place, Role, key_id
from edgewright.wire.manifest import encode_manifest, split_blob
from tests.agent.tiny_models import Release, write_release

CONTENT_KEY = bytes(range(32))


def write_confidential(folder: Path, content_key: bytes = CONTENT_KEY, **given: Any) -> Release:
    """A release of ``tiny_models`` whose artifact and golden file are sealed."""
    plain = write_release(folder, **given)
    manifest = plain.manifest

    def sealed(path: Path, role: Role) -> bytes:
        place = Place(manifest.model, manifest.version, manifest.target, role)
        return b"".join(seal(path.read_bytes(), content_key, place))

    artifact, golden = sealed(plain.artifact_path, "artifact"), sealed(plain.golden_path, "golden")
    manifest = msgspec.structs.replace(
        manifest,
        artifact=split_blob(artifact)[0],
        golden=split_blob(golden)[0],
        encryption=Encryption(SCHEME, key_id(content_key)),
    )
    plain.artifact_path.write_bytes(artifact)
    plain.golden_path.write_bytes(golden)
    plain.manifest_path.write_bytes(encode_manifest(manifest))
    return Release(manifest, plain.manifest_path, plain.artifact_path, plain.golden_path)
