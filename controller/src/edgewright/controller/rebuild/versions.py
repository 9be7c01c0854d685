"""From a version's source files to a release that devices can fetch: what a push and a rebuild share.

Compiling comes first and leaves one blob with everything about the build. Releasing works from that blob
alone, so it can be done again without compiling: what was signed once is signed with the same content. A
version is ready when devices can have it, not before.
"""

import tempfile
from pathlib import Path

import msgspec

from edgewright.controller import registry
from edgewright.controller.compiler.protocol import BuildResult
from edgewright.controller.compiler.worker import run_build
from edgewright.controller.errors import BuildInterruptedError
from edgewright.controller.provenance.attest import attest, gather, verify_build
from edgewright.controller.rebuild.context import Context
from edgewright.controller.trust.documents import TargetEntry
from edgewright.controller.trust.envelopes import BuildKey
from edgewright.wire.errors import TransferError

RETRY_S = 1.0
"""While the broker is away a release waits; it is tried again this often."""


def compile_version(context: Context, model: str, version: int) -> str:
    """Build all artifacts in a child process; returns the SHA-256 of the result's blob.

    Raises:
        EdgewrightError: the version cannot be built.
        Interrupted: the controller goes down.
    """
    with tempfile.TemporaryDirectory(dir=context.data, prefix="build-") as name, context.one_child:
        folder = Path(name)
        with context.db.reading() as session:
            files = registry.find_version(session, model, version).files
            registry.materialise(context.blobs, files, folder)
            request = registry.plan_build(session, context.blob_root, model, version, folder)
            row = registry.find_version(session, model, version)
            facts = gather(session, context.blobs, row, request.ranges_sha256)
        try:
            result = run_build(request, is_stopped=context.stopping.is_set)
        except BuildInterruptedError:
            context.pause(0)
            raise
    result = attest(facts, result, context.blobs, BuildKey(context.data))
    return context.blobs.put(msgspec.json.encode(result))


def release_version(context: Context, result_sha256: str) -> None:
    """Sign a build, publish it and make the version ready; doing it twice changes nothing.

    Raises:
        ProvenanceError: the build is not what its attestation says; nothing is signed.
        EdgewrightError: it cannot be signed.
        Interrupted: the controller goes down.
    """
    result = msgspec.json.decode(context.blobs.read(result_sha256), type=BuildResult)
    built = result.built
    with context.db.reading() as session:
        files = registry.find_version(session, result.model, result.version).files
    verify_build(result, files, context.blobs, BuildKey(context.data))
    context.repository.add_release([TargetEntry(b.path, b.length, b.sha256, b.custom) for b in built])
    while not _published(context, result):
        context.pause(RETRY_S)
    with context.db.session() as session:
        registry.record_build(session, result)


def _published(context: Context, result: BuildResult) -> bool:
    try:
        for built in result.built:
            context.publisher.publish_release(built.sha256)
        context.publisher.publish_metadata()
    except TransferError:
        return False
    return True
