"""What this device says is signed with its key; what it is told is acted on only with the director's seal.

Acknowledgements are signed with a key that the director's root names in its ``timestamp`` role. The keys
come with the verified root (``trust.Director``), so a rotation of the root changes who may acknowledge.
Sealing happens when a message is sent, not when it is stored: a renewed key strands nothing in the outbox.
"""

from edgewright.agent.devicekey import DeviceKey, verifies_ed25519
from edgewright.wire import messages
from edgewright.wire.errors import MalformedMessageError
from edgewright.wire.messages import Ack, Upward
from edgewright.wire.sealed import seal, unseal


class Sealer:
    """Seals and opens messages; any thread may use it.

    Attributes:
        key: the device's key; a renewed one takes its place.
        ack_keys: raw Ed25519 keys that may acknowledge; empty until the director's root was verified.
    """

    def __init__(self, key: DeviceKey) -> None:
        self.key = key
        self.ack_keys: tuple[bytes, ...] = ()

    def seal(self, body: bytes) -> bytes:
        """An encoded upward message as it travels."""
        return seal(body, "up", self.key.sign)

    def seal_message(self, message: Upward) -> bytes:
        """An upward message as it travels."""
        return self.seal(messages.encode(message))

    def open_ack(self, payload: bytes) -> Ack:
        """An acknowledgement that the controller signed.

        Raises:
            UnsignedMessageError: it is not sealed by a key of the director's ``timestamp`` role.
            MalformedMessageError: what is sealed is no acknowledgement.
        """
        message = messages.decode_down(unseal(payload, "down", self._verifies))
        if not isinstance(message, Ack):
            raise MalformedMessageError(f"A {type(message).__name__} came where acknowledgements come.")
        return message

    def _verifies(self, data: bytes, signature: bytes) -> bool:
        return any(verifies_ed25519(key, data, signature) for key in self.ack_keys)
