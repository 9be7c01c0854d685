"""The files of releases in the store: which belong to a manifest, where they lie, and what opens them."""

import logging

from edgewright.agent.agreement import Assignment
from edgewright.agent.confidential import NO_KEYS, ContentKeys
from edgewright.agent.store import Store
from edgewright.wire.errors import EdgewrightError
from edgewright.wire.manifest import Blob, Manifest, Patch, decode_manifest

log = logging.getLogger(__name__)


class ReleaseFiles:
    """A store, seen by the digests of manifests.

    Args:
        store: the files.
        keys: unwraps the content keys of confidential releases.
    """

    def __init__(self, store: Store, keys: ContentKeys = NO_KEYS) -> None:
        self._store, self._keys = store, keys

    def manifest(self, digest: str) -> Manifest:
        """A stored manifest.

        Raises:
            FileNotFoundError: it is not here.
            TamperedArtifactError: it is damaged; it has been removed.
        """
        return decode_manifest(self._store.read(digest))

    def paths(self, digest: str) -> tuple[str, str]:
        """Verified manifest file and artifact file of a release.

        Raises:
            FileNotFoundError: one is not here.
            TamperedArtifactError: one is damaged; it has been removed.
        """
        artifact = self._store.verified(self.manifest(digest).artifact.sha256)
        return str(self._store.verified(digest)), str(artifact)

    def content_key(self, assignment: Assignment) -> bytes:
        """What opens a release's files; empty for one that is not confidential.

        Raises:
            ConfidentialKeyError: the key is missing, or was wrapped for another device.
        """
        return self._keys.unwrap(assignment.target.custom, assignment.orders)

    def keep_only(self, digests: set[str]) -> None:
        """Remove all files, partial ones too, that do not belong to these manifests.

        A patch belongs to its manifest until what it makes is there: a device that starts again in the middle
        of its download goes on with it. Where a disk does not let that be found out, everything stays.
        """
        keep = set(digests)
        try:
            for digest in digests:
                keep |= self._blobs(digest)
            self._store.collect(keep)
        except OSError as error:
            log.warning("What nobody needs stays in the store: %s.", error)

    def _blobs(self, digest: str) -> set[str]:
        try:
            manifest = self.manifest(digest)
        except (FileNotFoundError, EdgewrightError):
            return set()
        return self._needed(manifest.artifact, manifest.patches) | self._needed(
            manifest.golden, manifest.golden_patches
        )

    def _needed(self, blob: Blob, patches: tuple[Patch, ...]) -> set[str]:
        ways = () if self._store.has(blob.sha256) else patches
        return {blob.sha256, *(patch.blob.sha256 for patch in ways)}
