"""A real HTTPS door over a real register and enrolment, for tests of the device's side and of EST clients."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from edgewright.controller.api.app import create_app
from edgewright.controller.broker.probe import Address
from edgewright.controller.enrolment import Enrolment
from edgewright.controller.guests import Limits
from edgewright.controller.identity.tls import door_context
from edgewright.controller.listeners import Door, listen
from simulators.repository import RepositorySimulator
from tests.controller.parts import make_parts


class OpenDoor:
    """A door that answers.

    Attributes:
        url: its address.
        parts: the controller behind it.
        broker_port: where it says that the broker is.
        image_root, director_root: what it gives out.
    """

    def __init__(self, folder: Path, limits: Limits = Limits()) -> None:  # noqa: B008 - it cannot change
        simulator = RepositorySimulator()
        self.image_root, self.director_root = simulator.image_root, simulator.director_root
        self.broker_port = 1
        parts = make_parts(folder)
        enrolment = Enrolment(
            parts.db,
            parts.register,
            lambda host: Address(host, self.broker_port),
            lambda: self.image_root,
            lambda: self.director_root,
        )
        self.parts = replace(parts, enrolment=enrolment)
        self.authority = parts.register.authority
        listener = listen("127.0.0.1", 0, limits)
        self.url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        context = door_context(self.authority.bundle, self.authority.server)
        self.door = Door(create_app(self.parts), listener, context)

    def token(self, **bound: object) -> str:
        """A new enrolment token."""
        return self.parts.enrolment.new_token(**bound)  # type: ignore[arg-type]  # as the test says


@contextmanager
def opened(folder: Path, limits: Limits = Limits()) -> Iterator[OpenDoor]:  # noqa: B008 - it cannot change
    """A door on a new data folder; it has closed when the block is left."""
    folder.mkdir(parents=True, exist_ok=True)
    door = OpenDoor(folder, limits)
    door.door.start()
    try:
        yield door
    finally:
        door.door.stop()
        door.parts.db.close()
