"""One MQTT CONNECT, by hand: whether a broker answers, and taking a client's place on it."""

import contextlib
import socket
from typing import Final, NamedTuple

from edgewright.controller.identity.tls import TlsContext

TIMEOUT_S: Final = 5.0

# MQTT 3.1.1: CONNECT with clean session, keepalive 10 s and an empty client id; CONNACK "accepted".
_CONNECT: Final = bytes.fromhex("100c 0004 4d515454 04 02 000a 0000")
_CONNACK: Final = bytes.fromhex("20020000")


class Address(NamedTuple):
    """Where MQTT clients connect."""

    host: str
    port: int


def accepts_connect(address: Address, context: TlsContext | None) -> bool:
    """Whether a CONNECT is accepted; the connection is closed again.

    Args:
        address: the broker's.
        context: TLS to speak, with the certificate to show; none for a broker without TLS.
    """
    try:
        with contextlib.ExitStack() as stack:
            plain = stack.enter_context(socket.create_connection(address, timeout=TIMEOUT_S))
            # Else the CONNECT waits 40 ms for the broker's acknowledgement of the handshake's last packet.
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection: socket.socket = (
                stack.enter_context(context.wrap_socket(plain, server_hostname=address.host))
                if context
                else plain
            )
            connection.sendall(_CONNECT)
            answer = b""
            while len(answer) < len(_CONNACK) and (more := connection.recv(len(_CONNACK) - len(answer))):
                answer += more
            return answer == _CONNACK
    except OSError:
        return False
