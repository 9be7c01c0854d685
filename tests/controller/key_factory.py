"""A repository whose keys are with people, for tests of ceremonies and rotations."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import pytest

from edgewright.controller.durable import Write, write_durably
from edgewright.controller.errors import SignaturesMissingError
from edgewright.controller.trust import ceremony, requests
from edgewright.controller.trust.ceremony import Holder
from edgewright.controller.trust.keys import KeyStore, Signer
from edgewright.controller.trust.pem import public_pem
from edgewright.controller.trust.repository import ImageRepository, now_utc
from edgewright.controller.trust.requests import Request
from tests.controller.test_trust_repository import entry

THREE = ("alice", "bob", "carol")


class Factory:
    """A repository whose root and release keys are on sticks, two of three, as after a real ceremony."""

    def __init__(self, folder: Path) -> None:
        self.data, self.sticks = folder / "data", folder / "sticks"
        holders = {role: [Holder(self.stick(role, who)) for who in THREE] for role in ("root", "release")}
        left = ceremony.begin(self.data, holders["root"], holders["release"], holders["release"], (2, 2, 2))
        assert left is None
        self.repository = self.opened()

    def stick(self, role: str, who: str) -> Path:
        return self.sticks / who / f"{role}.pem"

    def signer(self, role: str, who: str) -> Signer:
        return ceremony.signer_of(self.stick(role, who))

    def opened(
        self, write: Write = write_durably, clock: Callable[[], datetime] = now_utc
    ) -> ImageRepository:
        keys = KeyStore(self.data / "keys", write)
        repository = ImageRepository(self.data / "tuf" / "image", keys, write=write, clock=clock)
        repository.ensure()
        return repository

    def signed(self, request: Request, role: str, *who: str) -> bytes:
        """The request's file as it comes back from these people."""
        return requests.encode(requests.sign(request, [self.signer(role, one) for one in who]))

    def approve(self, role: str = "release", who: Sequence[str] = ("alice", "bob")) -> None:
        """Let people sign the oldest request, one after the other."""
        for one in who:
            self.repository.import_signatures(self.signed(self.repository.requests()[0], role, one))

    def release(self, number: int, model: str = "garment-packing") -> None:
        with pytest.raises(SignaturesMissingError):
            self.repository.add_release([entry(number, model)])
        self.approve()


def pems(*signers: Signer) -> tuple[str, ...]:
    """Public keys as an order names them."""
    return tuple(public_pem(signer.public_key).decode() for signer in signers)


def kills(*moments: str) -> Iterator[tuple[int, str]]:
    """Every write of a change, each at every of these moments."""
    yield from ((at, moment) for at in range(1, 12) for moment in moments)
