"""One try to bring a version into the store; ``fetching`` says what becomes of it.

Rules:

- What is here already is hashed before a version relies on it; what is damaged comes again.
- The manifest first, at any time: one chunk, and only it says what the rest costs.
- A blob comes by a patch where patch and stored base cost less than what lacks of the blob itself; a blob
  that is nearly here is finished instead.
- A version that costs at most ``urgent_kb`` comes at once, a larger one inside the download windows.
- A version that does not fit what the day has left, but a fresh day, waits and takes nothing until then. One
  that is larger than a whole day takes each day what there is and goes on the next: what came stays.
- A patch that cannot be used is never replaced by the full blob in silence: that is reported with its bytes,
  and happens only if they fit the budget.
"""

import math
from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Final, NamedTuple

import msgspec

from edgewright.agent.agreement import ImageTarget, verify_manifest
from edgewright.agent.budget import Budget
from edgewright.agent.chunks import ChunkReader
from edgewright.agent.downloader import Downloader, Hooks
from edgewright.agent.fetcher import Interrupt
from edgewright.agent.fetchplan import Way, cheapest_way
from edgewright.agent.patches import apply_patch
from edgewright.agent.schedule import DayWindow, closing, is_open, next_opening
from edgewright.agent.store import Store
from edgewright.agent.transfer import Limits, Postponed, Transfer
from edgewright.wire.errors import (
    BlobTimeoutError,
    ByteBudgetError,
    EdgewrightError,
    FullBlobRefusedError,
    PatchBaseError,
    StorageFullError,
    TamperedArtifactError,
    TransferError,
    WaitingForWindowError,
)
from edgewright.wire.manifest import CHUNK_BYTES, Blob, Manifest, Patch, decode_manifest

PATCH_TRIES: Final = 2
"""Tries in which a patch did not arrive before it counts as one that cannot be had."""

Note = Callable[[EdgewrightError], None]
Check = Callable[[Manifest], None]


class Policy(msgspec.Struct, frozen=True):
    """When and how fast versions are fetched.

    Attributes:
        limits: of a try.
        windows: times of day for large versions; none for any time.
        urgent_bytes: what a version may take to be fetched at any time.
    """

    limits: Limits = Limits()
    windows: tuple[DayWindow, ...] = ()
    urgent_bytes: int = 256 * 1024


class Means(NamedTuple):
    """What every try works with.

    Attributes:
        chunks: where they come from.
        store: where they go.
        policy: when and how fast.
        budget: what a day may take.
        want: asks the controller to publish chunks again.
        zone: the device's time zone.
    """

    chunks: ChunkReader
    store: Store
    policy: Policy
    budget: Budget
    want: Callable[[tuple[str, ...]], None]
    zone: tzinfo


class Misses:
    """Patches that did not help, by their digest, as long as the process lives."""

    def __init__(self) -> None:
        self._tries: dict[str, int] = {}

    def missed(self, patch: Patch) -> bool:
        """A patch did not arrive; whether that was its last chance."""
        tries = self._tries[patch.blob.sha256] = self._tries.get(patch.blob.sha256, 0) + 1
        return tries >= PATCH_TRIES

    def useless(self, patch: Patch) -> None:
        """A patch cannot be used."""
        self._tries[patch.blob.sha256] = PATCH_TRIES

    def hopeful(self, patches: tuple[Patch, ...]) -> list[Patch]:
        """Those that may still help."""
        return [patch for patch in patches if self._tries.get(patch.blob.sha256, 0) < PATCH_TRIES]


