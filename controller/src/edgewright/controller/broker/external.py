"""A site's own broker: the files that it reads, written into one folder and kept up to date.

Where broker and controller share a machine, a change is followed by SIGHUP to the process that the broker
wrote into ``broker.pid``. Elsewhere somebody has to carry the files over; the log says so.

A revoked device's connection to mosquitto is ended by taking its place: the controller makes itself a
certificate with that name for one minute and connects (MQTT 3.1.1, section 3.1.4: the server disconnects the
client that has the same id). The revocation list keeps the device out from then on.
"""

import logging
import os
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal

from edgewright.controller.broker import mosquitto, nats
from edgewright.controller.broker.access import Admitted
from edgewright.controller.broker.probe import Address, accepts_connect
from edgewright.controller.broker.report import BrokerProcess
from edgewright.controller.durable import write_durably
from edgewright.controller.errors import BrokerNotToldError, BrokerStartError
from edgewright.controller.identity.authority import CONTROLLER, CertificateAuthority
from edgewright.controller.identity.tls import client_context

Kind = Literal["mosquitto", "nats"]

PID_FILE: Final = "broker.pid"
TAKEOVERS: Final = 2
TAKEOVER_PAUSE_S: Final = 0.5
"""The second one ends a connection that was made while the broker was still reading its new list."""

logger = logging.getLogger(__name__)


class BrokerFiles:
    """The folder of a site's broker.

    Args:
        folder: where the files lie; mode 0700, for the server's key is among them.
        authority: makes the server's certificate.
        users: everybody whom the broker admits.
    """

    def __init__(
        self, folder: Path, authority: CertificateAuthority, users: Callable[[], Sequence[Admitted]]
    ) -> None:
        self.folder = folder.absolute()
        self._authority = authority
        self._users = users

    @property
    def kind(self) -> Kind:
        """Which broker they are for.

        Raises:
            BrokerStartError: nobody has written them.
        """
        for kind in ("mosquitto", "nats"):
            if (self.folder / f"{kind}.conf").exists():
                return kind
        raise BrokerStartError(
            f"{self.folder} holds no broker's files: write them with `edgewright broker config`."
        )

    def write(self, kind: Kind, host: str, port: int, names: Sequence[str]) -> None:
        """Write everything that a broker needs.

        Args:
            kind: the broker.
            host: address on which it listens; empty for all.
            port: its port.
            names: host names and addresses by which devices reach it.
        """
        (self.folder / "store").mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(self.folder / "server.pem", self._authority.issue_server(names))
        write_durably(self.folder / "ca.pem", self._authority.bundle.read_bytes())
        if kind == "mosquitto":
            text = mosquitto.configuration(self.folder, host, port)
            write_durably(self.folder / "acl", mosquitto.access_list(CONTROLLER).encode())
        else:
            block = nats.tls_block(self.folder / "server.pem", self.folder / "ca.pem")
            text = nats.configuration(self.folder, host or "0.0.0.0", port, block, nats.USERS_BLOCK)  # noqa: S104 - asked for
        self._write_lists(kind)
        write_durably(self.folder / f"{kind}.conf", text.encode())

    def refresh(self) -> None:
        """Write the lists anew, and let the broker read them."""
        self._write_lists(self.kind)
        server = self._authority.renewed_server(self.folder / "server.pem")
        if server:
            write_durably(self.folder / "server.pem", server)
        try:
            os.kill(int((self.folder / PID_FILE).read_text()), signal.SIGHUP)
        except (OSError, ValueError):
            logger.warning(
                "The lists in %s have changed and no broker runs there: copy them to it and send it SIGHUP.",
                self.folder,
            )

    def process(self) -> BrokerProcess:
        """The broker, with its process where it runs on this machine."""
        try:
            pid: int | None = int((self.folder / PID_FILE).read_text())
        except (OSError, ValueError):
            pid = None
        return BrokerProcess(self.kind, pid)

    def take_over(self, device: str, address: Address) -> None:
        """End the connection of a revoked device, on a broker that does not do it by itself.

        Raises:
            BrokerNotToldError: the broker could not be reached, so the connection may still stand.
        """
        if self.kind == "nats":
            return
        for attempt in range(TAKEOVERS):
            if attempt:
                time.sleep(TAKEOVER_PAUSE_S)
            with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".pem") as shown:  # mode 0600
                shown.write(self._authority.issue_takeover(device))
                shown.flush()
                context = client_context(self._authority.bundle, Path(shown.name))
            if not accepts_connect(address, context):
                raise BrokerNotToldError(f"The connection of {device} could not be ended.")

    def _write_lists(self, kind: Kind) -> None:
        if kind == "mosquitto":
            write_durably(self.folder / "crl.pem", self._authority.revocation_lists.read_bytes())
        else:
            text = nats.users_file(self._authority.controller_key_sha256(), self._users())
            write_durably(self.folder / nats.USERS_FILE, text.encode())
