"""``edgewright-agent tuf``: the agent's fetcher, clock, floors and TUF library against any HTTP repository.

The commands and their flags are the client interface of the public conformance suite of The Update Framework
(tuf-conformance, CLIENT-CLI.md), so that what runs on devices can be tried by a suite that we did not write.
The metadata folder holds, beside the trusted files, the root that was given (``enrolled``) and the journal
with its floors. One floor does not count here: a repository that was frozen before this release was built may
be looked at with a clock of its time, so the build time is left out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

from edgewright.agent.agreement import verify_not_older
from edgewright.agent.clock import Clock
from edgewright.agent.database import Database
from edgewright.agent.fetcher import METADATA_SECONDS, MetadataFetcher
from edgewright.agent.httpreader import HttpReader
from edgewright.agent.journal import Journal
from edgewright.agent.privatefiles import write_private
from edgewright.agent.trust import RepositoryCheck
from edgewright.wire.errors import (
    BlobTimeoutError,
    ConfigurationError,
    DisagreementError,
    TamperedArtifactError,
    TamperedMetadataError,
)

ENROLLED: Final = "enrolled"


class TufClient:
    """One repository.

    Args:
        folder: where trusted metadata lies.
        url: the repository's metadata.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self._folder, self._url = folder, url

    def init(self, root: Path) -> None:
        """Trust a root; nobody is asked.

        Raises:
            ConfigurationError: it cannot be read, or the folder cannot be written.
        """
        try:
            content = root.read_bytes()
            self._folder.mkdir(parents=True, exist_ok=True)
            write_private(self._folder / ENROLLED, content)
            (self._folder / "root.json").write_bytes(content)
        except OSError as error:
            raise ConfigurationError(f"The root {root} cannot be trusted: {error.strerror}.") from error

    def refresh(self) -> RepositoryCheck:
        """Verify the newest metadata.

        Raises:
            RepositoryError: it is not what was signed.
            TransferError: it did not arrive.
        """
        try:
            root = (self._folder / ENROLLED).read_bytes()
        except OSError as error:
            raise ConfigurationError(f"No root is trusted: {error.strerror}. Run init first.") from error
        database = Database(self._folder / "agent.db")
        try:
            journal = Journal(database)
            source = MetadataFetcher(HttpReader(self._url), address=str, unpack=_plain)
            check = RepositoryCheck(self._folder, root, source, Clock(journal, built=0.0).now())
            seen = check.refresh()
            verify_not_older(seen, journal.device().seen)
            journal.note_seen(seen)
        finally:
            database.close()
        return check

    def download(self, names: Sequence[str], base_url: str, folder: Path) -> None:
        """Have targets in a folder; one that is there with the signed bytes is not asked for.

        Raises:
            DisagreementError: nobody signed a target.
            RepositoryError: metadata or bytes are not what was signed.
            TransferError: something did not arrive.
        """
        check = self.refresh()
        for name in names:
            found = check.find(name)
            if found is None:
                raise DisagreementError(f"The repository does not have {name}.")
            self._fetch(check, name, found, base_url, folder / quote(name, ""))

    def _fetch(
        self, check: RepositoryCheck, name: str, found: tuple[str, int], base_url: str, path: Path
    ) -> None:
        location, length = found
        if path.exists():
            try:
                check.verify(name, path.read_bytes())
            except TamperedArtifactError:
                path.unlink()
            else:
                return
        data = HttpReader(base_url).read_file(location, length, METADATA_SECONDS)
        if data is None:
            raise BlobTimeoutError(f"{location} is not there.")
        check.verify(name, data)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, data)


def _plain(data: bytes, limit: int) -> bytes:
    """Over HTTP metadata lies as it was signed."""
    if len(data) > limit:
        raise TamperedMetadataError(f"A metadata file of {len(data)} bytes exceeds {limit}.")
    return data
