"""The serving loop: load, run once, say ready, then one run per request until the line is gone.

The first message to a runner of an encrypted artifact is its content key. A request with the sequence number
of the ready reply asks for a sign of life; nothing is run for it.

A runner watches over itself where that is cheap: it looks at its memory every now and then and ends when it
has more than the manifest allows, and the kernel ends one that allocates far beyond that at once, or that
computes for a minute without answering anything.
"""

import socket
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Final

import numpy as np

from edgewright.agent.runner.artifacts import open_artifact, read_manifest
from edgewright.agent.runner.frames import (
    READY_SEQUENCE,
    Layout,
    Reply,
    SharedFrames,
    decode_request,
    encode_reply,
    map_frames,
)
from edgewright.agent.runner.ownprocess import (
    allow_computing,
    limit_growth,
    limit_while_loading,
    resident_kib,
    return_free_memory,
)
from edgewright.agent.runner.runtimes import Session, load_session
from edgewright.wire.encryption import KEY_BYTES
from edgewright.wire.errors import DeviceError, EdgewrightError, RunnerMemoryError, RunnerOutputError
from edgewright.wire.manifest import Manifest

_MEMORY_EVERY_RUNS: Final = 64
"""Reading the resident memory takes some 15 us, so it is read once in so many runs."""

_LOADING_S: Final = 600
_COMPUTING_S: Final = 60
"""Processor time until the next answer, granted anew by each: a slow model may take seconds for every one."""

_REQUEST_BUFFER_BYTES: Final = 16


Load = Callable[[Path | bytes, Manifest, int], Session]
"""Artifact, manifest and threads to a session; ``runtimes.load_session`` is one."""


def serve(
    fd: int,
    memory_fd: int,
    manifest_path: Path,
    artifact_path: Path,
    threads: int,
    load: Load = load_session,
) -> int:
    """Serve one artifact on an inherited socket and memory file.

    Args:
        fd: the socket.
        memory_fd: the memory file.
        manifest_path: of the artifact.
        artifact_path: the artifact.
        threads: of an inference.
        load: opens the artifact.

    Returns:
        The exit status: 0 when the line closed the socket, else the number of the error that was sent.
    """
    with socket.socket(fileno=fd) as line:
        try:
            manifest = read_manifest(manifest_path)
            frames = map_frames(memory_fd, Layout.of(manifest))
            content_key = line.recv(KEY_BYTES) if manifest.encryption else b""
            limit_while_loading(manifest.limits.memory_mb)
            allow_computing(_LOADING_S)
            artifact = open_artifact(artifact_path, manifest, content_key)
            session = load(artifact, manifest, threads)
            del artifact
            ready = _run(session, frames, READY_SEQUENCE)
            if not ready.error:  # The first run sets things up; what a run takes is told by the second.
                ready = _run(session, frames, READY_SEQUENCE)
            return_free_memory()
            limit_growth(manifest.limits.memory_mb)
            _answer(line, ready._replace(resident_kib=resident_kib()))
            _serve_requests(line, session, frames, manifest)
        except EdgewrightError as error:
            _answer(line, Reply(READY_SEQUENCE, error.number, 0, resident_kib(), error.sentence))
            return error.number
        except MemoryError:
            beyond = RunnerMemoryError("An allocation went beyond what the runner may have.")
            _answer(line, Reply(READY_SEQUENCE, beyond.number, 0, resident_kib(), beyond.sentence))
            return beyond.number
        except ConnectionError:
            return 0
    return 0


def _serve_requests(line: socket.socket, session: Session, frames: SharedFrames, manifest: Manifest) -> None:
    limit_kib = manifest.limits.memory_mb * 1024
    resident = resident_kib()
    runs = 0
    while request := line.recv(_REQUEST_BUFFER_BYTES):
        sequence = decode_request(request)
        if sequence == READY_SEQUENCE:
            line.send(encode_reply(Reply(READY_SEQUENCE, 0, 0, resident)))
        else:
            line.send(encode_reply(_run(session, frames, sequence, resident)))
            runs += 1
        allow_computing(_COMPUTING_S)
        if sequence != READY_SEQUENCE and runs % _MEMORY_EVERY_RUNS:
            continue
        resident = resident_kib()
        if resident > limit_kib:
            raise RunnerMemoryError(
                f"The runner grew to {resident // 1024} MiB; the manifest allows {limit_kib // 1024}."
            )


def _run(session: Session, frames: SharedFrames, sequence: int, resident: int = 0) -> Reply:
    started = perf_counter_ns()
    try:
        session.run_into(frames.inputs, frames.output)
        run_us = (perf_counter_ns() - started) // 1000
        if not np.isfinite(frames.output).all():
            raise RunnerOutputError("The model's output has values that are not finite.")
    except DeviceError as error:
        return Reply(sequence, error.number, 0, resident, error.sentence)
    return Reply(sequence, 0, run_us, resident or resident_kib())


def _answer(line: socket.socket, reply: Reply) -> None:
    """Send a reply that may come too late for a line that is already gone."""
    try:
        line.send(encode_reply(reply))
    except ConnectionError:
        return
