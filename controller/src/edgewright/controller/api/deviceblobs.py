"""The second transport: blobs of published releases over the HTTPS door, where a broker takes no chunks.

A device shows its certificate, as for a renewal, and asks for a range of a blob. It gets the bytes as they
are published, a confidential blob encrypted, and checks them against the same digests as chunks from the
broker. Metadata and assignments stay on the broker: they are small.

The bytes go from the disk to the connection in pieces of ``PIECE_BYTES``, each after the client has taken the
one before. A client that takes nothing for ``STALL_S`` is disconnected. How many download at a time is in
``downloads``.
"""

import os
import time
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from edgewright.controller.api.access import client_address, need
from edgewright.controller.api.problems import MEDIA_TYPE, problem_of
from edgewright.controller.api.ranges import Part, wanted_part
from edgewright.controller.api.schemas import Sha256
from edgewright.controller.api.seams import Services
from edgewright.controller.downloads import Places
from edgewright.controller.errors import (
    DataFolderDamagedError,
    DownloadsBusyError,
    InvalidRequestError,
    UnknownBlobError,
)
from edgewright.wire.errors import EdgewrightError

PREFIX: Final = "/device/v1"
PIECE_BYTES: Final = 256 * 1024
STALL_S: Final = 30.0
READERS: Final = 4
"""Threads that read for downloads; the API has its own."""

OCTETS: Final = "application/octet-stream"


def _over_tls(request: Request) -> None:
    if request.url.scheme != "https":
        raise InvalidRequestError("Blobs are given out over HTTPS only.")


def create_device_blobs(services: Services) -> APIRouter:
    """The operations."""
    router = APIRouter(prefix=PREFIX, tags=["device"], dependencies=[Depends(_over_tls)])
    readers = anyio.CapacityLimiter(READERS)

    @router.head("/blobs/{sha256}", operation_id="describe_device_blob", dependencies=[need("device.fetch")])
    def describe(sha256: Sha256, request: Request) -> Response:
        """Whether a blob is published, and its length."""
        services.register.verify_holder(_shown(request))
        _, length = _found(services, sha256)
        return Response(headers={**_headers(sha256), "Content-Length": str(length)}, media_type=OCTETS)

    @router.get(
        "/blobs/{sha256}",
        operation_id="fetch_device_blob",
        dependencies=[need("device.fetch")],
        response_class=StreamingResponse,
        responses={
            200: {"content": {OCTETS: {}}, "description": "The whole blob"},
            206: {"content": {OCTETS: {}}, "description": "The range that was asked for, as in RFC 9110"},
            416: {"description": "No byte of the blob is in the range; Content-Range has its length"},
            503: {"description": "Too many download; Retry-After says when to ask again"},
        },
    )
    async def fetch(sha256: Sha256, request: Request) -> Response:
        """A blob, or a range of it, of a release that is published now; by the device's certificate."""
        verify = partial(services.register.verify_holder, _shown(request))
        device = await anyio.to_thread.run_sync(verify)
        path, length = _found(services, sha256)
        etag = f'"{sha256}"'
        part = wanted_part(request.headers.get("range"), request.headers.get("if-range"), etag, length)
        if part is None:
            return _unsatisfiable(length)
        places = services.downloads
        if not places.enter(device, client_address(request), time.monotonic()):
            return _busy(places.retry_s())
        left = partial(_leave, places, device)
        return _Answer(await _opened(path, left), part, length, sha256, readers, left)

    return router


def _shown(request: Request) -> bytes:
    shown: bytes = getattr(request.state, "client_certificate", b"")
    return shown


def _found(services: Services, sha256: str) -> tuple[Path, int]:
    found = services.publisher.find_blob(sha256)
    if found is None:
        raise UnknownBlobError(f"No published release has the blob {sha256[:12]}.")
    return found


def _headers(sha256: str) -> dict[str, str]:
    # What a digest names never changes; but who may have it does, so only the device itself keeps it.
    return {"ETag": f'"{sha256}"', "Accept-Ranges": "bytes", "Cache-Control": "private, immutable"}


def _leave(places: Places, device: str, sent: int) -> None:
    places.leave(device, sent, time.monotonic())


async def _opened(path: Path, left: Callable[[int], None]) -> int:
    try:
        return await anyio.to_thread.run_sync(os.open, path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        left(0)
        said = f"The blob {path.name[:12]} cannot be read: {error.strerror}."
        raise DataFolderDamagedError(said) from error


def _problem(error: EdgewrightError, status: HTTPStatus, headers: dict[str, str]) -> Response:
    problem = problem_of(error).model_copy(update={"status": status})
    return JSONResponse(problem.model_dump(), status, headers, MEDIA_TYPE)


def _unsatisfiable(length: int) -> Response:
    said = InvalidRequestError(f"No byte of the range is in the blob, which has {length} bytes.")
    headers = {"Content-Range": f"bytes */{length}"}
    return _problem(said, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers)


def _busy(seconds: int) -> Response:
    said = DownloadsBusyError(f"Too many devices download now; ask again in {seconds} s.")
    # The connection goes too: it would take the room of somebody who has a place.
    headers = {"Retry-After": str(seconds), "Connection": "close"}
    return _problem(said, HTTPStatus.SERVICE_UNAVAILABLE, headers)


class _Answer(StreamingResponse):
    """Bytes of an open file; closes it and gives the place back whatever becomes of the connection."""

    def __init__(
        self,
        file: int,
        part: Part,
        length: int,
        sha256: str,
        readers: anyio.CapacityLimiter,
        left: Callable[[int], None],
    ) -> None:
        headers = {**_headers(sha256), "Content-Length": str(part.end - part.first)}
        if not part.whole:
            headers["Content-Range"] = f"bytes {part.first}-{part.end - 1}/{length}"
        super().__init__((), 200 if part.whole else 206, headers, OCTETS)
        self._file, self._part, self._readers, self._left = file, part, readers, left
        self._at = part.first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; the base class cancels ``stream_response`` when the client goes away."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._left(self._at - self._part.first)
            os.close(self._file)

    async def stream_response(self, send: Send) -> None:
        """Send the part, or as much of it as the client takes: what is not complete ends the connection."""
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        await send(start)
        while True:
            piece = await self._read(min(PIECE_BYTES, self._part.end - self._at))
            more = self._at + len(piece) < self._part.end
            with anyio.move_on_after(STALL_S) as waiting:
                await send({"type": "http.response.body", "body": piece, "more_body": more})
            if waiting.cancelled_caught:
                return
            self._at += len(piece)
            if not more:
                return

    async def _read(self, length: int) -> bytes:
        piece = await anyio.to_thread.run_sync(os.pread, self._file, length, self._at, limiter=self._readers)
        if len(piece) < length:
            raise DataFolderDamagedError("A blob became shorter while it was sent.")
        return piece
