"""Subscribing to topics: the seam between those who read them and the link, free of any MQTT library.

The verifier's process knows this seam through the readers of metadata, and speaks to no broker.
"""

from collections.abc import Callable
from typing import Protocol

Handler = Callable[[bytes], None]


class Subscriber(Protocol):
    """What readers need of a link; memory and MQTT implement it."""

    @property
    def connected(self) -> bool:
        """Whether a subscription can be answered now."""

    @property
    def connections(self) -> int:
        """How many there were; with each new one every topic is asked for again."""

    @property
    def received_bytes(self) -> int:
        """Bytes that came from the network since ever, whatever they were, part of a message included."""

    def subscribe(self, topic: str, handler: Handler, qos: int = 0) -> None:
        """Pass every payload of ``topic`` to ``handler``, the retained one first."""

    def unsubscribe(self, topic: str, handler: Handler) -> None:
        """Stop passing payloads of ``topic`` to ``handler``."""
