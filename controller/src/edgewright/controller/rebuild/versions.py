"""From a version's source files to a release that devices can fetch: what a push and a rebuild share.

Compiling comes first and leaves one blob with everything about the build. Releasing works from that blob
alone, so it can be done again without compiling: what was signed once is signed with the same content. Where
keys of the model are elsewhere, a release waits for their signatures, over restarts too, and goes on when
the last one was imported. A version is ready when devices can have it, not before.

What does not fit on the broker for all its targets is not signed. Artifacts are written down before they are
published, so what a version that fails then has left on the broker is cleared (``retirement``), by whichever
process comes to it.
"""

import tempfile
from contextlib import suppress
from pathlib import Path

import msgspec

from edgewright.controller import registry
from edgewright.controller.compiler.protocol import BuildResult
from edgewright.controller.compiler.worker import run_build
from edgewright.controller.confidential.keys import ContentKeys
from edgewright.controller.database import col, select
from edgewright.controller.database.tables import Artifact
from edgewright.controller.errors import BuildInterruptedError, SignaturesMissingError, VersionNotReadyError
from edgewright.controller.model_toml import read_model
from edgewright.controller.provenance.attest import SOURCE_MODEL, attest, gather, verify_build
from edgewright.controller.provenance.statements import Facts
from edgewright.controller.rebuild.context import Context
from edgewright.controller.rebuild.measuring import measure_build, tell_again
from edgewright.controller.trust.documents import TargetEntry
from edgewright.controller.trust.envelopes import BuildKey
from edgewright.wire.errors import EdgewrightError, TransferError

RETRY_S = 1.0
"""While the broker is away a release waits; it is tried again this often."""


def compile_version(context: Context, model: str, version: int) -> str:
    """Build all artifacts in a child process; returns the SHA-256 of the result's blob.

    Raises:
        EdgewrightError: the version cannot be built.
        Interrupted: the controller goes down.
    """
    with tempfile.TemporaryDirectory(dir=context.data, prefix="build-") as name:
        folder = Path(name)
        with context.one_child:
            with context.db.reading() as session:
                files = registry.find_version(session, model, version).files
                registry.materialise(context.blobs, files, folder)
                request = registry.plan_build(session, context.blob_root, model, version, folder)
                row = registry.find_version(session, model, version)
                facts = gather(session, context.blobs, row, request.ranges_sha256)
            if facts.confidential:
                _seal_source(context, facts)
                content_key = ContentKeys(context.data).ensure(model, version)
                request = msgspec.structs.replace(request, content_key=content_key)
            minutes = 0.0 if facts.confidential else read_model(folder).gates.qualify_minutes
            request = msgspec.structs.replace(request, keep_others=minutes > 0)
            try:
                result = run_build(request, is_stopped=context.stopping.is_set)
            except BuildInterruptedError:
                context.pause(0)
                raise
        if minutes:
            # Devices take minutes; what is told of the version is told of what they have chosen.
            result = tell_again(request, measure_build(context, result, minutes * 60), context.blobs)
    result = attest(facts, result, context.blobs, BuildKey(context.data))
    return context.blobs.put(msgspec.json.encode(result))


def _seal_source(context: Context, facts: Facts) -> None:
    """Encrypt a secret source model at rest, unless another version was published with these very bytes."""
    (source,) = (item.sha256 for item in facts.materials if item.role == SOURCE_MODEL)
    with context.db.reading() as session:
        opened = session.exec(select(Artifact).where(col(Artifact.artifact_sha256) == source)).first()
    if opened is None:
        context.blobs.seal(source)


def release_version(context: Context, result_sha256: str) -> None:
    """Sign a build, publish it and make the version ready; doing it twice changes nothing.

    Raises:
        ProvenanceError: the build is not what its attestation says; nothing is signed.
        BrokerFullError: it does not fit on the broker for all its targets; nothing is signed.
        EdgewrightError: it cannot be signed.
        Interrupted: the controller goes down.
    """
    result = msgspec.json.decode(context.blobs.read(result_sha256), type=BuildResult)
    with context.db.reading() as session:
        files = registry.find_version(session, result.model, result.version).files
    verify_build(result, files, context.blobs, BuildKey(context.data))
    try:
        context.publisher.verify_fit([built.sha256 for built in result.built])
        _sign(context, result)
        with context.db.session() as session:
            registry.record_artifacts(session, result)
        while not _published(context, result):
            context.pause(RETRY_S)
    except EdgewrightError:
        take_back(context, result_sha256)
        raise
    with context.db.session() as session:
        registry.record_build(session, result)


def take_back(context: Context, result_sha256: str) -> None:
    """Take a build out of the signed catalogue again, as far as that can be done at once.

    Where it cannot, the keys' holders or the next publishing do it; whoever calls has something to tell that
    matters more.
    """
    result = msgspec.json.decode(context.blobs.read(result_sha256), type=BuildResult)
    with suppress(EdgewrightError):
        if context.repository.withdraw([built.path for built in result.built]):
            context.publisher.publish_metadata()


def _sign(context: Context, result: BuildResult) -> None:
    """Have the release signed; where its keys are elsewhere, wait until their signatures were imported.

    Raises:
        VersionNotReadyError: the version was withdrawn in the meantime.
        EdgewrightError: it cannot be signed.
        Interrupted: the controller goes down.
    """
    entries = [TargetEntry(built.path, built.length, built.sha256, built.custom) for built in result.built]
    while True:
        try:
            context.repository.add_release(entries)
            missing = ""
        except SignaturesMissingError as error:
            missing = error.sentence
        if not _goes_on(context, result, missing):
            raise VersionNotReadyError(f"{result.model} v{result.version} was withdrawn before it was ready.")
        if not missing:
            return
        context.pause(RETRY_S)


def _goes_on(context: Context, result: BuildResult, missing: str) -> bool:
    """Whether the version is still wanted; says in its row what it waits for."""
    with context.db.reading() as session:
        row = registry.find_version(session, result.model, result.version)
    if not missing or (row.state, row.detail) == (registry.SIGNING, missing):
        return row.state != registry.WITHDRAWN
    with context.db.session() as session:
        return registry.mark_signing(session, result.model, result.version, missing)


def _published(context: Context, result: BuildResult) -> bool:
    try:
        for built in result.built:
            context.publisher.publish_release(built.sha256)
        context.publisher.publish_metadata()
    except TransferError:
        return False
    return True