class Attempt:
    """One try.

    Args:
        means: what it works with; the budget has begun.
        misses: patches that did not help before.
        now: trusted time, seconds since the epoch.
        note: takes what a person should know meanwhile.
        interrupt: answers True when the work is called off.
        active: seconds that earlier tries have taken.

    Attributes:
        transfer: its bounds.
    """

    def __init__(
        self, means: Means, misses: Misses, now: float, note: Note, interrupt: Interrupt, active: float
    ) -> None:
        self._means, self._misses, self._note = means, misses, note
        self._store, self._budget = means.store, means.budget
        self._now, self._began = now, means.budget.uptime()
        self._closes = math.inf
        self._need = CHUNK_BYTES
        self.transfer = Transfer(means.policy.limits, interrupt, self._fits, self._budget.spend)
        self.transfer.active = active
        self._downloader = Downloader(means.chunks, self._store, Hooks(means.want, note), self.transfer)

    @property
    def fetched_bytes(self) -> int:
        """Payload bytes that it has taken from the network, wrong ones included."""
        return self._downloader.fetched_bytes

    def run(self, target: ImageTarget, check: Check) -> None:
        """Have manifest, artifact and golden vectors in the store.

        Args:
            target: the manifest.
            check: raises where this device cannot run what it describes.

        Raises:
            Postponed: it is not the time, or the bytes of the day do not suffice.
            FullBlobRefusedError: a patch cannot be used, and the full blob does not fit the day's bytes.
            EdgewrightError: what ``check`` says, and see ``Downloader.fetch``.
            Interrupted: the work was called off.
        """
        self._look_at(target.sha256)
        self._downloader.fetch(Blob(target.sha256, target.length, (target.sha256,)))
        manifest = decode_manifest(self._store.read(target.sha256))
        verify_manifest(manifest, target)
        check(manifest)
        for blob in (manifest.artifact, manifest.golden):
            self._look_at(blob.sha256)
        wanted = [(manifest.artifact, manifest.patches), (manifest.golden, manifest.golden_patches)]
        ways = [self._way(blob, patches) for blob, patches in wanted]
        self._demand(sum(way.length for way in ways))
        for way in ways:
            self._bring(way)

    def close(self) -> None:
        """Count the last bytes."""
        self.transfer.account(self._means.chunks.received)

    def _look_at(self, digest: str) -> None:
        """Hash a file that is here already, perhaps for long: a damaged one is removed, told, and fetched."""
        try:
            if self._store.has(digest):
                self._store.verified(digest)
        except TamperedArtifactError as error:
            self._note(error)

    def _way(self, blob: Blob, patches: tuple[Patch, ...]) -> Way:
        hopeful = self._misses.hopeful(patches)
        return cheapest_way(blob, hopeful, self._store.digests(), self._store.lacking_bytes)

    def _bring(self, way: Way) -> None:
        if way.patch is not None and self._patched(way.blob, way.patch):
            return
        self._downloader.fetch(way.blob)

    def _patched(self, blob: Blob, patch: Patch) -> bool:
        """Make a blob by its patch; False where the full blob has to come and may."""
        try:
            self._downloader.fetch(patch.blob)
            apply_patch(self._store, patch, blob)
        except BlobTimeoutError as error:
            if not self._misses.missed(patch):
                raise
            self._allow_full(blob, error)
        except StorageFullError:
            raise
        except (PatchBaseError, TamperedArtifactError) as error:
            self._misses.useless(patch)
            self._allow_full(blob, error)
        else:
            return True
        return False

    def _allow_full(self, blob: Blob, cause: TransferError | TamperedArtifactError) -> None:
        """Report that the full blob comes in a patch's place, if it may."""
        length = self._store.lacking_bytes(blob)
        if self._budget.limit and length > self._budget.left:
            said = f"The full blob's {length} bytes do not fit: {max(0, self._budget.left)} are left today."
            raise FullBlobRefusedError(f"{cause.sentence} {said}")
        self._note(PatchBaseError(f"{cause.sentence} The full blob is fetched instead: {length} bytes."))
        self._demand(length)

    def _demand(self, need: int) -> None:
        """Wait, before anything is taken, where so many bytes shall not be fetched now."""
        self._need = need
        policy, budget = self._means.policy, self._budget
        large = need > policy.urgent_bytes
        local = self._local()
        if large and not is_open(policy.windows, local):
            raise self._closed(local)
        closes = closing(policy.windows, local) if large else None
        self._closes = closes.timestamp() if closes else math.inf
        if budget.limit and budget.left < need <= budget.limit:
            left = max(0, budget.left)
            self._exceeded(ByteBudgetError(f"The version takes {need} bytes, and {left} are left today."))

    def _fits(self, length: int) -> None:
        """See ``transfer.Fits``."""
        local = self._local()
        if local.timestamp() >= self._closes:
            raise self._closed(local)
        try:
            self._budget.demand(length)
        except ByteBudgetError as error:
            self._exceeded(error)

    def _local(self) -> datetime:
        """Now; time in standby has passed too."""
        return datetime.fromtimestamp(self._now + self._budget.uptime() - self._began, self._means.zone)

    def _exceeded(self, error: ByteBudgetError) -> None:
        lacking = max(CHUNK_BYTES, self._need - self.fetched_bytes)
        raise Postponed(error, max(1.0, self._budget.seconds_until(lacking))) from error

    def _closed(self, local: datetime) -> Postponed:
        opens = next_opening(self._means.policy.windows, local)
        return Postponed(
            WaitingForWindowError(f"{self._need} bytes wait for {opens:%Y-%m-%d %H:%M %Z}."),
            max(1.0, opens.timestamp() - local.timestamp()),
        )
