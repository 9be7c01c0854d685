"""What the supervisor needs of whoever verifies: in the verifier's process, or, in simulators, in this one.

``trust.Director`` and ``trust.ImageRepository`` are the two; ``process.VerifierProcess`` gives the same over
a socket. One contract test runs on both.
"""

from typing import Protocol

import msgspec

from edgewright.agent.agreement import Assignment, DirectorTrust, ImageTarget, Seen
from edgewright.agent.qualificationorder import InspectedOrder


class Inspected(msgspec.Struct, frozen=True):
    """A verified document, and the director's root that vouched for it."""

    assignment: Assignment
    trust: DirectorTrust


class DirectorReader(Protocol):
    """Verifies what the director signed; ``trust.Director`` says what each method does."""

    def inspect(self, raw: bytes, floor: int) -> Inspected:
        """The assignment in a document; ``floor`` is the newest root version that was ever trusted."""

    def inspect_order(self, raw: bytes, floor: int) -> InspectedOrder:
        """The order to measure candidates in a document."""

    def follow(self, demanded: int) -> DirectorTrust:
        """Trust newer roots."""

    @property
    def trust(self) -> DirectorTrust:
        """What the newest kept root says; nobody is asked."""


class ImageCatalogue(Protocol):
    """The image repository; ``trust.ImageRepository`` says what each method does."""

    def refresh(self, now: float, path: str | None = None) -> tuple[Seen, ImageTarget | None]:
        """Verify the newest metadata."""

    def prove(self, target: ImageTarget) -> bytes:
        """What ``vouch`` needs of a release that was refreshed."""

    def vouch(self, target: ImageTarget, proof: bytes | None) -> None:
        """Verify kept signatures over a release."""
