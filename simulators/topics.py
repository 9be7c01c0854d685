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
    """

    def __init__(self) -> None:
        self.retained: dict[str, bytes] = {}
        self.connected = True
        self.subscribed: list[str] = []
        self.open_at_once = 0
        self._handlers: dict[str, list[Handler]] = {}

    def publish(self, topic: str, payload: bytes) -> None:
        """Retain a message, an empty one deletes, and deliver it."""
        if payload:
            self.retained[topic] = payload
        else:
            self.retained.pop(topic, None)
        for handler in tuple(self._handlers.get(topic, ())):
            handler(payload)

    def subscribe(self, topic: str, handler: Handler, qos: int = 0) -> None:  # noqa: ARG002 - the seam has it
        """Pass the payloads of ``topic`` to ``handler``, the retained one first."""
        self.subscribed.append(topic)
        self._handlers.setdefault(topic, []).append(handler)
        self.open_at_once = max(self.open_at_once, sum(map(len, self._handlers.values())))
        if self.connected and topic in self.retained:
            handler(self.retained[topic])

    def unsubscribe(self, topic: str, handler: Handler) -> None:
        """Stop passing payloads of ``topic`` to ``handler``."""
        handlers = self._handlers.get(topic, [])
        if handler in handlers:
            handlers.remove(handler)
        if not handlers:
            self._handlers.pop(topic, None)

    def open_topics(self) -> set[str]:
        """Topics that are subscribed now."""
        return set(self._handlers)
