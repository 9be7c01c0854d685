"""The supervisor's end of the verifier: starts it on demand, answers its requests for files, bounds it.

A verifier that crashes, hangs or sends nonsense is killed and ends the question with ``VerifierError``; the
next question starts another one. One that has ended because it was idle is started again without a word.
"""

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from edgewright.agent.agreement import DirectorTrust, ImageTarget, Seen
from edgewright.agent.fetcher import MetadataSource, MissingFile
from edgewright.agent.qualificationorder import InspectedOrder
from edgewright.agent.verifier import messages
from edgewright.agent.verifier.seam import Inspected
from edgewright.wire.errors import EdgewrightError, VerifierError

_T = TypeVar("_T", bound=messages.Answer)

SILENCE_SECONDS: Final = 30.0
"""How long the verifier may think without a word; a thousand delegations take it one second."""


def verifier_command(trust: Path, descriptor: int) -> list[str]:
    """How a verifier is started."""
    program = [sys.executable, "-m", "edgewright.agent.verifier"]
    return [*program, "--fd", str(descriptor), "--trust", str(trust)]


class VerifierProcess:
    """At most one verifier; any thread may ask, one question at a time.

    It is the ``seam.DirectorReader`` and the ``seam.ImageCatalogue`` of an agent.

    Args:
        command: makes the command line out of the inherited descriptor.
        source: where files come from.
        silence: seconds without a word after which it counts as hung.
    """

    def __init__(
        self,
        command: Callable[[int], Sequence[str]],
        source: MetadataSource,
        silence: float = SILENCE_SECONDS,
    ) -> None:
        self._command, self._source, self._silence = command, source, silence
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None

    @property
    def trust(self) -> DirectorTrust:
        """See ``seam.DirectorReader``."""
        return self._ask(messages.Follow(None), messages.Trusted).trust

    def inspect(self, raw: bytes, floor: int) -> Inspected:
        """See ``seam.DirectorReader``."""
        return self._ask(messages.Inspect(raw, floor), messages.Document).inspected

    def inspect_order(self, raw: bytes, floor: int) -> InspectedOrder:
        """See ``seam.DirectorReader``."""
        return self._ask(messages.InspectOrder(raw, floor), messages.Order).inspected

    def follow(self, demanded: int) -> DirectorTrust:
        """See ``seam.DirectorReader``."""
        return self._ask(messages.Follow(demanded), messages.Trusted).trust

    def refresh(self, now: float, path: str | None = None) -> tuple[Seen, ImageTarget | None]:
        """See ``seam.ImageCatalogue``."""
        images = self._ask(messages.RefreshImages(now, path), messages.Images)
        return images.seen, images.target

    def prove(self, target: ImageTarget) -> bytes:
        """See ``seam.ImageCatalogue``."""
        return self._ask(messages.Prove(target), messages.Proof).proof

    def vouch(self, target: ImageTarget, proof: bytes | None) -> None:
        """See ``seam.ImageCatalogue``."""
        self._ask(messages.Vouch(target, proof), messages.Proof)

    def stop(self) -> None:
        """End the verifier, whatever it does."""
        process = self._process
        if process is not None:
            process.kill()

    def _ask(self, question: messages.Question, kind: type[_T]) -> _T:
        with self._lock:
            answer = self._answer(question)
        if isinstance(answer, messages.Refused):
            raise messages.crossed(answer.number, answer.sentence)
        if not isinstance(answer, kind):
            raise VerifierError(f"The verifier answered with {type(answer).__name__}.")
        return answer

    def _answer(self, question: messages.Question) -> messages.Answer:
        """Ask the verifier that runs, or, where that one has just ended idle, a new one."""
        for connection in (self._running(), None):
            try:
                return self._converse(connection or self._start(), question)
            except ConnectionError as error:
                self._end()
                if connection is None:
                    raise VerifierError(f"The verifier ended: {error}.") from error
            except (OSError, ValueError, msgspec.DecodeError) as error:
                self._end()
                raise VerifierError(f"The verifier did not answer: {error}.") from error
        raise VerifierError("The verifier ended.")

    def _running(self) -> socket.socket | None:
        if self._process is None or self._process.poll() is not None:
            self._end()
            return None
        return self._connection

    def _converse(self, connection: socket.socket, question: messages.Question) -> messages.Answer:
        messages.send(connection, question)
        while True:
            said = messages.receive_up(connection)
            match said:
                case messages.WantImages() | messages.WantDirectorRoot():
                    messages.send(connection, self._file(said))
                case None:
                    raise ConnectionResetError("its socket was closed")
                case _:
                    return said

    def _file(self, request: messages.Request) -> messages.File | messages.NoFile:
        try:
            match request:
                case messages.WantDirectorRoot():
                    content = self._source.fetch_director_root(request.version, request.demanded)
                    return messages.File(content)
                case messages.WantImages(""):
                    self._source.begin()
                    return messages.File(b"")
                case messages.WantImages():
                    return messages.File(self._source.fetch(request.name))
        except MissingFile:
            return messages.File(None)
        except EdgewrightError as error:
            return messages.NoFile(error.number, error.sentence)

    def _start(self) -> socket.socket:
        self._end()
        ours, theirs = socket.socketpair()
        ours.settimeout(self._silence)
        with theirs:
            descriptor = theirs.fileno()
            self._process = subprocess.Popen(
                list(self._command(descriptor)), pass_fds=(descriptor,), stdin=subprocess.DEVNULL
            )
        self._connection = ours
        return ours

    def _end(self) -> None:
        """Leave nothing of a verifier behind."""
        process, self._process = self._process, None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if process is not None:
            process.kill()
            process.wait()
