"""One attested version of the small model, in a registry and a blob store of its own."""

from dataclasses import dataclass
from pathlib import Path

from edgewright.controller import registry
from edgewright.controller.blobs import BlobStore
from edgewright.controller.compiler.build import build_version
from edgewright.controller.compiler.protocol import BuildResult
from edgewright.controller.database.engine import Database
from edgewright.controller.provenance.attest import attest, gather
from edgewright.controller.provenance.statements import Facts
from edgewright.controller.trust.envelopes import BuildKey
from edgewright.wire.manifest import Manifest, decode_manifest
from tests.controller.small_model import write_folder

MODEL = "small"
TARGET = "x86_64-ort-cpu"


@dataclass(frozen=True)
class Attested:
    """A data folder with version 1 built and attested."""

    data: Path
    db: Database
    blobs: BlobStore
    key: BuildKey
    files: dict[str, str]
    facts: Facts
    plain: BuildResult
    result: BuildResult

    def manifest(self, target: str = TARGET, result: BuildResult | None = None) -> Manifest:
        """The manifest for a target."""
        built = next(built for built in (result or self.result).built if built.target == target)
        return decode_manifest(self.blobs.read(built.sha256))

    def bundle(self, target: str = TARGET) -> bytes:
        """Its signed statements."""
        built = next(built for built in self.result.built if built.target == target)
        return self.blobs.read(built.bundle_sha256)


def attested_version(data: Path) -> Attested:
    """Push, build in this process, attest."""
    folder = write_folder(data / "pushed")
    db = Database.in_folder(data)
    db.create()
    blobs, key = BlobStore(data / "blobs"), BuildKey(data)
    files = registry.store_folder(blobs, folder)
    with db.session() as session:
        version = registry.add_version(session, MODEL, files, "push")
    with db.reading() as session:
        request = registry.plan_build(session, data / "blobs", MODEL, version, folder)
        row = registry.find_version(session, MODEL, version)
        facts = gather(session, blobs, row, request.ranges_sha256)
    plain = build_version(request)
    return Attested(data, db, blobs, key, files, facts, plain, attest(facts, plain, blobs, key))
