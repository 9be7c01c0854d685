"""The peer that answers chunk by chunk: ``python -m tests.benchmarks.transfer_waiting HOST PORT PLAN.json``.

ThingsBoard's devices publish the size of a chunk on ``v2/fw/request/<id>/chunk/<n>`` and get its bytes on
``v2/fw/response/<id>/chunk/<n>``. There the platform is the broker and ``<id>`` numbers the device's request;
here a client answers from memory, and ``<id>`` names the device. Prints a line when it serves, and ends with
its standard input.
"""

import socket
import sys
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

CHUNK_BYTES = 64 * 1024


def request_topic(device: str, chunk: str) -> str:
    """Where a device asks for a chunk."""
    return f"v2/fw/request/{device}/chunk/{chunk}"


def response_topic(device: str, chunk: str) -> str:
    """Where it gets it."""
    return f"v2/fw/response/{device}/chunk/{chunk}"


def main() -> None:
    """Serve until standard input ends."""
    host, port, plan = sys.argv[1:]
    firmware = memoryview((Path(plan).parent / "www" / "artifact").read_bytes())
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="platform")
    client.on_socket_open = _set_no_delay

    def answer(_client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        *_, device, _word, number = message.topic.split("/")
        size = int(message.payload)
        first = int(number) * size
        client.publish(response_topic(device, number), bytes(firmware[first : first + size]), qos=0)

    client.on_message = answer
    client.on_connect = lambda client, *_: client.subscribe(request_topic("+", "+"), 0)
    client.on_subscribe = lambda *_: print("serves", flush=True)
    client.connect(host, int(port), keepalive=600)
    client.loop_start()
    sys.stdin.read()


def _set_no_delay(_client: Any, _data: Any, opened: Any) -> None:
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


if __name__ == "__main__":
    main()
