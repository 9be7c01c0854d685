"""Builds in a child process, so that native code that crashes or eats memory takes only a build with it.

The parent writes one JSON line (a ``protocol.Request``) to the child's standard input. The child answers with
JSON lines (``protocol.Answer``): progress, and at the end a result or a failure with the error's number,
which the parent raises as the class that it was. The child is nicer than the controller, and what native
libraries print goes to its standard error. A child that is killed leaves blobs that nothing refers to; its
temporary files, and those of toolchains that it runs, lie in a folder that the parent removes (``scratch``).
"""

import contextlib
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from edgewright.controller.broker.tether import tethered
from edgewright.controller.childenvironment import child_environment
from edgewright.controller.compiler.known import known_build, known_check, known_compile
from edgewright.controller.compiler.protocol import (
    Answer,
    BuildRequest,
    BuildResult,
    Checked,
    CheckRequest,
    CompileRequest,
    CompileResult,
    Failure,
    OnProgress,
    Progress,
    Request,
)
from edgewright.controller.compiler.scratch import scratch
from edgewright.controller.compiler.targets import SHIPPED, in_force, read_site
from edgewright.controller.compiler.toolchains.places import folder_variable
from edgewright.controller.errors import BuildInterruptedError, told_by_child
from edgewright.wire.errors import EdgewrightError

LIMIT_S: Final = 900.0
NICENESS: Final = 5
_POLL_S: Final = 0.1
_READ_BYTES: Final = 65536
_LAST_WORDS_CHARACTERS: Final = 300
_LAST_WORDS_S: Final = 5.0

_T = TypeVar("_T")

_decoder: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)


def _never() -> bool:
    return False


def _ignore(_progress: Progress) -> None:
    """Progress that nobody watches."""


def run_build(
    request: BuildRequest,
    on_progress: OnProgress = _ignore,
    is_stopped: Callable[[], bool] = _never,
    limit_s: float = LIMIT_S,
) -> BuildResult:
    """Build in a child process, unless all of it is known; see ``build.build_version``.

    Args:
        request: what to build.
        on_progress: called on this thread.
        is_stopped: asked ten times a second; the child is killed once it says yes.
        limit_s: the child is killed after so many seconds.

    Raises:
        ModelError: the model cannot become artifacts.
        BuildInterruptedError: the child ended without an answer, was stopped or took too long.
    """
    with site_targets(request):
        known = None if is_stopped() else known_build(request)
    return known or _expect(BuildResult, _run(request, on_progress, is_stopped, limit_s))


def run_check(
    request: CheckRequest, is_stopped: Callable[[], bool] = _never, limit_s: float = LIMIT_S
) -> Checked:
    """Check a model folder; in a child process, unless it was checked before.

    Raises:
        ModelError: the model cannot become artifacts.
        BuildInterruptedError: the child ended without an answer, was stopped or took too long.
    """
    with site_targets(request):
        known = known_check(request)
    return known or _expect(Checked, _run(request, _ignore, is_stopped, limit_s))


def run_compile(
    request: CompileRequest,
    on_progress: OnProgress = _ignore,
    is_stopped: Callable[[], bool] = _never,
    limit_s: float = LIMIT_S,
) -> CompileResult:
    """Compile in a child process, unless all of it is known; see ``build.compile_model``.

    Raises:
        ModelError: the model cannot become artifacts.
        BuildInterruptedError: the child ended without an answer, was stopped or took too long.
    """
    with site_targets(request):
        known = known_compile(request)
    return known or _expect(CompileResult, _run(request, on_progress, is_stopped, limit_s))


def site_targets(request: Request) -> AbstractContextManager[None]:
    """The site's own targets count, for whoever compiles for it."""
    return in_force(read_site(Path(request.targets_file)) if request.targets_file else SHIPPED)


def _expect(shape: type[_T], answer: Answer) -> _T:
    if isinstance(answer, Failure):
        raise told_by_child(answer.error, answer.detail, BuildInterruptedError)
    if not isinstance(answer, shape):
        raise BuildInterruptedError(f"The build answered with {type(answer).__name__}.")
    return answer


def _run(request: Request, on_progress: OnProgress, is_stopped: Callable[[], bool], limit_s: float) -> Answer:
    command = tethered([sys.executable, "-m", __spec__.name])
    with (
        scratch(Path(request.scratch) if request.scratch else None) as place,
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=child_environment({**folder_variable(), "TMPDIR": str(place)}),
        ) as child,
    ):
        try:
            _send(child, request)
            for answer in _answers(child, is_stopped, time.monotonic() + limit_s):
                if not isinstance(answer, Progress):
                    return answer
                on_progress(answer)
            # It closed its answers and may still be writing why: a killed traceback says nothing.
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_LAST_WORDS_S)
        finally:
            # After its last line a child has nothing left to do, and its interpreter's end takes time.
            child.kill()
        child.wait()
        log.seek(0)
        lines = log.read().decode(errors="replace").strip().splitlines()
    words = lines[-1][:_LAST_WORDS_CHARACTERS] if lines else "none"
    raise BuildInterruptedError(f"The build's process ended without an answer; its last words: {words}.")


def _send(child: "subprocess.Popen[bytes]", request: Request) -> None:
    assert child.stdin is not None
    try:
        child.stdin.write(msgspec.json.encode(request) + b"\n")
        child.stdin.close()
    except BrokenPipeError as error:
        raise BuildInterruptedError("The build's process ended at once.") from error


def _answers(
    child: "subprocess.Popen[bytes]", is_stopped: Callable[[], bool], deadline: float
) -> Iterator[Answer]:
    assert child.stdout is not None
    pending = b""
    while True:
        if is_stopped() or time.monotonic() > deadline:
            raise BuildInterruptedError(
                "The build was stopped." if is_stopped() else "The build took too long."
            )
        ready, _, _ = select.select([child.stdout], [], [], _POLL_S)
        if not ready:
            continue
        data = os.read(child.stdout.fileno(), _READ_BYTES)
        if not data:
            return
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            yield _decoder.decode(line)


def _answer(request: Request, write: Callable[[Answer], None]) -> Answer:
    # Imported here, because the controller's own process imports this module for its other half.
    from edgewright.controller.compiler.build import build_version, check_folder, compile_model

    try:
        with site_targets(request):
            if isinstance(request, CheckRequest):
                return check_folder(request)
            if isinstance(request, CompileRequest):
                return compile_model(request, write)
            return build_version(request, write)
    except EdgewrightError as error:
        return Failure(error.number, error.sentence)


def main() -> None:
    """The child's side."""
    os.nice(NICENESS)
    # Where memory runs out the kernel ends this process, and not the controller.
    Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0) as out:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

        def write(answer: Answer) -> None:
            out.write(msgspec.json.encode(answer) + b"\n")

        request: Request = msgspec.json.decode(sys.stdin.buffer.readline(), type=Request)
        write(_answer(request, write))


if __name__ == "__main__":
    main()
