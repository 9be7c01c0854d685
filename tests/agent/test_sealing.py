"""What goes up is sealed by the device; what comes down counts only with the director's seal."""

from pathlib import Path

import pytest

from edgewright.agent.devicekey import DeviceKey
from edgewright.agent.sealing import Sealer
from edgewright.wire import messages
from edgewright.wire.errors import MalformedMessageError, UnsignedMessageError
from edgewright.wire.messages import Goodbye, Report
from edgewright.wire.sealed import unseal
from simulators.device import DeviceStub
from simulators.repository import RepositorySimulator, StolenKeys
from tests.devicekeys import verifier

GOODBYE = Goodbye(device="robot-1", connected_at=1.0, reason="stopped")


def test_upward_messages_carry_the_devices_seal() -> None:
    """A message is what it was once the device's key has verified it; a renewed key signs from then on."""
    sealer = Sealer(DeviceKey.generate())
    for key in (sealer.key, DeviceKey.generate()):
        sealer.key = key
        assert messages.decode_up(unseal(sealer.seal_message(GOODBYE), "up", verifier(key))) == GOODBYE


@pytest.fixture
def device(tmp_path: Path) -> DeviceStub:
    """A device with one message that waits."""
    device = DeviceStub(RepositorySimulator(), tmp_path).start()
    device.outbox.put(Report(device="", stream="", seq=0, sent_at=0.0, name="Waiting"), 0.0)
    device.send()
    return device


def test_an_acknowledgement_of_the_director_counts(device: DeviceStub) -> None:
    """What the acknowledgement key signs makes room in the outbox."""
    device.hear_ack(device.simulator.acknowledge(device.outbox.stream, 1))
    assert device.outbox.waiting == 0


def test_an_acknowledgement_of_anybody_else_is_dropped(device: DeviceStub) -> None:
    """Unsealed, or sealed by a made-up key or the director's own: nothing is forgotten. UnsignedMessage."""
    stream, simulator = device.outbox.stream, device.simulator
    unsealed = messages.encode(messages.Ack(stream=stream, through=1))
    for keys in (StolenKeys.made_up(), simulator.steal("director"), None):
        device.hear_ack(simulator.acknowledge(stream, 1, keys=keys) if keys else unsealed)
    assert device.outbox.waiting >= 1
    assert device.names().count("UnsignedMessage") == 3


def test_a_new_director_root_names_who_may_acknowledge(device: DeviceStub) -> None:
    """After a rotation the old acknowledgement key says nothing any more, the new one does."""
    stolen = device.simulator.steal("acknowledge")
    device.simulator.rotate_director()
    device.simulator.renew()
    device.read_topics()
    stream = device.outbox.stream
    device.hear_ack(device.simulator.acknowledge(stream, 1, keys=stolen))
    waiting = device.outbox.waiting
    device.hear_ack(device.simulator.acknowledge(stream, 1))
    assert device.outbox.waiting == waiting - 1


def test_only_acknowledgements_come_sealed(device: DeviceStub) -> None:
    """Another message under a good seal is refused as malformed."""
    head = messages.encode(messages.Head(root=1))
    with pytest.raises((MalformedMessageError, UnsignedMessageError)):
        device.sealer.open_ack(head)
