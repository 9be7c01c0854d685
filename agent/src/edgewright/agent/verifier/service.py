"""Answers the supervisor's questions: the verifier's loop, over what ``trust`` verifies."""

import socket
from pathlib import Path
from typing import Final

import msgspec

from edgewright.agent.fetcher import MissingFile
from edgewright.agent.trust import Director, ImageRepository
from edgewright.agent.verifier import messages
from edgewright.wire.errors import EdgewrightError, StorageFullError, TamperedMetadataError

IDLE_SECONDS: Final = 20.0


class AskingSource:
    """Files from the supervisor, over the socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def begin(self) -> None:
        """See ``fetcher.MetadataSource``."""
        self._ask(messages.WantImages(""))

    def fetch(self, file: str) -> bytes:
        """See ``fetcher.MetadataSource``."""
        content = self._ask(messages.WantImages(file))
        if content is None:
            raise MissingFile(file)
        return content

    def fetch_director_root(self, version: int, demanded: int) -> bytes | None:
        """See ``fetcher.MetadataSource``."""
        return self._ask(messages.WantDirectorRoot(version, demanded))

    def _ask(self, request: messages.Request) -> bytes | None:
        messages.send(self._connection, request)
        self._connection.settimeout(None)  # The supervisor has deadlines of its own; its end ends this read.
        try:
            answer = messages.receive_down(self._connection)
        finally:
            self._connection.settimeout(IDLE_SECONDS)
        match answer:
            case messages.File():
                return answer.content
            case messages.NoFile():
                raise messages.crossed(answer.number, answer.sentence)
            case _:
                raise SystemExit(0)  # The supervisor is gone.


class Service:
    """Answers questions over what lies in one folder."""

    def __init__(self, trust: Path, source: AskingSource) -> None:
        self._director = Director((trust / "director-root.json").read_bytes(), trust / "director", source)
        self._images = ImageRepository(trust / "image", (trust / "root.json").read_bytes(), source)

    def answer(self, question: messages.Down) -> messages.Answer:
        """The answer to a question.

        Raises:
            EdgewrightError: it is an error.
        """
        match question:
            case messages.Inspect():
                return messages.Document(self._director.inspect(question.raw, question.floor))
            case messages.InspectOrder():
                return messages.Order(self._director.inspect_order(question.raw, question.floor))
            case messages.Follow():
                if question.demanded is None:
                    return messages.Trusted(self._director.trust)
                return messages.Trusted(self._director.follow(question.demanded))
            case messages.RefreshImages():
                return messages.Images(*self._images.refresh(question.now, question.path))
            case messages.Prove():
                return messages.Proof(self._images.prove(question.target))
            case messages.Vouch():
                self._images.vouch(question.target, question.proof)
                return messages.Proof()
            case _:
                raise SystemExit(f"A {type(question).__name__} is no question.")


def serve(connection: socket.socket, trust: Path) -> None:
    """Answer until the supervisor is gone or has had no question for a while."""
    connection.settimeout(IDLE_SECONDS)
    service: Service | None = None
    while (question := _next(connection)) is not None:
        try:
            service = service or Service(trust, AskingSource(connection))
            answer: messages.Answer = service.answer(question)
        except EdgewrightError as error:
            answer = messages.Refused(error.number, error.sentence)
        except (RecursionError, msgspec.DecodeError) as error:
            answer = messages.Refused(TamperedMetadataError.number, f"Metadata cannot be read: {error}.")
        except OSError as error:
            answer = messages.Refused(
                StorageFullError.number, f"The data folder cannot be used: {error.strerror}."
            )
        messages.send(connection, answer)


def _next(connection: socket.socket) -> messages.Down | None:
    try:
        return messages.receive_down(connection)
    except TimeoutError:
        return None
