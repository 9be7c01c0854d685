"""A real agent beside the real embedded broker, over TLS with certificates of the fleet's authority.

Its processes find the byte code of their modules on the disk, as an installation by wheels leaves it there
(pip compiles what it installs); a variable that keeps Python from writing it is taken away.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgewright.agent.configuration import format_settings
from edgewright.agent.identity import save
from edgewright.agent.settings import BrokerSettings
from edgewright.controller.identity.authority import CONTROLLER
from edgewright.wire.messages import Hello
from tests.agent.agent_rig import DEVICE, TARGET, AgentRig, ControllerHand
from tests.contract.secured import SecuredNats


class TimedHand(ControllerHand):
    """A controller's side that notes when things came.

    Attributes:
        hello_at: monotonic time of the newest hello.
        raw_at: of the newest message that is not sealed.
    """

    hello_at = raw_at = 0.0

    def _hear(self, client: object, data: object, message: object) -> None:
        now = time.monotonic()
        if message.payload == b"hello":  # type: ignore[attr-defined]  # paho's message
            self.raw_at = now
            return
        before = len(self.of(Hello))
        super()._hear(client, data, message)  # type: ignore[arg-type]  # as paho calls it
        if len(self.of(Hello)) > before:
            self.hello_at = now


@contextmanager
def secured_agent(folder: Path) -> Iterator[tuple[AgentRig, TimedHand, SecuredNats]]:
    """A started agent that speaks TLS, and its controller."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    broker = SecuredNats(folder / "site")
    broker.start()
    identity = broker.enrol(DEVICE)
    controller = TimedHand(broker.address, client_id=CONTROLLER, tls=broker.own)
    agent = AgentRig(folder / "agent", broker.address, controller.simulator, identity.key)
    certificates = (identity.folder / "cert.pem").read_bytes()
    authority = (identity.folder / "ca.pem").read_bytes()
    save(agent.folder, DEVICE, identity.key, certificates=certificates, authority=authority)
    address = BrokerSettings(broker.address.host, broker.address.port)
    agent.config.write_text(format_settings(DEVICE, TARGET, {}, agent.folder, address))
    controller.device_key = identity.key
    try:
        agent.start()
        yield agent, controller, broker
    finally:
        agent.stop()
        controller.close()
        broker.stop()
