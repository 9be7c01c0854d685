"""The director as a process of its own: the controller's half, and ``main`` for the child's.

The child alone reads the director's folder, and it does nothing but answer on the one socket that it
inherits. When the controller ends, however it ends, the socket closes and the child ends. When the child
ends, the next request starts another: the same request again gets the same documents (``director_record``),
so nothing is lost and nothing is signed twice. It is tied to the socket and not, as other children are, to a
thread: any thread may be the one that starts it again.

On one machine and under one user this keeps a fault or a hole in the controller's parsers away from the
keys' memory; it is no wall against somebody who reads that user's files.
"""

import contextlib
import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from edgewright.controller.childenvironment import child_environment
from edgewright.controller.errors import (
    DataFolderDamagedError,
    DirectorUnavailableError,
    InvalidRequestError,
    KeyStoreError,
    SignatureRefusedError,
)
from edgewright.controller.trust.acknowledgement import AcknowledgementKey
from edgewright.controller.trust.director_seam import (
    BATCH_ORDERS,
    Adopt,
    Answer,
    Documents,
    Last,
    LastTrials,
    Open,
    Order,
    Refused,
    Request,
    Rotate,
    Show,
    Sign,
    SignTrials,
    State,
    Trials,
    Versions,
    receive_answer,
    receive_request,
    send,
)
from edgewright.wire.errors import EdgewrightError
from edgewright.wire.messages import Ack

if TYPE_CHECKING:
    from edgewright.controller.trust.director import Director

PATIENCE_S: Final = 30.0
"""For one answer; a batch takes 0.1 s, a start 0.5 s, both much longer on a busy machine."""

PR_SET_DUMPABLE: Final = 4
"""<linux/prctl.h>"""

T = TypeVar("T", Documents, Versions, State)

_ERRORS: Final = {
    error.number: error
    for error in (DataFolderDamagedError, InvalidRequestError, KeyStoreError, SignatureRefusedError)
}
"""What crosses the socket as itself; everything else is E067 with its sentence."""

logger = logging.getLogger(__name__)


