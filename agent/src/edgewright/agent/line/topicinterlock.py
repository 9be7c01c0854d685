"""The interlock on a topic of the cell's own broker; see ``interlock``."""

from edgewright.agent.line.interlock import Broker, Moment
from edgewright.agent.link import Link
from edgewright.wire.errors import InterlockError


class TopicInterlock:
    """The newest value of a topic, for as long as the connection stands that has brought it.

    Args:
        topic: exact, no wildcard.
        word: what it says while it is safe.
        broker: where it is.
        device: this device's id.
    """

    def __init__(self, topic: str, word: str, broker: Broker, device: str) -> None:
        self._topic, self._word, self._broker = topic, word, broker
        self._value: bytes | None = None
        self._link = Link(broker.host, broker.port, f"{device}.interlock", on_lost=self._forget)
        self._link.subscribe(topic, self._take, qos=1)
        self._link.start()

    def safe(self, _moment: Moment) -> bool:
        """Whether the topic says the word.

        Raises:
            InterlockError: there is no connection, or no value has come over it.
        """
        value = self._value
        if not self._link.connected:
            host, port = self._broker
            raise InterlockError(f"The interlock's broker at {host} port {port} does not answer.")
        if value is None:
            raise InterlockError(f"The interlock's topic {self._topic} has no value.")
        return value.decode(errors="replace").strip() == self._word

    def close(self) -> None:
        """Leave the broker."""
        self._link.stop()

    def _take(self, payload: bytes) -> None:
        """Called on the network thread; an empty payload deletes the value."""
        self._value = payload or None

    def _forget(self) -> None:
        """Called on the network thread when the connection has ended."""
        self._value = None
