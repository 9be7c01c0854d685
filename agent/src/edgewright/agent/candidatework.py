"""Measuring one candidate, done in the worker's thread: fetch it within the device's budgets, run its trial.

These are two tries: whoever orders them writes down that a trial begins after its files have come.

The trial is the qualification of a deployment with less: the lowest priority, the owner's bounds on time and
memory whatever the manifest promises, no content key, and nothing after it.
"""

import logging
import time
from typing import Final

import msgspec

from edgewright.agent.agreement import ImageTarget
from edgewright.agent.control import QualificationResult
from edgewright.agent.environments import NO_ENVIRONMENTS, Environments, installed_runtime, verify_runtime
from edgewright.agent.fetcher import Interrupt
from edgewright.agent.fetching import VersionFetcher
from edgewright.agent.qualifier import Qualifier
from edgewright.agent.store import Store
from edgewright.wire.errors import EdgewrightError, StorageFullError, TamperedArtifactError
from edgewright.wire.manifest import Manifest, decode_manifest

NO_KEY: Final = b""

BYTES_SHARE: Final = 0.25
"""Of the day's bytes; the rest is there for deployments, whatever is ordered to be measured."""

log = logging.getLogger(__name__)


class Try(msgspec.Struct, frozen=True):
    """Fetch a candidate, or run its trial.

    Attributes:
        order: number of the order that asked for it.
        candidate: its manifest.
        now: trusted time, seconds since the epoch.
        signed: the newest time that was signed, likewise.
        is_trial: its files are here, and its trial is to run.
    """

    order: int
    candidate: ImageTarget
    now: float
    signed: float = 0.0
    is_trial: bool = False


class Brought(msgspec.Struct, frozen=True):
    """The files of a candidate are in the store."""

    order: int
    sha256: str


class Tried(msgspec.Struct, frozen=True):
    """How a try ended.

    Attributes:
        order, sha256: of which candidate.
        result: what the trial measured; None where there was none.
        runtime: name, version and provider that it ran on.
        error: why there was none.
        retry_after: seconds after which another try is in order; None where none would help.
        seconds: that the trial itself took.
    """

    order: int
    sha256: str
    result: QualificationResult | None = None
    runtime: str = ""
    error: EdgewrightError | None = None
    retry_after: float | None = None
    seconds: float = 0.0


class CalledOff(msgspec.Struct, frozen=True):
    """A try made room for a deployment."""

    order: int
    sha256: str


Ended = Brought | Tried | CalledOff


class CandidateBench:
    """Does tries.

    Args:
        fetcher: brings candidates into the store, as it brings versions.
        store: where they are.
        qualify: runs a trial; see the module's text.
        environments: where the runtimes are.
    """

    def __init__(
        self,
        fetcher: VersionFetcher,
        store: Store,
        qualify: Qualifier,
        environments: Environments = NO_ENVIRONMENTS,
    ) -> None:
        self._fetcher, self._store = fetcher, store
        self._qualify, self._environments = qualify, environments

    def do(self, job: Try, interrupt: Interrupt) -> Brought | Tried:
        """Do one try; an error is a result.

        Raises:
            Interrupted: it was called off.
        """
        ended = Tried(job.order, job.candidate.sha256)
        try:
            return (self._run if job.is_trial else self._fetch)(job, ended, interrupt)
        except EdgewrightError as error:
            return msgspec.structs.replace(ended, error=error)
        except OSError as error:
            full = StorageFullError(f"The data folder cannot be used: {error}.")
            return msgspec.structs.replace(ended, error=full)

    def _fetch(self, job: Try, ended: Tried, interrupt: Interrupt) -> Brought | Tried:
        fetched = self._fetcher.fetch(
            job.candidate,
            self._verify,
            job.now,
            lambda noted: log.warning("%s", noted),
            interrupt,
            job.signed,
            BYTES_SHARE,
        )
        if fetched.error is not None:
            return msgspec.structs.replace(ended, error=fetched.error, retry_after=fetched.retry_after)
        return Brought(job.order, job.candidate.sha256)

    def _run(self, job: Try, ended: Tried, interrupt: Interrupt) -> Tried:
        try:
            manifest = decode_manifest(self._store.read(job.candidate.sha256))
            digests = (job.candidate.sha256, manifest.artifact.sha256, manifest.golden.sha256)
            paths = [self._store.verified(digest) for digest in digests]
        except FileNotFoundError as error:
            raise TamperedArtifactError("A file of the candidate is gone from the store.") from error
        needed = manifest.runtime
        version = installed_runtime(needed, self._environments)
        ended = msgspec.structs.replace(ended, runtime=f"{needed.name} {version} {needed.provider}")
        began = time.monotonic()
        try:
            result = self._qualify(paths[0], paths[1], paths[2], NO_KEY, interrupt)
        except EdgewrightError as error:
            return msgspec.structs.replace(ended, error=error, seconds=time.monotonic() - began)
        return msgspec.structs.replace(ended, result=result, seconds=time.monotonic() - began)

    def _verify(self, manifest: Manifest) -> None:
        """Before the artifact is fetched: whether this device has its runtime."""
        verify_runtime(manifest.runtime, self._environments)
