"""What a version promised: the reference profiles that the compiler left beside its artifacts."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from edgewright.controller.blobs import BlobStore
from edgewright.controller.database.tables import Artifact
from edgewright.controller.errors import DataFolderDamagedError
from edgewright.controller.evidence.reference import read_reference
from edgewright.controller.web.charts import Reference

KEPT: Final = 512


class References:
    """Reads profiles by digest; a profile never changes, so each is read once."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._read = lru_cache(maxsize=KEPT)(self._read_profile)

    def of(self, artifacts: Iterable[Artifact]) -> dict[int, Reference]:
        """References by version: of the target whose promise is the weakest, which is the one all keep."""
        found: dict[int, Reference] = {}
        for artifact in artifacts:
            values = self._read(artifact.profile_sha256) if artifact.profile_sha256 else None
            known = found.get(artifact.version)
            if values is not None and (known is None or values[0] > known.mispack):
                found[artifact.version] = Reference(artifact.version, *values)
        return found

    def _read_profile(self, sha256: str) -> tuple[float, float | None] | None:
        try:
            reference = read_reference(self._blobs.read(sha256))
        except DataFolderDamagedError:
            return None  # a page without its reference line is better than no page
        return reference.error_rate, 1.0 - reference.doubt if reference.doubt_n else None
