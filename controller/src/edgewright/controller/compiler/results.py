"""A build's result from its parts; needs no runtime, so the controller's own process makes it too."""

from collections.abc import Sequence

from edgewright.controller.blobs import BlobStore
from edgewright.controller.compiler.cache import SourceFacts
from edgewright.controller.compiler.candidate import Range
from edgewright.controller.compiler.compiled import Compiled
from edgewright.controller.compiler.protocol import BuildRequest, BuildResult, Built, Retold
from edgewright.controller.compiler.ranges import encode_ranges
from edgewright.controller.compiler.telling import Told
from edgewright.controller.model_toml import ModelSpec


def make_result(
    request: BuildRequest,
    spec: ModelSpec,
    facts: SourceFacts,
    compiled: Sequence[Compiled],
    built: Sequence[Built],
    told: Told,
    blobs: BlobStore,
    warnings: Sequence[str] = (),
) -> BuildResult:
    """Everything about a build that its caller records.

    Args:
        request: what was asked for.
        spec: the declaration.
        facts: of the source.
        compiled: by target.
        built: the same, assembled.
        told: card and bill of materials.
        blobs: takes what describes the version.
        warnings: for people.
    """
    return BuildResult(
        model=spec.model.name,
        version=request.version,
        labels=spec.model.labels,
        built=tuple(built),
        ranges_sha256=put_ranges(compiled, blobs),
        metrics=facts.metrics,
        card_sha256=told.card_sha256,
        sbom_sha256=told.sbom_sha256,
        warnings=tuple(warnings),
        retold=Retold(facts, tuple(compiled)) if request.keep_others else None,
    )


def put_ranges(compiled: Sequence[Compiled], blobs: BlobStore) -> str:
    """Store what the artifacts were quantised with; empty where nothing was."""
    ranges: dict[str, Range] = {}
    for one in compiled:
        ranges.update(one.ranges)
    return blobs.put(encode_ranges(ranges)) if ranges else ""
