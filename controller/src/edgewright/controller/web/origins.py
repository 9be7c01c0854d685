"""Where a model's newest version comes from, in the words that `edgewright provenance` uses."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from edgewright.controller.blobs import BlobStore
from edgewright.controller.database.tables import Artifact
from edgewright.controller.provenance.export import read_attestation
from edgewright.controller.provenance.words import Line, tell
from edgewright.wire.errors import EdgewrightError


class Origin(msgspec.Struct, frozen=True):
    """The story of one version, of its first target; ``problem`` where its proofs do not hold."""

    version: int
    target: str
    lines: tuple[Line, ...]
    problem: str = ""


def origin_of(artifacts: Mapping[int, Sequence[Artifact]], blobs: BlobStore) -> Origin | None:
    """The origin of the newest version that was attested; None where there is none.

    Args:
        artifacts: by version.
        blobs: where the signed statements lie.
    """
    row = next(_attested(artifacts), None)
    if row is None:
        return None
    try:
        attestation = read_attestation(row, blobs)
    except EdgewrightError as error:
        # The page has to say that a proof does not hold; it must not fail by it.
        return Origin(row.version, row.target, (), str(error))
    return Origin(row.version, row.target, tell(attestation.told, attestation.manifest.build_key))


def _attested(artifacts: Mapping[int, Sequence[Artifact]]) -> Iterator[Artifact]:
    for version in sorted(artifacts, reverse=True):
        yield from (row for row in artifacts[version] if row.provenance_sha256)
