"""The controller's connection to the broker: the only file of the controller that imports paho.

The rules:

* MQTT 3.1.1, one clean session. What has to survive lies on retained topics or in the devices' outboxes,
  never in a broker's session: some brokers forget those.
* Subscriptions are made again at each connection, before ``on_connected`` is called.
* Callbacks run on the network thread. They hand over and return; they must never wait for a delivery.
* A QoS 1 message that is published without a connection is kept and sent when there is one; the queue is
  bounded, and a message that does not fit raises instead of disappearing.
* Reconnects are jittered: a broker that comes back is met by the whole fleet at once.
* ``publish_paced`` is for chunks: at most ``PACED_WINDOW`` of them, and ``PACED_BYTES``, wait for the
  broker's acknowledgement. What everybody publishes is bounded too, in messages and in bytes: a broker that
  stalls, or whose disk is full, must not fill this process's memory.

paho's network loop uses ``select``, so the process must not hold more than 1023 descriptors open before it
connects.
"""

import logging
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgewright.controller.identity.tls import TlsContext
from edgewright.wire.errors import BrokerUnreachableError

KEEPALIVE_S: Final = 20
INFLIGHT_MESSAGES: Final = 1000
"""Unacknowledged QoS 1 messages; paho's own 20 caps throughput at 20 a round trip."""

QUEUED_MESSAGES: Final = 20_000
PACED_WINDOW: Final = 32
PACED_BYTES: Final = 4 * 1024 * 1024
"""32 chunks of 128 KiB on their way. One message that is larger goes alone."""

WAITING_BYTES: Final = 64 * 1024 * 1024
"""What everybody together may leave waiting for a broker that takes nothing: it lies in this process."""

PACED_PATIENCE_S: Final = 30.0
"""How long one paced message may wait for its acknowledgement."""

FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 8.0
_SLICE_S: Final = 0.2

Receive = Callable[[str, bytes], None]

logger = logging.getLogger(__name__)


