"""The slow steps of a deployment, done in the one worker thread: agree, fetch, qualify, refresh.

A job is a frozen value that carries all it needs; its result is one too. The worker changes files in the
store and the TUF cache and nothing else: what a result means for a deployment is the deployer's matter.
"""

import logging
from collections.abc import Callable

import msgspec

from edgewright.agent.agreement import (
    Assignment,
    DirectorTrust,
    ImageTarget,
    Seen,
    Standing,
    verify_agreement,
    verify_fresh,
    verify_length,
    verify_manifest,
    verify_not_older,
)
from edgewright.agent.confidential import NO_KEYS, ContentKeys
from edgewright.agent.control import QualificationResult
from edgewright.agent.environments import NO_ENVIRONMENTS, Environments, verify_runtime
from edgewright.agent.fetcher import Interrupt
from edgewright.agent.fetching import VersionFetcher
from edgewright.agent.qualifier import Qualifier, device_error
from edgewright.agent.store import Store
from edgewright.agent.verifier.seam import DirectorReader, ImageCatalogue
from edgewright.wire.assignment import Orders
from edgewright.wire.errors import (
    EdgewrightError,
    RollbackAttackError,
    StorageFullError,
    TamperedArtifactError,
)
from edgewright.wire.manifest import Manifest, decode_manifest


class Agree(msgspec.Struct, frozen=True):
    """Refresh image metadata and hold the assignment against it."""

    deployment: int
    assignment: Assignment
    standing: Standing


class Fetch(msgspec.Struct, frozen=True):
    """Bring manifest, artifact and golden vectors into the store.

    Attributes:
        now: trusted time, seconds since the epoch (``Clock.now``); windows and the budget of a day go by it.
        signed: the newest time that was signed, seconds since the epoch (``Clock.floor``).
    """

    deployment: int
    target: ImageTarget
    now: float
    signed: float = 0.0


class Qualify(msgspec.Struct, frozen=True):
    """Hold the artifact against its manifest in its own process; ``orders`` may bring its content key."""

    deployment: int
    target: ImageTarget
    orders: Orders


class Refresh(msgspec.Struct, frozen=True):
    """Verify new image metadata that no assignment has asked for."""

    standing: Standing


Job = Agree | Fetch | Qualify | Refresh


class Agreed(msgspec.Struct, frozen=True):
    """Both signers name the release; ``proof`` holds the image repository's signatures over it."""

    deployment: int
    seen: Seen
    proof: bytes


class Fetched(msgspec.Struct, frozen=True):
    """Everything is in the store."""

    deployment: int
    fetched_bytes: int


class Qualified(msgspec.Struct, frozen=True):
    """Every limit holds on this device."""

    deployment: int
    result: QualificationResult


class Refreshed(msgspec.Struct, frozen=True):
    """New image metadata verified, and the director's roots followed."""

    seen: Seen
    trust: DirectorTrust


class Stale(msgspec.Struct, frozen=True):
    """The broker shows older metadata than the assignment demands: on its way, or withheld."""

    deployment: int
    error: EdgewrightError


class Stuck(msgspec.Struct, frozen=True):
    """A step ended with an error; ``deployment`` is 0 where none is concerned.

    Attributes:
        fetched_bytes: payload bytes that this try took from the network; tries of one deployment add up.
        retry_after: seconds after which the same job shall be tried again by itself: the network, the budget
            of the day or a closed window is no end of a deployment. It is told once for each name of error.
            None where another try would not help: the deployment ends.
    """

    deployment: int
    error: EdgewrightError
    fetched_bytes: int = 0
    retry_after: float | None = None


class Noted(msgspec.Struct, frozen=True):
    """Something a person should know, and the step goes on."""

    deployment: int
    error: EdgewrightError


Result = Agreed | Fetched | Qualified | Refreshed | Stale | Stuck | Noted

log = logging.getLogger(__name__)


class Workbench:
    """Does jobs.

    Args:
        repository: verified image metadata.
        director: follows the director's roots.
        fetcher: brings versions into the store.
        store: where blobs are.
        qualify: runs the qualification process.
        note: takes ``Noted`` while a job runs.
        keys: unwraps the content keys of confidential releases.
        environments: where the runtimes are.
    """

    def __init__(
        self,
        repository: ImageCatalogue,
        director: DirectorReader,
        fetcher: VersionFetcher,
        store: Store,
        qualify: Qualifier,
        note: Callable[[Noted], None],
        keys: ContentKeys = NO_KEYS,
        environments: Environments = NO_ENVIRONMENTS,
    ) -> None:
        self._repository, self._director = repository, director
        self._fetcher, self._store = fetcher, store
        self._qualify, self._note = qualify, note
        self._keys, self._environments = keys, environments

    def do(self, job: Job, interrupt: Interrupt) -> Result:
        """Do one job; an error is a result.

        Raises:
            Interrupted: the work was called off.
        """
        try:
            match job:
                case Agree():
                    return self._agree(job)
                case Fetch():
                    return self._fetch(job, interrupt)
                case Qualify():
                    return self._run_qualification(job, interrupt)
                case Refresh():
                    return self._refresh(job)
        except EdgewrightError as error:
            return Stuck(0 if isinstance(job, Refresh) else job.deployment, error)
        except OSError as error:
            full = StorageFullError(f"The data folder cannot be used: {error}.")
            return Stuck(0 if isinstance(job, Refresh) else job.deployment, full)

    def _refresh(self, job: Refresh) -> Refreshed:
        seen, _ = self._repository.refresh(job.standing.now)
        verify_not_older(seen, job.standing.seen)
        return Refreshed(seen, self._director.follow(0))

    def _agree(self, job: Agree) -> Result:
        target = job.assignment.target
        verify_length(target)
        seen, image = self._repository.refresh(job.standing.now, target.path)
        verify_not_older(seen, job.standing.seen)
        try:
            verify_fresh(job.assignment.orders, seen)
        except RollbackAttackError as error:
            return Stale(job.deployment, error)
        verify_agreement(job.assignment, image, job.standing)
        # Before a byte is fetched: without its key a confidential release is of no use here.
        self._keys.unwrap(target.custom, job.assignment.orders)
        return Agreed(job.deployment, seen, self._repository.prove(target))

    def _fetch(self, job: Fetch, interrupt: Interrupt) -> Result:
        ended = self._fetcher.fetch(
            job.target,
            lambda manifest: verify_runtime(manifest.runtime, self._environments),
            job.now,
            lambda error: self._note(Noted(job.deployment, error)),
            interrupt,
            job.signed,
        )
        if ended.error is not None:
            return Stuck(job.deployment, ended.error, ended.fetched_bytes, ended.retry_after)
        return Fetched(job.deployment, ended.fetched_bytes)

    def _manifest(self, target: ImageTarget) -> Manifest:
        manifest = decode_manifest(self._store.read(target.sha256))
        verify_manifest(manifest, target)
        return manifest

    def _run_qualification(self, job: Qualify, interrupt: Interrupt) -> Result:
        try:
            manifest = self._manifest(job.target)
            paths = [
                self._store.verified(digest)
                for digest in (job.target.sha256, manifest.artifact.sha256, manifest.golden.sha256)
            ]
        except FileNotFoundError as error:
            raise TamperedArtifactError("A file of the version is gone from the store.") from error
        content_key = self._keys.unwrap(job.target.custom, job.orders)
        result = self._qualify(paths[0], paths[1], paths[2], content_key, interrupt)
        if not result.ok:
            return Stuck(job.deployment, device_error(result.error, result.detail))
        return Qualified(job.deployment, result)
