"""Signatures: the only file of the agent that imports tuf.

It verifies two things and decides nothing else. ``Director`` reads one assignment document and checks its
signatures against the director's root. ``ImageRepository`` runs ngclient over the topic reader, for
metadata only (blobs have a downloader of their own, with resume), and answers which target is signed.
What the answers mean is decided in ``agreement``.

Rules:

- The bootstrap root is always the enrolled one, never the cache: an edited cache cannot bring a root.
- One Updater a check, all in one thread (ngclient is documented single-instance per cache folder).
- Time comes from outside: a floor under the system's clock stops a freeze that hides behind a slow clock.
- tuf's exceptions end here, each as the class of ``wire.errors`` that names what happened.
"""

import contextlib
import datetime
import logging
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from tuf.api import exceptions as tuf_errors
from tuf.api.metadata import Metadata, Root, TargetFile, Targets
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from edgewright.agent.agreement import Assignment, ImageTarget, Seen
from edgewright.agent.fetcher import MetadataFetcher, MissingFile
from edgewright.wire import assignment as wire
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.errors import (
    BlobTimeoutError,
    EdgewrightError,
    ExpiredMetadataError,
    MalformedMessageError,
    RollbackAttackError,
    TamperedMetadataError,
)

MAX_ROOT_ROTATIONS: Final = 1024
"""Counted from the enrolled root, not from the newest cached one: with too small a limit a device stays
silently on an old root (measured). Bootstrap roots therefore also move with agent releases."""

_BASE = "topics:tuf/"


class Director:
    """Verifies assignment documents.

    Raises:
        TamperedMetadataError: the enrolled root is no root that signs itself.
    """

    def __init__(self, root: bytes) -> None:
        with _as_ours():
            metadata: Metadata[Root] = Metadata[Root].from_bytes(root)
            metadata.verify_delegate("root", metadata)
        self._root = metadata.signed

    def read(self, raw: bytes) -> Assignment:
        """The assignment in a document that the director signed.

        Raises:
            TamperedMetadataError: the signatures do not verify, or the document says more than one release.
        """
        if len(raw) > wire.MAX_ASSIGNMENT_BYTES:
            raise TamperedMetadataError(f"An assignment of {len(raw)} bytes exceeds the limit.")
        with _as_ours():
            metadata: Metadata[Targets] = Metadata[Targets].from_bytes(raw)
            self._root.verify_delegate("targets", metadata.signed_bytes, metadata.signatures)
        signed = metadata.signed
        if signed.type != Targets.type or signed.delegations is not None or len(signed.targets) != 1:
            raise TamperedMetadataError("The signed document is no assignment of one release.")
        try:
            (target,) = signed.targets.values()
            orders = wire.read_orders(signed.unrecognized_fields.get(wire.FIELD))
            described = _image_target(target)
        except MalformedMessageError as error:
            raise TamperedMetadataError(f"The signed document is no assignment: {error.sentence}") from error
        return Assignment(signed.version, sha256_hex(raw), signed.expires.timestamp(), described, orders)


class ImageRepository:
    """The signed catalogue of releases, refreshed over a fetcher.

    Args:
        folder: ngclient's cache.
        root: the enrolled root.
        fetcher: where metadata files come from.
    """

    def __init__(self, folder: Path, root: bytes, fetcher: MetadataFetcher) -> None:
        self._folder, self._root, self._fetcher = folder, root, fetcher
        folder.mkdir(parents=True, exist_ok=True)

    def refresh(self, now: float, path: str | None = None) -> tuple[Seen, ImageTarget | None]:
        """Verify the newest metadata; the versions seen, and the target at ``path``, None without one.

        Raises:
            TamperedMetadataError: it does not verify, or is larger than it may be.
            RollbackAttackError: a version is older than one that was seen.
            ExpiredMetadataError: it is past its expiry at ``now``, seconds since the epoch.
            TransferError: a file did not arrive.
        """
        with _as_ours():
            self._fetcher.begin()
            updater = Updater(
                str(self._folder),
                _BASE,
                fetcher=_TufFetcher(self._fetcher),
                config=UpdaterConfig(max_root_rotations=MAX_ROOT_ROTATIONS),
                bootstrap=self._root,
            )
            # ngclient has no public clock and no public versions; a test fails loudly if this moves.
            trusted = updater._trusted_set  # noqa: SLF001
            trusted.reference_time = datetime.datetime.fromtimestamp(now, datetime.UTC)
            updater.refresh()
            found = updater.get_targetinfo(path) if path else None
            seen = Seen(trusted.root.version, trusted.timestamp.version)
            return seen, _image_target(found) if found else None


class _TufFetcher(FetcherInterface):
    """ngclient's door to the topic reader."""

    def __init__(self, fetcher: MetadataFetcher) -> None:
        self._fetcher = fetcher

    def _fetch(self, url: str) -> Iterator[bytes]:
        file = PurePosixPath(url).name
        try:
            content = self._fetcher.fetch(file)
        except MissingFile:
            raise tuf_errors.DownloadHTTPError(f"{file} is not published", 404) from None
        return iter((content,))


def _image_target(target: TargetFile) -> ImageTarget:
    """Our view of a signed target.

    Raises:
        MalformedMessageError: it has no SHA-256, or is described in another shape.
    """
    sha256 = target.hashes.get("sha256")
    if sha256 is None:
        raise MalformedMessageError(f"{target.path} has no SHA-256.")
    return ImageTarget(target.path, target.length, sha256, wire.read_custom(target.custom))


@contextlib.contextmanager
def _as_ours() -> Iterator[None]:
    """Turn tuf's exceptions into ours, most telling class first."""
    try:
        yield
    except tuf_errors.ExpiredMetadataError as error:
        raise ExpiredMetadataError(f"{error}.") from error
    except tuf_errors.BadVersionNumberError as error:
        raise RollbackAttackError(f"{error}.") from error
    except tuf_errors.DownloadLengthMismatchError as error:
        raise TamperedMetadataError(f"{error}.") from error
    except tuf_errors.DownloadError as error:
        if isinstance(error.__cause__, EdgewrightError):
            raise error.__cause__ from None
        raise BlobTimeoutError(f"Metadata did not arrive: {error}.") from error
    except (tuf_errors.RepositoryError, ValueError) as error:
        raise TamperedMetadataError(f"{error}.") from error
    except MalformedMessageError as error:
        raise TamperedMetadataError(error.sentence) from error


# ngclient logs each root that it probes for; a device's log is no place for that.
logging.getLogger("tuf").setLevel(logging.WARNING)
