"""Attesting a build, and the check of it before the release keys sign.

``attest`` runs in the controller's process after the child that compiled has ended: it writes the statements,
signs them with the build key and puts their digests, and the key, into each manifest. ``verify_build`` is the
policy in front of the release keys: it reads everything again from the blob store and from the registry, so
that what was changed between the two is noticed and nothing is signed.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from edgewright.controller.blobs import BlobStore
from edgewright.controller.compiler.protocol import BuildResult, Built
from edgewright.controller.database import Session, col, select
from edgewright.controller.database.evidencetables import Rebuild
from edgewright.controller.database.tables import Artifact, ModelVersion
from edgewright.controller.errors import ProvenanceError
from edgewright.controller.model_toml import CARD_NAME, FILE_NAME, ModelSpec, parse_model
from edgewright.controller.provenance.bundle import encode_bundle, open_bundle
from edgewright.controller.provenance.statements import (
    CARD,
    GATES_LOG,
    SBOM,
    Facts,
    Material,
    gate_log,
    make_provenance,
    make_test_result,
)
from edgewright.controller.trust.envelopes import BuildKey
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.manifest import decode_manifest, encode_manifest, target_path

FILE_URI: Final = "model:"
SOURCE_MODEL: Final = "source model"


def gather(session: Session, blobs: BlobStore, version: ModelVersion, ranges_sha256: str) -> Facts:
    """What the registry knows of a version's build.

    Args:
        session: for reading.
        blobs: has the version's model.toml.
        version: the row.
        ranges_sha256: calibration ranges that the build inherits, empty for none.
    """
    spec = parse_model(blobs.read(version.files[FILE_NAME]))
    materials = [
        Material(f"{FILE_URI}{path}", sha256, role_of(path, spec))
        for path, sha256 in sorted(version.files.items())
    ]
    if ranges_sha256:
        materials.append(
            Material("calibration:parent", ranges_sha256, "calibration ranges of the parent version")
        )
    rebuild = _rebuild_of(session, version)
    if rebuild is not None and (dataset := rebuild.gates.get("dataset")):
        counts = {name: int(rebuild.gates.get(name, 0)) for name in ("fit", "gate")}
        role = "labelled frames of the line: a list of each picture's digest and its true class"
        materials.append(Material(f"dataset:rebuild-{rebuild.id}", dataset, role, counts))
    parents = session.exec(
        select(Artifact).where(col(Artifact.model) == version.model, col(Artifact.version) == version.parent)
    ).all()
    return Facts(
        model=version.model,
        version=version.version,
        source=version.source,
        parent=version.parent,
        model_toml_sha256=version.files[FILE_NAME],
        materials=tuple(materials),
        parents={row.target: row.manifest_sha256 for row in parents},
        parameters=_parameters(rebuild) if rebuild is not None else {},
        gates=msgspec.to_builtins(spec.gates),
        data=_data(version.files, spec),
        confidential=spec.confidential.enabled,
    )


def role_of(path: str, spec: ModelSpec) -> str:
    """What a file of a model folder was used as."""
    roles = {
        FILE_NAME: "declaration and gates",
        CARD_NAME: "model card",
        spec.model.file: SOURCE_MODEL,
        spec.data.calibration: "calibration frames",
        spec.data.holdout: "holdout frames, which judge",
    }
    roles.setdefault(spec.data.replay, "replay frames")
    roles[spec.rebuild.recipe] = "recipe"
    return roles.get(path, "file")


def attest(facts: Facts, result: BuildResult, blobs: BlobStore, key: BuildKey) -> BuildResult:
    """The result with signed statements about each artifact, bound into its manifest.

    Raises:
        DataFolderDamagedError: a blob or the build key cannot be read.
    """
    made = {CARD: result.card_sha256, SBOM: result.sbom_sha256}
    built = tuple(_attest(facts, one, made, blobs, key) for one in result.built)
    return msgspec.structs.replace(result, built=built)


def _attest(facts: Facts, built: Built, made: Mapping[str, str], blobs: BlobStore, key: BuildKey) -> Built:
    manifest = decode_manifest(blobs.read(built.sha256))
    log = blobs.put(gate_log(built.verdicts))
    provenance = make_provenance(facts, built, manifest, {GATES_LOG: log, **made})
    tests = make_test_result(facts, built, manifest)
    bundle = blobs.put(encode_bundle(key.sign(provenance), key.sign(tests)))
    manifest = msgspec.structs.replace(
        manifest,
        provenance_sha256=blobs.put(provenance),
        tests_sha256=blobs.put(tests),
        build_key=key.public_der.hex(),
    )
    data = encode_manifest(manifest)
    return msgspec.structs.replace(
        built,
        length=len(data),
        sha256=blobs.put(data),
        provenance_sha256=manifest.provenance_sha256,
        bundle_sha256=bundle,
    )


def verify_build(result: BuildResult, files: Mapping[str, str], blobs: BlobStore, key: BuildKey) -> None:
    """The policy before release keys sign: the statements are about exactly what is to be signed.

    Args:
        result: of the build, as it was stored.
        files: the version's source files, as the registry has them now.
        blobs: where manifests and bundles lie.
        key: this controller's build key.

    Raises:
        ProvenanceError: something is not what the signed statements say; nothing may be signed.
        DataFolderDamagedError: a blob is missing or has changed.
    """
    for built in result.built:
        data = blobs.read(built.sha256)
        manifest = decode_manifest(data)
        named = (manifest.model, manifest.version, manifest.target, manifest.release_counter)
        custom = built.custom
        entry = (custom.model, custom.version, custom.target, custom.release_counter)
        path = target_path(result.model, built.target, result.version)
        if (manifest.encryption is not None) != custom.confidential:
            raise ProvenanceError(f"Manifest and metadata for {built.target} differ about encryption.")
        if named != entry or (built.path, built.length) != (path, len(data)):
            raise ProvenanceError(f"The manifest for {built.target} is not the release that is to be signed.")
        if manifest.build_key != key.public_der.hex() or not built.bundle_sha256:
            raise ProvenanceError(f"The build for {built.target} was not attested by this controller.")
        told = open_bundle(blobs.read(built.bundle_sha256), manifest)
        if judged_in(told.tests) != _judged(built):
            raise ProvenanceError(f"The gates for {built.target} ended otherwise than the statement says.")
        if files_in(told.provenance) != dict(files):
            raise ProvenanceError(
                f"The build for {built.target} was made from other files than the version has."
            )
        if manifest.artifact.sha256 != built.artifact_sha256 or sha256_hex(data) != built.sha256:
            raise ProvenanceError(f"The artifact for {built.target} is not the one that was built.")
        for blob in (manifest.artifact, manifest.golden):
            if not blobs.has(blob.sha256):
                raise ProvenanceError(f"A blob of the build for {built.target} is gone.")


def files_in(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Source files that a provenance statement names: path to SHA-256."""
    materials = provenance["predicate"]["buildDefinition"]["resolvedDependencies"]
    return {
        item["uri"].removeprefix(FILE_URI): item["digest"]["sha256"]
        for item in materials
        if item["uri"].startswith(FILE_URI)
    }


