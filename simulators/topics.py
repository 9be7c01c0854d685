"""Retained topics in memory: what a broker keeps, without a broker.

It is a ``Subscriber``, so the agent's own reader, fetcher and downloader run on it unchanged. Everything is
synchronous: a retained message is delivered inside ``subscribe``, a published one inside ``publish``.
"""

from collections.abc import Callable

Handler = Callable[[bytes], None]


class MemoryTopics:
    """Topics by name.

    Attributes:
        retained: what is kept; a test may change it, as an attacker on the broker may.
        connected: set False, nothing is delivered, as if the broker were away.
        subscribed: every subscription that was made, in order.
        open_at_once: most subscriptions that stood at the same time.
        received_bytes: payload bytes that were delivered.
        connections: how many there were.
    """

    def __init__(self) -> None:
        self.retained: dict[str, bytes] = {}
        self.connected = True
        self.subscribed: list[str] = []
        self.open_at_once = 0
        self.received_bytes = 0
        self.connections = 1
        self._handlers: dict[str, list[Handler]] = {}

    def publish(self, topic: str, payload: bytes) -> None:
        """Retain a message, an empty one deletes, and deliver it."""
        if payload:
            self.retained[topic] = payload
        else:
            self.retained.pop(topic, None)
        for handler in tuple(self._handlers.get(topic, ())):
            self.received_bytes += len(payload)
            handler(payload)

    def subscribe(self, topic: str, handler: Handler, qos: int = 0) -> None:  # noqa: ARG002 - the seam has it
        """Pass the payloads of ``topic`` to ``handler``, the retained one first."""
        self.subscribed.append(topic)
        self._handlers.setdefault(topic, []).append(handler)
        self.open_at_once = max(self.open_at_once, sum(map(len, self._handlers.values())))
        if self.connected and topic in self.retained:
            self.received_bytes += len(self.retained[topic])
            handler(self.retained[topic])

    def unsubscribe(self, topic: str, handler: Handler) -> None:
        """Stop passing payloads of ``topic`` to ``handler``."""
        handlers = self._handlers.get(topic, [])
        if handler in handlers:
            handlers.remove(handler)
        if not handlers:
            self._handlers.pop(topic, None)

    def reconnect(self) -> None:
        """The broker is there again: every topic is asked for anew."""
        self.connected = True
        self.connections += 1
        for topic, handlers in tuple(self._handlers.items()):
            payload = self.retained.get(topic, b"")
            for handler in tuple(handlers) if payload else ():
                self.received_bytes += len(payload)
                handler(payload)

    def open_topics(self) -> set[str]:
        """Topics that are subscribed now."""
        return set(self._handlers)
