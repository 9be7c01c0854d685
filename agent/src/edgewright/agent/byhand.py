"""Orders of a person at the device, over a Unix socket in the data folder; no network is involved.

One order: ``roll-back``. The answer is one sentence that says what happens. Only this agent's user and root
may connect: the socket's mode says so, and the kernel's word about the other side is looked at as well.
"""

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edgewright.agent.control import connect_to, listen_at, peer_of
from edgewright.wire.errors import ConfigurationError

ROLL_BACK: Final = b"roll-back"
MAX_WORDS_BYTES: Final = 4096
ORDER_SECONDS: Final = 1.0
"""How long a connection may take to say what it wants; one is served at a time."""

PAUSE_SECONDS: Final = 1.0
"""Before it is listened again, after no connection could be taken."""

ANSWER_SECONDS: Final = 30.0
"""The supervisor may be writing to slow flash."""

log = logging.getLogger(__name__)


class HandDoor:
    """Listens for orders.

    Args:
        path: of the socket.
        post: lets the supervisor's loop do something.
        roll_back: called on that loop; what happens, in one sentence.
    """

    def __init__(
        self, path: Path, post: Callable[[Callable[[], None]], None], roll_back: Callable[[], str]
    ) -> None:
        self._path, self._post, self._roll_back = path, post, roll_back

    def start(self) -> None:
        """Begin to listen; a folder that takes no socket costs the orders and nothing else."""
        try:
            listener = listen_at(self._path)
        except OSError as error:
            log.warning("No order can be given by hand: %s: %s.", self._path, error.strerror)
            return
        threading.Thread(target=self._listen, args=(listener,), name="by-hand", daemon=True).start()

    def _listen(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # Whoever asked is gone, or this process has no descriptor left.
                time.sleep(PAUSE_SECONDS)
                continue
            with contextlib.suppress(OSError):
                self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        if peer_of(connection)[1] not in {0, os.geteuid()}:
            connection.close()
            return
        connection.settimeout(ORDER_SECONDS)
        try:
            said = connection.recv(MAX_WORDS_BYTES)
        except OSError:
            said = b""
        if said != ROLL_BACK:
            connection.close()
            return

        def obey() -> None:
            with connection, contextlib.suppress(OSError):
                connection.send(self._roll_back().encode()[:MAX_WORDS_BYTES])

        self._post(obey)


def order_roll_back(path: Path) -> str:
    """Tell the agent that runs to go back to the last good model; what happens, in one sentence.

    Raises:
        ConfigurationError: no agent listens there, or it did not answer.
    """
    try:
        with connect_to(path) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.send(ROLL_BACK)
            said = connection.recv(MAX_WORDS_BYTES)
    except OSError as error:
        raise ConfigurationError(f"No agent answers at {path}: {error.strerror or error}.") from error
    if not said:
        raise ConfigurationError(f"The agent at {path} did not take the order; its log says why.")
    return said.decode()
