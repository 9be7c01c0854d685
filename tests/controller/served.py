"""An application that really listens on loopback, for clients that are processes of their own."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import uvicorn

from edgewright.controller.api.app import create_app
from edgewright.controller.datadir import Endpoint
from edgewright.controller.durable import write_durably
from tests.controller.parts import Parts

START_S = 20.0


@contextmanager
def served(parts: Parts) -> Iterator[str]:
    """Serve the parts' application; yields its address, and leaves it in the data folder's endpoint.json."""
    config = uvicorn.Config(
        create_app(parts), host="127.0.0.1", port=0, log_level="warning", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="served")
    thread.start()
    try:
        deadline = time.monotonic() + START_S
        while not server.started:
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        address = f"http://127.0.0.1:{port}"
        endpoint = Endpoint(api=address, broker_host="127.0.0.1", broker_port=1)
        write_durably(parts.data / "endpoint.json", msgspec.json.encode(endpoint))
        yield address
    finally:
        server.should_exit = True
        thread.join()