def judged_in(tests: Mapping[str, Any]) -> tuple[list[str], list[str], list[str]]:
    """Gates that a test result names: passed, not judged, failed."""
    predicate = tests["predicate"]
    return predicate["passedTests"], predicate["warnedTests"], predicate["failedTests"]


def _judged(built: Built) -> tuple[list[str], list[str], list[str]]:
    verdict = next(verdict for verdict in built.verdicts if verdict.name == built.chosen)
    return list(verdict.passed_gates), list(verdict.unjudged_gates), list(verdict.failed_gates)


def _data(files: Mapping[str, str], spec: ModelSpec) -> dict[str, str]:
    named = {
        "calibration": spec.data.calibration,
        "holdout": spec.data.holdout,
        "replay": spec.data.replay,
    }
    return {use: files[path] for use, path in named.items() if path in files}


def _rebuild_of(session: Session, version: ModelVersion) -> Rebuild | None:
    statement = select(Rebuild).where(
        col(Rebuild.model) == version.model, col(Rebuild.new_version) == version.version
    )
    return session.exec(statement).first()


def _parameters(rebuild: Rebuild) -> dict[str, Any]:
    names = ("labels", "left_out")
    told = {name: rebuild.gates[name] for name in names if name in rebuild.gates}
    return {"number": rebuild.id, "rung": rebuild.rung, "cause": rebuild.cause, **told}
