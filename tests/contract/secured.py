"""Brokers that admit certificates of a fleet only, as the controller configures them, on loopback."""

import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from edgewright.agent.devicekey import DeviceKey
from edgewright.agent.identity import Identity, save
from edgewright.agent.link import Link
from edgewright.controller.broker import nats
from edgewright.controller.broker.access import Admitted
from edgewright.controller.broker.embedded import EmbeddedBroker, Security
from edgewright.controller.broker.external import BrokerFiles
from edgewright.controller.broker.probe import Address, accepts_connect
from edgewright.controller.identity import certificates
from edgewright.controller.identity.authority import CONTROLLER, DEVICE_LIFE, CertificateAuthority
from edgewright.controller.identity.certificates import Revoked
from edgewright.controller.identity.tls import TlsContext, client_context
from edgewright.controller.link import BrokerLink
from tests.contract.brokers import MosquittoBroker, free_port

HANG_S = 30.0


class Secured(ABC):
    """A broker, its fleet's authority, and the devices that were enrolled.

    Attributes:
        address: where it answers.
        authority: whose certificates it admits.
    """

    address: Address

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = CertificateAuthority(folder / "ca")
        self.authority.ensure()
        self.admitted: dict[str, Admitted] = {}
        self.revoked: list[Revoked] = []
        self._serials: dict[str, int] = {}

    @abstractmethod
    def start(self) -> None:
        """Start the broker."""

    @abstractmethod
    def stop(self) -> None:
        """End the broker."""

    @abstractmethod
    def refresh(self) -> None:
        """Let it know who is admitted."""

    @abstractmethod
    def end(self, device: str) -> None:
        """End a revoked device's connection, where it does not by itself."""

    @property
    def own(self) -> TlsContext:
        """What the controller speaks."""
        return client_context(self.authority.bundle, self.authority.controller)

    def enrol(self, device: str, *, age: timedelta = timedelta()) -> Identity:
        """A new identity of a device, in force; issued that long ago."""
        key, data = DeviceKey.generate(), self.folder / "devices" / device
        public = key.private.public_key()
        issuing = self.authority._authority()
        now = datetime.now(UTC) - age
        names = certificates.key_names(public)
        made = certificates.make_leaf(issuing, public, device, names, certificates.CLIENT, now, DEVICE_LIFE)
        chain = certificates.pem_of(made) + certificates.pem_of(issuing.certificate)
        save(data, device, key, certificates=chain, authority=self.authority.root_pem.encode())
        self.admitted[device] = Admitted(device, names[0].value.rpartition(":")[2])
        self._serials[device] = made.serial_number
        self.refresh()
        return Identity.load(data)

    def revoke(self, device: str) -> None:
        """Refuse a device from now on."""
        del self.admitted[device]
        self.revoked.append(Revoked(self._serials[device], datetime.now(UTC).timestamp()))
        self.refresh()
        self.end(device)

    def link(self, identity: Identity, **callbacks: Callable[[], object]) -> Link:
        """The device's real link, not started."""
        host, port = self.address
        return Link(host, port, identity.device, identity=lambda: identity, tls=True, **callbacks)  # type: ignore[arg-type]  # as the test says

    def controller(self) -> BrokerLink:
        """The controller's real link, not started."""
        return BrokerLink(*self.address, CONTROLLER, self.own)


class SecuredNats(Secured):
    """The embedded broker."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        own = self.own
        security = Security(
            "127.0.0.1",
            self.authority.server,
            self.authority.bundle,
            lambda: own,
            lambda: nats.users_file(self.authority.controller_key_sha256(), self.admitted.values()),
        )
        self._broker = EmbeddedBroker(folder / "broker", security)

    def start(self) -> None:
        self.address = self._broker.start()

    def stop(self) -> None:
        self._broker.stop()

    def refresh(self) -> None:
        self._broker.reload()

    def end(self, device: str) -> None:
        del device


class SecuredMosquitto(Secured):
    """A site's mosquitto with the files that ``edgewright broker config`` writes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.address = Address("127.0.0.1", free_port())
        self._files = BrokerFiles(folder / "site", self.authority, list)
        self._files.write("mosquitto", self.address.host, self.address.port, ["127.0.0.1"])
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = MosquittoBroker.command_for(self._files.folder / "mosquitto.conf")
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(HANG_S)

    def refresh(self) -> None:
        self.authority.publish_revoked(self.revoked)
        self._files.refresh()

    def end(self, device: str) -> None:
        self._files.take_over(device, self.address)


KINDS: dict[str, type[Secured]] = {"nats": SecuredNats, "mosquitto": SecuredMosquitto}


@contextmanager
def secured(kind: str, folder: Path) -> Iterator[Secured]:
    """A running secured broker; it has ended when the block is left."""
    broker = KINDS[kind](folder)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


def answers(broker: Secured) -> bool:
    """Whether it answers the controller."""
    return accepts_connect(broker.address, broker.own)
