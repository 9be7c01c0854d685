"""Pulling files over HTTP: the second implementation of the reader's seam.

A server that stalls, drips or sends without end costs a bounded time and bounded memory: each read has a
deadline, a file has one for all its bytes, its rate has a lower limit, and nothing is read beyond the length
that was allowed.
"""

import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Final

from edgewright.agent.fetcher import MAX_METADATA_BYTES, Reader
from edgewright.wire import topics
from edgewright.wire.errors import BrokerUnreachableError, SlowRetrievalError, TamperedArtifactError

PIECE_BYTES: Final = 64 * 1024
GRACE_SECONDS: Final = 5.0
"""How long a file may take before its rate counts."""

MIN_BYTES_PER_SECOND: Final = 1024
FILE_SECONDS: Final = 600.0

_MISSING: Final = frozenset({403, 404})
"""How servers of static files say that there is none (TUF specification, section 5.3.3)."""


class HttpReader(Reader):
    """Files below one address.

    Args:
        base: the address.
        grace: seconds before a file's rate counts.
    """

    def __init__(self, base: str, grace: float = GRACE_SECONDS) -> None:
        self._base, self._grace = base.rstrip("/"), grace

    def read(self, topic: str, timeout: float) -> bytes | None:
        """See ``Reader``; ``timeout`` is that of each read. The hint is a broker's: here nobody is asked."""
        if topic == topics.head():
            return None
        return self.read_file(topic, MAX_METADATA_BYTES, timeout)

    def read_file(self, name: str, limit: int, timeout: float) -> bytes | None:
        """A file of at most ``limit`` bytes; None where the server says that there is none.

        Raises:
            BrokerUnreachableError: the server does not answer, or not with a file.
            SlowRetrievalError: it drips.
            TamperedArtifactError: it sends more than ``limit`` bytes.
        """
        url = f"{self._base}/{name}"
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise BrokerUnreachableError(f"{url} is no HTTP address.")
        try:
            with urllib.request.urlopen(url, timeout=timeout) as answer:  # noqa: S310 - the scheme was checked
                return self._read_all(answer, name, limit)
        except urllib.error.HTTPError as error:
            if error.code in _MISSING:
                return None
            raise BrokerUnreachableError(f"{url} answered {error.code}.") from error
        except TimeoutError as error:
            raise SlowRetrievalError(f"{url} has sent nothing for {timeout:.0f} s.") from error
        except (OSError, http.client.HTTPException) as error:
            raise BrokerUnreachableError(f"{url} did not answer: {error}.") from error

    def _read_all(self, answer: http.client.HTTPResponse, name: str, limit: int) -> bytes:
        data, begun = bytearray(), time.monotonic()
        while piece := answer.read1(PIECE_BYTES):
            data += piece
            if len(data) > limit:
                raise TamperedArtifactError(f"{name} has more than the {limit} bytes that are signed.")
            elapsed = time.monotonic() - begun
            drips = elapsed > self._grace and len(data) < elapsed * MIN_BYTES_PER_SECOND
            if drips or elapsed > FILE_SECONDS:
                raise SlowRetrievalError(f"{name} came with {len(data)} bytes in {elapsed:.0f} s.")
        return bytes(data)
