"""What the steps of builds and rebuilds need of the rest of the controller."""

import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from edgewright.controller.blobs import BlobStore
from edgewright.controller.compiler.protocol import DeviceAnswer
from edgewright.controller.database.engine import Database
from edgewright.controller.qualification.choice import Candidate
from edgewright.controller.rollouts.policy import Wave
from edgewright.controller.trust.documents import TargetEntry

TURN_S: Final = 0.5
"""How long one waits for another's turn before it looks whether the controller goes down."""


class Interrupted(BaseException):
    """The controller goes down in the middle of a step; the step will be done again.

    Not an ``Exception``, so that the workflow engine does not record it as the step's outcome.
    """


class Releases(Protocol):
    """The image repository, as far as a build needs it."""

    def add_release(self, entries: Sequence[TargetEntry]) -> bool:
        """Sign releases; returns whether anything changed."""
        ...

    def withdraw(self, paths: Collection[str]) -> bool:
        """Take releases back, those that wait for signatures included; returns whether anything changed."""
        ...


class Publishing(Protocol):
    """The publisher, as far as a build needs it."""

    def publish_release(self, manifest_sha256: str) -> None:
        """Publish a manifest's chunks, as far as they are not."""
        ...

    def verify_fit(self, manifest_sha256s: Iterable[str]) -> None:
        """Refuse releases that do not fit together beside what is published."""
        ...

    def publish_metadata(self) -> None:
        """Publish the repository's files."""
        ...


class Rollouts(Protocol):
    """The rollout service, as far as a rebuild needs it."""

    def create(
        self,
        model: str,
        version: int,
        selector: str = "",
        waves: Sequence[Wave] | None = None,
        reason: str = "",
    ) -> int:
        """Start a rollout; returns its number."""
        ...


class Measuring(Protocol):
    """Devices that measure candidates, as far as a build needs them."""

    def willing(self, target: str) -> list[str]:
        """Devices of a target that are asked without being named."""
        ...

    def propose(self, candidates: dict[str, str], devices: Sequence[str], *, limit_s: float) -> list[int]:
        """Have candidates measured; the numbers of the orders, the same where they are asked again."""
        ...

    def is_over(self, orders: Sequence[int]) -> bool:
        """Whether nothing more is to come."""
        ...

    def pick(self, orders: Sequence[int]) -> Candidate | None:
        """The candidate that devices have chosen; None where none passed."""
        ...

    def answers(self, orders: Sequence[int]) -> list[DeviceAnswer]:
        """What devices have measured of these orders' candidates."""
        ...

    def complaints(self, orders: Sequence[int]) -> list[str]:
        """What devices say of candidates that fail, in sentences."""
        ...


@dataclass(frozen=True)
class Context:
    """The surroundings of a step.

    Attributes:
        data: the data folder; working folders are made in it.
        measuring: None where no device is asked.
        stopping: set when the controller goes down.
        one_child: held while a child process compiles or fits; two would only take each other's processor.
        turns: held while a rebuild's work is done, by its number: one that was killed right after a person
            was asked for is recovered by the engine, beside the workflow that their approval starts.
    """

    data: Path
    db: Database
    blobs: BlobStore
    repository: Releases
    publisher: Publishing
    rollouts: Rollouts
    measuring: Measuring | None = None
    stopping: threading.Event = field(default_factory=threading.Event)
    one_child: threading.Lock = field(default_factory=threading.Lock)
    turns: dict[int, threading.Lock] = field(default_factory=dict)

    @property
    def blob_root(self) -> Path:
        """Root of the blob store, for child processes."""
        return self.data / "blobs"

    @contextmanager
    def turn(self, number: int) -> Iterator[None]:
        """Be the only one that does a rebuild's work.

        Raises:
            Interrupted: the controller goes down.
        """
        lock = self.turns.setdefault(number, threading.Lock())
        while not lock.acquire(timeout=TURN_S):
            self.pause(0)
        try:
            yield
        finally:
            lock.release()

    def pause(self, seconds: float) -> None:
        """Wait, unless the controller goes down.

        Raises:
            Interrupted: it does.
        """
        if self.stopping.wait(seconds):
            raise Interrupted
