"""Bodies of requests that are too large for memory, as parts for a writer in a worker thread."""

from collections.abc import AsyncIterator, Iterator

import anyio.from_thread
from starlette.requests import ClientDisconnect

from edgewright.controller.errors import InvalidRequestError


def pulled(parts: AsyncIterator[bytes], most_bytes: int, what: str) -> Iterator[bytes]:
    """A request's parts; to be used in a worker thread.

    Args:
        parts: the request's stream.
        most_bytes: bound of all parts together.
        what: that is sent, for the sentence of a refusal.

    Raises:
        InvalidRequestError: the client went away, or sends more than the bound.
    """
    total = 0
    while True:
        try:
            part = anyio.from_thread.run(anext, parts, b"")
        except ClientDisconnect as error:
            raise InvalidRequestError("The upload broke off.") from error
        total += len(part)
        if total > most_bytes:
            raise InvalidRequestError(f"{what} may have {most_bytes >> 20} MiB at most.")
        if not part:
            return
        yield part