class DirectorProcess:
    """The director behind its socket; safe to use from several threads.

    Args:
        folder: the director's, which this class only names.
        acknowledgement: the key that the director's root shall name.

    Attributes:
        on_root: called after each new root, on the thread that brought it.
    """

    def __init__(self, folder: Path, acknowledgement: AcknowledgementKey) -> None:
        self._folder = folder
        self._acknowledgement = acknowledgement
        self._lock = threading.RLock()
        self._child: subprocess.Popen[bytes] | None = None
        self._peer: socket.socket | None = None
        self._state: State | None = None
        self._acknowledger = ""
        self.on_root: list[Callable[[], None]] = []

    def start(self) -> None:
        """Start the child and wait until it has verified keys and roots.

        Raises:
            DataFolderDamagedError: keys, roots or record are missing or changed.
            DirectorUnavailableError: it does not start.
        """
        with self._lock:
            self._acknowledger = self._acknowledgement.ensure()
            state = self._ask(Open(self._acknowledger), State)
            self._use_key(state)
            self._state = state
        if state.laboratory:
            logger.warning(
                "LABORATORY KEYS: the director's root can be replaced with keys on this machine alone. "
                "Whoever can read %s decides what the fleet runs, of what is released.",
                self._folder,
            )

    def stop(self) -> None:
        """End the child."""
        with self._lock:
            self._end()

    def last(self, devices: Sequence[str]) -> list[int]:
        """Version of each device's last document, 0 for none.

        Raises:
            DirectorUnavailableError: the director does not answer.
        """
        versions: list[int] = []
        for first in range(0, len(devices), BATCH_ORDERS):
            versions += self._ask(Last(tuple(devices[first : first + BATCH_ORDERS])), Versions).versions
        return versions

    def sign(self, orders: Sequence[Order]) -> list[bytes]:
        """The signed documents, in order.

        Raises:
            DirectorUnavailableError: the director does not answer, or refuses.
            InvalidRequestError: an order is dated long before or after now.
        """
        documents: list[bytes] = []
        for first in range(0, len(orders), BATCH_ORDERS):
            documents += self._ask(Sign(tuple(orders[first : first + BATCH_ORDERS])), Documents).documents
        return documents

    def last_trials(self, device: str) -> int:
        """Number of a device's last order to measure candidates, 0 for none.

        Raises:
            DirectorUnavailableError: the director does not answer.
        """
        return self._ask(LastTrials(device), Versions).versions[0]

    def sign_trials(self, trials: Trials) -> bytes:
        """The signed order to measure candidates.

        Raises:
            DirectorUnavailableError: the director does not answer, or refuses.
            InvalidRequestError: it is dated long before or after now.
        """
        return self._ask(SignTrials(trials), Documents).documents[0]

    def show(self) -> State:
        """What a person may know.

        Raises:
            DirectorUnavailableError: the director does not answer.
        """
        return self._ask(Show(), State)

    def rotate(self, role: str, public: Sequence[str] = (), threshold: int = 1) -> State:
        """Give a role other keys; devices follow once root and assignments are published (``on_root``).

        Args:
            role: ``root``, ``targets`` or ``timestamp``.
            public: public keys in PEM; without, a key is made: of ``timestamp`` here, else by the director.
            threshold: how many of them have to sign.

        Returns:
            The state; ``waiting`` where signatures are missing.

        Raises:
            InvalidRequestError: there is no such role, or the keys cannot be.
            DirectorUnavailableError: the director does not answer.
        """
        if role == "timestamp":
            public, threshold = (self._acknowledgement.another(),), 1
        return self._changed(Rotate(role, tuple(public), threshold))

    def adopt(self, request: bytes) -> State:
        """Bring a signing request back, with signatures that were made elsewhere.

        Raises:
            SignatureRefusedError: they do not count.
            DirectorUnavailableError: the director does not answer.
        """
        return self._changed(Adopt(request))

    def roots(self) -> tuple[bytes, ...]:
        """Every root, the first first."""
        return self._opened.roots

    def root_bytes(self) -> bytes:
        """The newest root, which a device gets when it enrols."""
        return self._opened.roots[-1]

    def seal(self, ack: Ack) -> bytes:
        """An acknowledgement as it travels, signed with the key that the newest root names; see
        ``acknowledgement``.
        """
        return self._acknowledgement.seal(ack)

    @property
    def pid(self) -> int:
        """Process id of the child, 0 where none runs."""
        return self._child.pid if self._child else 0

    @property
    def _opened(self) -> State:
        if self._state is None:
            raise DirectorUnavailableError("The director was not started.")
        return self._state

    def _changed(self, request: Request) -> State:
        with self._lock:
            before = len(self._opened.roots)
            state = self._state = self._ask(request, State)
            if len(state.roots) > before:
                self._use_key(state)
        if len(state.roots) > before:
            for listener in self.on_root:
                listener()
        return state

    def _use_key(self, state: State) -> None:
        # A root that waits may name another key: then its file has to stay.
        self._acknowledgement.use(state.acknowledgers, forget_others=not state.waiting)

    def _ask(self, request: Request, shape: type[T]) -> T:
        with self._lock:
            try:
                answer = self._exchange(request)
            except (OSError, DirectorUnavailableError) as error:
                logger.warning("The director's process does not answer (%s); it is started again.", error)
                answer = self._again(request)
        if isinstance(answer, Refused):
            raise _ERRORS.get(answer.number, DirectorUnavailableError)(answer.sentence)
        if not isinstance(answer, shape):
            raise DirectorUnavailableError("The director's process gave an answer to another question.")
        return answer

    def _again(self, request: Request) -> Answer:
        self._end()
        try:
            return self._exchange(request)
        except OSError as error:
            self._end()
            raise DirectorUnavailableError(f"The director's process does not answer: {error}.") from error
        except DirectorUnavailableError:
            self._end()
            raise

    def _exchange(self, request: Request) -> Answer:
        peer = self._peer or self._start_child(opens=isinstance(request, Open))
        send(peer, request)
        answer = receive_answer(peer)
        if answer is None:
            raise DirectorUnavailableError("The director's process has ended.")
        return answer

    def _start_child(self, *, opens: bool) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-P", "-m", __name__, str(self._folder), str(theirs.fileno())]
            self._child = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=child_environment()
            )
        ours.settimeout(PATIENCE_S)
        self._peer = ours
        if not opens:
            send(ours, Open(self._acknowledger))
            opened = receive_answer(ours)
            if not isinstance(opened, State):
                said = opened.sentence if isinstance(opened, Refused) else "it ended."
                raise DirectorUnavailableError(f"The director's process does not start: {said}")
        return ours

    def _end(self) -> None:
        if self._peer is not None:
            self._peer.close()
            self._peer = None
        if self._child is not None:
            # It holds nothing that an end could lose; see director_record.
            self._child.kill()
            self._child.wait()
            self._child = None


def main(arguments: Sequence[str]) -> int:
    """The child's side: answer until the socket closes."""
    # Imported here, because the controller's own process imports this module for its other half.
    from edgewright.controller.trust.director import Director

    os.umask(0o077)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the controller, which ends this process
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)  # no core file and no debugger sees the keys
    director = Director(Path(arguments[0]))
    with socket.socket(fileno=int(arguments[1])) as peer, contextlib.suppress(OSError):
        while (request := receive_request(peer)) is not None:
            try:
                answer = _answer(director, request)
            except EdgewrightError as error:
                answer = Refused(error.number, error.sentence)
            send(peer, answer)
    director.close()
    return 0


def _answer(director: "Director", request: Request) -> Answer:
    match request:
        case Open(acknowledger):
            return director.open(acknowledger)
        case Last(devices):
            return Versions(tuple(director.last(devices)))
        case Sign(orders):
            return Documents(tuple(director.sign(orders)))
        case SignTrials(trials):
            return Documents((director.sign_trials(trials),))
        case LastTrials(device):
            return Versions((director.last_trials(device),))
        case Show():
            return director.show()
        case Rotate(role, public, threshold):
            return director.rotate(role, public, threshold)
        case Adopt(signed):
            return director.adopt(signed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
