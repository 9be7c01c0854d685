"""Operations on provenance: what made a version, and an artifact to take away with its proofs."""

import base64
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from edgewright.controller.api.access import bearer_scheme, need
from edgewright.controller.api.seams import Services
from edgewright.controller.errors import UnknownModelError
from edgewright.controller.provenance.export import Attestation, export, find_artifact, read_attestation
from edgewright.controller.provenance.words import key_id, tell
from edgewright.controller.web import rows
from edgewright.controller.web.references import References


class Told(BaseModel):
    """One thing about a build, in words."""

    about: str
    said: str


class TargetProvenance(BaseModel):
    """The signed statements about the artifact for one target, verified."""

    target: str
    artifact_sha256: str
    bundle_sha256: str = Field(description="Blob with both signed statements")
    build_key: str = Field(description="Name of the key that signed: the beginning of its SHA-256")
    told: list[Told]
    provenance: dict[str, Any] = Field(description="SLSA provenance v1, an in-toto statement")
    tests: dict[str, Any] = Field(description="The gates' outcome, an in-toto test result")


class ProvenanceView(BaseModel):
    """Which data, recipe, compilers and gates made a version, and who signed."""

    model: str
    version: int
    targets: list[TargetProvenance]


class ExportView(BaseModel):
    """The parts of an exported artifact; its bytes are fetched from ``artifact``."""

    model: str
    version: int
    target: str
    files: dict[str, str] = Field(description="Path in the folder to the file in base64")
    artifact_file: str = Field(description="Path in the folder")
    artifact_sha256: str


def create_router(services: Services, references: References) -> APIRouter:
    """The operations."""
    del references
    router = APIRouter(tags=["provenance"], dependencies=[Depends(bearer_scheme)])
    _add_export(router, services)

    @router.get(
        "/models/{model}/versions/{version}/provenance",
        operation_id="show_provenance",
        dependencies=[need("model.read")],
    )
    def show_provenance(model: str, version: int) -> ProvenanceView:
        """Which data, recipe, compilers and gates made a version, and who signed."""
        with services.db.reading() as session:
            found = [row for row in rows.artifacts(session, model) if row.version == version]
        if not found:
            raise UnknownModelError(f"There is no {model} v{version} with artifacts.")
        told = [_view(read_attestation(row, services.blobs)) for row in found]
        return ProvenanceView(model=model, version=version, targets=told)

    return router


def _add_export(router: APIRouter, services: Services) -> None:
    @router.get(
        "/models/{model}/versions/{version}/export/{target}",
        operation_id="export_artifact",
        dependencies=[need("model.export")],
    )
    def export_artifact(model: str, version: int, target: str) -> ExportView:
        """An artifact with its manifest, its signed statements and the signed metadata."""
        with services.db.reading() as session:
            row = find_artifact(session, model, version, target)
        exported = export(row, services.blobs, services.repository.files, services.data)
        return ExportView(
            model=model,
            version=version,
            target=target,
            files={name: base64.b64encode(data).decode() for name, data in exported.files.items()},
            artifact_file=exported.artifact,
            artifact_sha256=exported.artifact_sha256,
        )

    @router.get(
        "/models/{model}/versions/{version}/artifact/{target}",
        operation_id="fetch_artifact",
        response_class=FileResponse,
        dependencies=[need("model.export")],
    )
    def fetch_artifact(model: str, version: int, target: str) -> FileResponse:
        """The bytes of an artifact, as devices get them."""
        with services.db.reading() as session:
            row = find_artifact(session, model, version, target)
        return FileResponse(services.blobs.path(row.artifact_sha256), media_type="application/octet-stream")


def _view(attestation: Attestation) -> TargetProvenance:
    manifest = attestation.manifest
    return TargetProvenance(
        target=attestation.target,
        artifact_sha256=manifest.artifact.sha256,
        bundle_sha256=attestation.bundle_sha256,
        build_key=key_id(manifest.build_key),
        told=[Told(about=line.about, said=line.said) for line in tell(attestation.told, manifest.build_key)],
        provenance=attestation.told.provenance,
        tests=attestation.told.tests,
    )
