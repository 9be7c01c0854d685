"""The device's one connection to the broker: the only file of the agent that imports paho.

Rules:

- MQTT 3.1.1. Every connection is a fresh paho client with a clean session, so nothing of an old connection
  leaks into a new one: what has to survive lives in the outbox, and subscriptions are made again here.
- One thread touches the socket, the network thread: a TLS connection is no place for two.
- Nothing blocks the caller. Handlers run on the network thread and hand over at once.
- An unreachable broker is one clear warning for each outage; the link keeps trying with jittered,
  exponential pauses (a broker that restarts is not met by its whole fleet in the same instant).
- All subscriptions are exact topics, no wildcards.
- A packet that is announced as larger than any of ours ends the connection before memory is taken for it.
- Each connection reads the identity again, so a renewed certificate is shown by the next one (``reconnect``).
"""

import contextlib
import logging
import random
import socket
import threading
from collections.abc import Callable
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edgewright.agent.backoff import pauses
from edgewright.agent.identity import Identity
from edgewright.agent.subscriber import Handler
from edgewright.wire.errors import BrokerUnreachableError, IdentityError

KEEPALIVE_SECONDS: Final = 20
FAREWELL_SECONDS: Final = 0.5
"""For the last message, and again for the end of the connection."""

INFLIGHT_MESSAGES: Final = 64
"""paho's default of 20 caps QoS 1 at 20 messages a round trip; 64 is the outbox's window."""

MAX_PACKET_BYTES: Final = 2 * 1024 * 1024 + 64 * 1024
"""The broker's limit of a payload, and a topic. MQTT allows 256 MiB, which took 804 MiB of memory here."""

log = logging.getLogger(__name__)


