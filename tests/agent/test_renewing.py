"""The watch over renewals: starts the real renewing process when it is due, and tells how it ended."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.agent.configuration import read_settings
from edgewright.agent.enrolment import Request, enrol
from edgewright.agent.identity import Identity
from edgewright.agent.renewing import RenewalWatch
from edgewright.agent.settings import Settings
from edgewright.wire.errors import EdgewrightError
from tests.controller.doors import OpenDoor, opened

ROBOT = "press.left-7"
SECONDS = 30.0


@pytest.fixture
def door(tmp_path: Path) -> Iterator[OpenDoor]:
    """The fleet's door."""
    with opened(tmp_path / "controller") as door:
        yield door


@pytest.fixture
def settings(door: OpenDoor, tmp_path: Path) -> Settings:
    """Those of an enrolled device."""
    return read_settings(enrol(door.url, Request(ROBOT, "t", {}, door.token()), tmp_path / "device"))


class Watched:
    """A watch, and what it told."""

    def __init__(self, settings: Settings) -> None:
        self.identity = Identity.load(settings.folder)
        self.told: list[str] = []
        self.watch = RenewalWatch(settings, lambda: self.told.append("renewed"), self._failed)

    def until_told(self, now: float) -> None:
        """Look, as the loop does with every tick, until a renewal has ended."""
        deadline, before = time.monotonic() + SECONDS, len(self.told)
        while len(self.told) == before:
            assert time.monotonic() < deadline, "no renewal has ended"
            self.watch.watch(self.identity, now)
            time.sleep(0.02)

    def _failed(self, error: EdgewrightError) -> None:
        self.told.append(error.name)


def test_a_due_certificate_is_renewed(settings: Settings) -> None:
    """Near its end a process of its own renews it; the new identity is in force when that is told."""
    watched = Watched(settings)
    watched.until_told(watched.identity.certificate_expires - 1)
    assert watched.told == ["renewed"]
    assert Identity.load(settings.folder).folder != watched.identity.folder


def test_a_fresh_certificate_is_left_alone(settings: Settings) -> None:
    """Before its time no process is started."""
    watched = Watched(settings)
    watched.watch.watch(watched.identity, watched.identity.certificate_issued)
    assert watched.watch._process is None


def test_a_failed_renewal_is_told_once_and_waits(door: OpenDoor, settings: Settings) -> None:
    """A revoked device hears why, keeps what it has, and does not ask again with every tick."""
    watched = Watched(settings)
    door.parts.register.revoke(ROBOT, "stolen")
    late = watched.identity.certificate_expires - 1
    watched.until_told(late)
    watched.watch.watch(watched.identity, late)
    assert watched.watch._process is None
    assert watched.told == ["RenewalRefused"]
    assert Identity.load(settings.folder).folder == watched.identity.folder


def test_an_agent_that_stops_ends_its_renewal(settings: Settings) -> None:
    """No process is left behind, and an identity is in force."""
    watched = Watched(settings)
    watched.watch.watch(watched.identity, watched.identity.certificate_expires - 1)
    process = watched.watch._process
    assert process is not None
    watched.watch.stop()
    assert process.poll() is not None
    Identity.load(settings.folder)