class Delivery:
    """A published QoS 1 message on its way to the broker.

    Attributes:
        topic: where.
        length: of its payload, bytes.
    """

    def __init__(self, info: MQTTMessageInfo, topic: str, length: int) -> None:
        self._info = info
        self.topic = topic
        self.length = length

    @property
    def done(self) -> bool:
        """Whether the broker has acknowledged it."""
        return self._info.is_published()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the acknowledgement; returns whether it came."""
        self._info.wait_for_publish(timeout_s)
        return self._info.is_published()


class BrokerLink:
    """One connection that comes back by itself."""

    def __init__(self, host: str, port: int, client_id: str, tls: TlsContext | None = None) -> None:
        self._address = (host, port)
        self._tls = tls
        self._stopping = False
        self._lock = threading.Lock()
        self._pending: deque[Delivery] = deque()
        self._pending_bytes = 0
        self._filters: dict[str, None] = {}
        self._on_connected: list[Callable[[], None]] = []
        self._client = self._new_client(client_id)

    def start(self) -> None:
        """Connect in the background; returns at once. See ``wait_connected``."""
        self._stopping = False
        self._draw_pause()
        self._client.connect_async(*self._address, keepalive=KEEPALIVE_S)
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnect and end the network thread; messages that are still queued are dropped."""
        self._stopping = True
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted this connection and it has not been lost since."""
        return self._client.is_connected()

    def wait_connected(self, timeout_s: float) -> None:
        """Wait for the connection.

        Raises:
            BrokerUnreachableError: there is none after ``timeout_s``; the link goes on trying.
        """
        deadline = time.monotonic() + timeout_s
        while not self.connected:
            if time.monotonic() > deadline:
                raise BrokerUnreachableError(self._sentence("does not answer"))
            time.sleep(0.01)

    def on_connected(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` on the network thread at each connection, subscriptions being made."""
        self._on_connected.append(callback)

    def subscribe(self, topic_filter: str, callback: Receive) -> None:
        """Pass each message of ``topic_filter`` to ``callback``, at QoS 1, now and at each connection.

        The callback gets topic and payload and runs on the network thread.
        """
        self._client.message_callback_add(topic_filter, _receiver(callback))
        self._filters[topic_filter] = None
        if self.connected:
            self._client.subscribe(topic_filter, qos=1)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1) -> Delivery | None:
        """Publish; may be called on any thread, the network thread included.

        Returns:
            What tells of a QoS 1 message's acknowledgement; None at QoS 0, which is dropped without a
            connection.

        Raises:
            BrokerUnreachableError: the queue is full; the message was not taken.
        """
        if qos and self.waiting_bytes + len(payload) > WAITING_BYTES:
            raise BrokerUnreachableError(self._sentence(f"has left {WAITING_BYTES >> 20} MiB unanswered"))
        info = self._client.publish(topic, payload, qos=qos, retain=retain)
        if qos == 0:
            return None
        if info.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            raise BrokerUnreachableError(self._sentence(f"has left {QUEUED_MESSAGES} messages unanswered"))
        # Without a connection paho reports NO_CONN, keeps the message and sends it later; left as it is, the
        # code would make every later question about the delivery raise.
        info.rc = MQTTErrorCode.MQTT_ERR_SUCCESS
        delivery = Delivery(info, topic, len(payload))
        self._remember(delivery)
        return delivery

    def publish_paced(
        self,
        messages: Iterable[tuple[str, bytes]],
        acknowledged: Callable[[str, int], None] = lambda _topic, _length: None,
    ) -> None:
        """Publish retained messages at QoS 1 with a bounded window; returns when all are acknowledged.

        Args:
            messages: pairs of topic and payload, taken from the iterator as the window opens.
            acknowledged: called with topic and length of each that the broker has taken.

        Raises:
            BrokerUnreachableError: one was not acknowledged in ``PACED_PATIENCE_S``, or the link was stopped.
        """
        window: deque[Delivery] = deque()
        on_way = 0

        def await_first() -> int:
            first = window.popleft()
            self._await(first)
            acknowledged(first.topic, first.length)
            return first.length

        for topic, payload in messages:
            while window and (len(window) >= PACED_WINDOW or on_way + len(payload) > PACED_BYTES):
                on_way -= await_first()
            delivery = self.publish(topic, payload, retain=True)
            assert delivery is not None
            window.append(delivery)
            on_way += delivery.length
        while window:
            await_first()

    def retained(self, names: Collection[str], timeout_s: float) -> dict[str, bytes]:
        """What is retained on some topics, until all of it has come, or none of it for ``timeout_s``.

        Not for the network thread, and not for topics that somebody has subscribed here.
        """
        found: dict[str, bytes] = {}
        arrived = threading.Condition()

        def take(topic: str, payload: bytes) -> None:
            with arrived:
                if payload:
                    found[topic] = payload
                    arrived.notify_all()

        for name in names:
            self._client.message_callback_add(name, _receiver(take))
        self._client.subscribe([(name, 0) for name in names])
        with arrived:
            # A slow link brings one after the other: only silence tells of what is not there.
            while len(found) < len(names) and not self._stopping:
                if not arrived.wait(timeout_s):
                    break
        self._client.unsubscribe(list(names))
        for name in names:
            self._client.message_callback_remove(name)
        return found

    @property
    def waiting_bytes(self) -> int:
        """Payload bytes that the broker has not acknowledged."""
        with self._lock:
            self._drop_done()
            return self._pending_bytes

    def drain(self, timeout_s: float) -> bool:
        """Wait until everything published so far is acknowledged; returns whether it is."""
        deadline = time.monotonic() + timeout_s
        with self._lock:
            pending = tuple(self._pending)
        return all(delivery.wait(max(0.0, deadline - time.monotonic())) for delivery in pending)

    def _await(self, delivery: Delivery) -> None:
        deadline = time.monotonic() + PACED_PATIENCE_S
        while not delivery.wait(_SLICE_S):
            if self._stopping or time.monotonic() > deadline:
                raise BrokerUnreachableError(self._sentence("did not acknowledge a retained message"))

    def _remember(self, delivery: Delivery) -> None:
        with self._lock:
            self._pending.append(delivery)
            self._pending_bytes += delivery.length
            self._drop_done()

    def _drop_done(self) -> None:
        while self._pending and self._pending[0].done:
            self._pending_bytes -= self._pending.popleft().length

    def _new_client(self, client_id: str) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=True,
            protocol=MQTTProtocolVersion.MQTTv311,
        )
        if self._tls is not None:
            client.tls_set_context(self._tls)
        client.max_inflight_messages_set(INFLIGHT_MESSAGES)
        client.max_queued_messages_set(QUEUED_MESSAGES)
        client.on_socket_open = _set_no_delay
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_subscribe = _check_granted
        return client

    def _connected(
        self, client: Client, _data: Any, _flags: ConnectFlags, reason: ReasonCode, _props: Properties | None
    ) -> None:
        if reason.is_failure:
            logger.error("%s", self._sentence(f"refuses this controller: {reason}"))
            return
        logger.info("Connected to the broker at %s port %d.", *self._address)
        self._draw_pause()
        for topic_filter in tuple(self._filters):
            client.subscribe(topic_filter, qos=1)
        for callback in self._on_connected:
            _guarded(callback)

    def _disconnected(
        self,
        _client: Client,
        _data: Any,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _props: Properties | None,
    ) -> None:
        if not self._stopping:
            logger.warning("%s", self._sentence(f"is lost: {reason}"))

    def _draw_pause(self) -> None:
        first = FIRST_PAUSE_S * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, no secret
        # paho sleeps any number of seconds; only its annotation says int.
        self._client.reconnect_delay_set(first, LONGEST_PAUSE_S)  # type: ignore[arg-type]

    def _sentence(self, what: str) -> str:
        host, port = self._address
        return f"The broker at {host} port {port} {what}."


def _receiver(callback: Receive) -> Callable[[Client, Any, MQTTMessage], None]:
    def receive(_client: Client, _data: Any, message: MQTTMessage) -> None:
        _guarded(lambda: callback(message.topic, bytes(message.payload)))

    return receive


def _guarded(callback: Callable[[], None]) -> None:
    try:
        callback()
    except Exception:  # top of the network thread: paho would end it, and the controller go deaf
        logger.exception("A callback of the broker link failed.")


def _set_no_delay(_client: Client, _data: Any, opened: Any) -> None:
    # Chunks in lock step: 1.4 MB/s with Nagle's algorithm, 101 MB/s without (loopback, measured).
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _check_granted(
    _client: Client, _data: Any, _mid: int, reasons: list[ReasonCode], _props: Properties | None
) -> None:
    if any(reason.is_failure for reason in reasons):
        logger.error("The broker does not grant a subscription to this controller; check its access list.")