class Link:
    """A connection that comes back by itself.

    Args:
        host, port: the broker.
        device: its id; without an identity it is the client id, of which a broker lets one connection live.
        identity: called for each connection; what the device shows and which client id it uses.
        tls: whether to speak TLS with that identity.
        will: called for each connection; topic and payload of its last will.
        on_connected: called on the network thread once subscriptions have been sent again.
        on_lost: called on the network thread when a connection that stood has ended.
    """

    def __init__(
        self,
        host: str,
        port: int,
        device: str,
        *,
        identity: Callable[[], Identity] | None = None,
        tls: bool = False,
        will: Callable[[], tuple[str, bytes]] | None = None,
        on_connected: Callable[[], None] = lambda: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._host, self._port, self._device = host, port, device
        self._identity, self._tls = identity, tls
        self._will = will
        self._on_connected, self._on_lost = on_connected, on_lost
        self._handlers: dict[str, tuple[int, tuple[Handler, ...]]] = {}
        self._lock = threading.Lock()
        self._client: mqtt.Client | None = None
        self._connected = False
        self._connections = self._received_bytes = 0
        self._renewing = False
        self._warned = False
        self._stopping = threading.Event()
        self._pauses = pauses(random.Random())  # noqa: S311 - jitter is no secret
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted the current connection."""
        return self._connected

    @property
    def connections(self) -> int:
        """See ``Subscriber``."""
        return self._connections

    @property
    def received_bytes(self) -> int:
        """See ``Subscriber``; without TCP's and TLS's own."""
        return self._received_bytes

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._thread.start()

    def stop(self, farewell: tuple[str, bytes] | None = None) -> None:
        """Publish a last message, disconnect so that the broker drops the will, and end the thread."""
        client = self._client
        if farewell and client is not None and self._connected:
            sent = client.publish(*farewell, qos=1)
            with contextlib.suppress(RuntimeError, ValueError):
                sent.wait_for_publish(timeout=FAREWELL_SECONDS)
        self._stopping.set()
        if client is not None:
            client.disconnect()
        if self._thread.is_alive():
            self._thread.join(timeout=FAREWELL_SECONDS)

    def reconnect(self) -> None:
        """End the connection that stands, so that the next one reads the identity again; may be called
        on any thread. What is lost with it is sent again by the outbox.
        """
        client = self._client
        if client is not None and self._connected:
            self._renewing = True
            client.disconnect()

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:
        """Hand a message to the connection; False, and nothing is kept, while there is none."""
        client = self._client
        if client is None or not self._connected:
            return False
        return client.publish(topic, payload, qos=qos, retain=retain).rc == mqtt.MQTT_ERR_SUCCESS

    def deliver(self, topic: str, payload: bytes, timeout_s: float) -> bool:
        """Publish at QoS 1 and wait for the broker's acknowledgement; False without one.

        Never to be called on the network thread, which has to turn for it.
        """
        client = self._client
        if client is None or not self._connected:
            return False
        with contextlib.suppress(RuntimeError, ValueError):
            sent = client.publish(topic, payload, qos=1)
            sent.wait_for_publish(timeout_s)
            return sent.is_published()
        return False

    def subscribe(self, topic: str, handler: Handler, qos: int = 0) -> None:
        """Pass every payload of ``topic`` to ``handler``, the retained one first, over reconnects too.

        The broker is asked even if the topic is subscribed already: MQTT 3.1.1 section 3.8.4 makes it send
        the retained message again.
        """
        with self._lock:
            old_qos, handlers = self._handlers.get(topic, (0, ()))
            self._handlers[topic] = (max(qos, old_qos), (*handlers, handler))
            if self._client is not None and self._connected:
                self._client.subscribe(topic, max(qos, old_qos))

    def unsubscribe(self, topic: str, handler: Handler) -> None:
        """Stop passing payloads of ``topic`` to ``handler``; others keep theirs."""
        with self._lock:
            qos, handlers = self._handlers.get(topic, (0, ()))
            rest = tuple(other for other in handlers if other != handler)
            if rest:
                self._handlers[topic] = (qos, rest)
            elif self._handlers.pop(topic, None) and self._client is not None and self._connected:
                self._client.unsubscribe(topic)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._connect_once()
            except IdentityError as error:
                self._warn(error.sentence)
            except (OSError, UnicodeError) as error:  # a failed handshake of TLS; a name that IDNA refuses
                self._warn(str(error))
            self._ended()
            self._stopping.wait(next(self._pauses))

    def _connect_once(self) -> None:
        """One connection, from its first byte to its end."""
        client = self._new_client()
        self._client = client
        client.connect(self._host, self._port, keepalive=KEEPALIVE_SECONDS)
        if self._stopping.is_set():
            return
        while client.loop() == mqtt.MQTT_ERR_SUCCESS:
            pass  # Woken at once by whoever publishes; paho's loop_forever is not, in a thread of ours.
        if not self._connected and not self._stopping.is_set():
            # TLS 1.3 tells a client that its certificate is refused only after its own handshake is done.
            self._warn("the connection was closed before it was accepted; is this device revoked?")

    def _new_client(self) -> mqtt.Client:
        identity = self._identity() if self._identity else None
        client = _BoundedClient(
            CallbackAPIVersion.VERSION2,
            client_id=identity.client_id if identity else self._device.replace(".", "~"),
            protocol=mqtt.MQTTv311,
            clean_session=True,
            reconnect_on_failure=False,
        )
        client.took = self._count_received
        if identity and self._tls:
            client.tls_set_context(identity.tls_context())
        client.max_inflight_messages_set(INFLIGHT_MESSAGES)
        client.on_socket_open = _set_no_delay
        # With this callback paho leaves each write to the network thread. Without it, and with a thread that
        # is not paho's own, the caller writes: two threads in one TLS connection corrupt its memory.
        client.on_socket_register_write = _leave_to_the_network_thread
        client.on_connect = self._connected_to
        client.on_message = self._deliver
        if self._will is not None:
            topic, payload = self._will()
            client.will_set(topic, payload, qos=1)
        return client

    def _connected_to(
        self, client: mqtt.Client, _data: Any, _flags: Any, code: Any, _properties: Any
    ) -> None:
        if code.is_failure:
            self._warn(str(code))
            return
        with self._lock:
            self._connected = True
            self._connections += 1
            for topic, (qos, _) in self._handlers.items():
                client.subscribe(topic, qos)
        self._pauses = pauses(random.Random())  # noqa: S311 - jitter is no secret
        log.info("Connected to the broker at %s port %d.", self._host, self._port)
        self._warned = False
        self._on_connected()

    def _count_received(self, length: int) -> None:
        self._received_bytes += length

    def _deliver(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        with self._lock:
            _, handlers = self._handlers.get(message.topic, (0, ()))
        for handler in handlers:
            handler(bytes(message.payload))

    def _ended(self) -> None:
        with self._lock:
            stood, self._connected = self._connected, False
        if stood and not self._stopping.is_set():
            if not self._renewing:
                self._warn("the connection was lost")
            self._renewing = False
            self._on_lost()

    def _warn(self, cause: str) -> None:
        if not self._warned:
            self._warned = True
            log.warning(
                "%s", BrokerUnreachableError(f"No broker at {self._host} port {self._port}: {cause}.")
            )


class _BoundedClient(mqtt.Client):
    """A client that takes no packet above ``MAX_PACKET_BYTES``, and tells how many bytes came."""

    took: Callable[[int], None] = staticmethod(lambda _length: None)

    def _sock_recv(self, bufsize: int) -> bytes:
        # paho has no limit and no public place for one. It asks for a packet's whole rest at once, so this is
        # the size that the packet has announced; the test of it fails loudly if that moves.
        if bufsize > MAX_PACKET_BYTES:
            log.warning("The broker announced a packet of %d bytes; the connection is closed.", bufsize)
            raise ConnectionAbortedError("a packet is larger than any may be")
        data = super()._sock_recv(bufsize)
        self.took(len(data))
        return data


def _leave_to_the_network_thread(_client: mqtt.Client, _data: Any, _opened: Any) -> None:
    """Something waits to be written; paho has woken its loop already."""


def _set_no_delay(_client: mqtt.Client, _data: Any, opened: Any) -> None:
    """Send small packets at once: measured 70 times more throughput with chunks in lock step."""
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
