"""What the API and the pages need of the rest of the controller; ``up.Services`` has all of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from edgewright.controller.blobs import BlobStore
from edgewright.controller.broker.report import BrokerReport
from edgewright.controller.database.engine import Database
from edgewright.controller.downloads import Places
from edgewright.controller.enrolment import EnrolmentAnswer
from edgewright.controller.evidence.version import VersionHealth
from edgewright.controller.identity.authority import Issued
from edgewright.controller.identity.register import DeviceRegister
from edgewright.controller.publisher import PublishedBlob
from edgewright.controller.rebuild.trigger import Asked
from edgewright.controller.rollouts.policy import Wave
from edgewright.controller.signing import Signing
from edgewright.controller.trust.director_seam import State


class RolloutOrders(Protocol):
    """What a person may order about rollouts; each raises a ``RequestError`` where it cannot be done."""

    def create(
        self,
        model: str,
        version: int,
        selector: str = "",
        waves: Sequence[Wave] = ...,
        reason: str = "",
    ) -> int:
        """Start a rollout; returns its number."""
        ...

    def pause(self, number: int, reason: str) -> None:
        """Assign no further device."""
        ...

    def resume(self, number: int) -> None:
        """Go on after a pause."""
        ...

    def abort(self, number: int, reason: str) -> None:
        """End it; devices on their way go back to what they ran."""
        ...

    def rollback(self, number: int) -> int:
        """Send its devices back to what they ran before; returns the number of the new rollout."""
        ...


class Enroller(Protocol):
    """Gives out one-time tokens and takes devices in."""

    def new_token(
        self, life_s: float = ..., *, device: str = ..., tags: Mapping[str, str] = ..., created_by: str = ...
    ) -> str:
        """A new one-time token."""
        ...

    def enrol(
        self,
        device: str,
        target: str,
        tags: Mapping[str, str],
        token: str,
        request: bytes,
        host: str,
        address: str,
    ) -> EnrolmentAnswer:
        """Take a device in and tell it all that it has to know."""
        ...

    def admit(
        self,
        device: str,
        target: str,
        tags: Mapping[str, str],
        token: str,
        request: bytes,
        address: str,
    ) -> tuple[Issued, dict[str, str]]:
        """Take a device in; its certificate and its tags."""
        ...


class Builds(Protocol):
    """Durable background work."""

    def enqueue_build(self, model: str, version: int) -> None:
        """Build a version that the registry holds."""
        ...

    def enqueue_rebuild(self, model: str, cause: str, asked: Asked) -> int:
        """Ask for a rebuild; returns its number, or that of the one that is under way."""
        ...

    def approve_rebuild(self, number: int, by: str) -> None:
        """Let a rebuild that waits for a person go on."""
        ...

    def cancel_rebuild(self, number: int, by: str) -> None:
        """End a rebuild that has not gone to the line."""
        ...


class Evidence(Protocol):
    """What the monitor knows."""

    def status(self, model: str) -> list[VersionHealth]:
        """The evidence of each version of a model that has any."""
        ...


class OnBroker(Protocol):
    """The publisher, as far as HTTP needs it."""

    def find_blob(self, sha256: str) -> PublishedBlob | None:
        """A blob of a release that is published now."""
        ...


class Reporting(Protocol):
    """The broker, as far as HTTP needs it."""

    def report(self) -> BrokerReport:
        """What lies there, and what it takes."""
        ...


class SignedMetadata(Protocol):
    """The image repository."""

    def files(self) -> Mapping[str, bytes]:
        """Everything that a device may ask for, by file name."""
        ...


class DirectorKeys(Protocol):
    """Who signs assignments, and how that is changed."""

    def show(self) -> State:
        """What a person may know."""
        ...

    def rotate(self, role: str, public: Sequence[str] = ..., threshold: int = ...) -> State:
        """Give a role other keys."""
        ...

    def adopt(self, request: bytes) -> State:
        """Bring signatures that were made elsewhere."""
        ...


class Measuring(Protocol):
    """What a person may order of qualification devices."""

    def order(
        self,
        model: str,
        version: int,
        target: str = "",
        devices: Sequence[str] = (),
        *,
        limit_s: float = ...,
        ordered_by: str = "",
    ) -> list[int]:
        """Have a released version measured; the numbers of the orders."""
        ...


class Services(Protocol):
    """The running controller, as far as HTTP needs it."""

    @property
    def data(self) -> Path:
        """The data folder."""
        ...

    @property
    def db(self) -> Database:
        """The database."""
        ...

    @property
    def blobs(self) -> BlobStore:
        """Content-addressed files."""
        ...

    @property
    def repository(self) -> SignedMetadata:
        """Signed metadata of all releases."""
        ...

    @property
    def publisher(self) -> OnBroker:
        """What is published."""
        ...

    @property
    def broker(self) -> Reporting:
        """The broker."""
        ...

    @property
    def downloads(self) -> Places:
        """Devices that download over HTTPS."""
        ...

    @property
    def rollouts(self) -> RolloutOrders:
        """Orders about rollouts."""
        ...

    @property
    def enrolment(self) -> Enroller:
        """Enrolment of devices."""
        ...

    @property
    def register(self) -> DeviceRegister:
        """Certificates of devices."""
        ...

    @property
    def monitor(self) -> Evidence:
        """Evidence of harm and change."""
        ...

    @property
    def director(self) -> DirectorKeys:
        """The director's keys."""
        ...

    @property
    def signing(self) -> Signing:
        """What waits for signatures, and the keys that give them."""
        ...

    @property
    def qualifications(self) -> Measuring:
        """Measuring on devices."""
        ...

    @property
    def workflows(self) -> Builds:
        """Builds and rebuilds."""
        ...
