"""``python -m edgewright.agent.cell``: started by the supervisor with one end of ``control.control_pair``."""

import argparse
import contextlib
import logging
import os
import socket
import sys
import threading
from collections.abc import Sequence
from typing import Final

from edgewright.agent.cell.control import Down, Setup, Stop, Up, decode_down, encode
from edgewright.agent.servicemanager import set_up_log
from edgewright.wire.errors import MalformedMessageError

END_S: Final = 4.0
"""After the order to stop; native code that hangs does not keep the process longer."""

_DATAGRAM_BYTES: Final = 200 * 1024
_log = logging.getLogger(__name__)


class Supervisor:
    """The supervisor's end of the control socket, as the cell sees it.

    Attributes:
        gone: set once it says stop or is gone.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._lock = threading.Lock()
        self.gone = threading.Event()

    def setup(self) -> Setup | None:
        """Wait for the first message; None where the supervisor is gone."""
        order = self._receive()
        return order if isinstance(order, Setup) else None

    def listen(self) -> None:
        """From now on notice a stop and the supervisor's end, on a thread of its own."""
        threading.Thread(target=self._listen, name="supervisor", daemon=True).start()

    def tell(self, message: Up) -> None:
        """Say something; may be called on any thread."""
        with self._lock, contextlib.suppress(OSError):
            self._socket.send(encode(message))

    def _listen(self) -> None:
        while not isinstance(self._receive(), Stop | None):
            pass
        self.gone.set()
        end = threading.Timer(END_S, os._exit, (0,))
        end.daemon = True
        end.start()

    def _receive(self) -> Down | None:
        try:
            data = self._socket.recv(_DATAGRAM_BYTES)
            return decode_down(data) if data else None
        except OSError:
            return None
        except MalformedMessageError as error:
            _log.warning("%s", error)
            return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a cell; 0 when it was told to stop or the supervisor is gone, 1 when its camera hangs."""
    parser = argparse.ArgumentParser(prog="python -m edgewright.agent.cell", description=__doc__)
    parser.add_argument("--control-fd", type=int, required=True, help="inherited SEQPACKET socket")
    given = parser.parse_args(arguments)
    set_up_log(logging.INFO, "cell")
    supervisor = Supervisor(given.control_fd)
    setup = supervisor.setup()
    if setup is None:
        return 0
    supervisor.listen()
    # numpy's linear algebra would start a thread a core, and nothing here uses it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from edgewright.agent.cell.assembly import assembled
    from edgewright.agent.cell.loop import HungSourceError

    with assembled(setup, supervisor.tell) as cell:
        try:
            while not supervisor.gone.is_set():
                cell.turn()
        except HungSourceError as error:
            _log.error("%s", error)
            os._exit(1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
