"""The zygote: a process that has imported what every runner needs, and forks runners for the line.

The line forks it before it has imported OpenCV, opened a cell or seen a model. So line, zygote and runners
share one copy of Python's heap, of numpy and of onnxruntime, as long as nobody writes to it; and a runner
that has to be replaced starts without importing anything.

Rules:

- A process forks only while it has one thread. A zygote that finds another one in itself ends.
- It holds no model, no key and no session: a runner inherits nothing of another one.
- Runners belong to the line, not to the zygote. Each is forked twice, and the process in between ends at
  once; the line, which is a subreaper (prctl(2)), becomes the parent. So the line learns how a runner ended,
  a line that is killed takes its runners along, and a zygote that is killed takes none.
- It forks no onnxruntime that is another one than the installed one, which is what a qualification proves.
- It is never needed. Without it a runner is a program of its own, as for another environment's Python.
"""

import gc
import logging
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from edgewright.agent.environments import installed_runtime
from edgewright.agent.runner.ownprocess import die_with_parent, name_process, return_free_memory, thread_count
from edgewright.agent.runner.serve import serve
from edgewright.wire.manifest import RuntimeRange

MAX_ORDER_BYTES: Final = 16 * 1024
"""Two paths of 4096 bytes, twice."""

ANSWER: Final = struct.Struct("<i")
"""The process id of a runner."""

FORKED: Final = RuntimeRange("onnxruntime", "0", "0", "CPUExecutionProvider")
"""What the zygote imports, whatever its version. Drivers of accelerators must not be loaded before a fork."""

_FILES: Final = 2
_INPUT_AND_OUTPUT: Final = (0, 1)
_LOG: Final = 2

_log = logging.getLogger(__name__)


class Birth(msgspec.Struct, frozen=True, array_like=True):
    """The order to fork a runner; its socket and its memory file come beside it.

    Attributes:
        command: what the runner's command line shows.
        manifest, artifact, threads: see ``runner.serve``.
    """

    command: tuple[str, ...]
    manifest: str
    artifact: str
    threads: int


def run_zygote(line: socket.socket, line_pid: int, command: tuple[str, ...]) -> NoReturn:
    """Become the zygote in a process that was just forked; it ends with the line.

    Args:
        line: on which orders come.
        line_pid: process id of the line.
        command: what the zygote's command line shows.
    """
    status = 1
    try:
        die_with_parent()
        _forget_descriptors(line.fileno())
        if name_process(command) and os.getppid() == line_pid:
            _import_runtime()
            settle()
            with suppress(ConnectionError):  # The line is gone.
                _serve_births(line, line_pid)
        status = 0
    # The top of a process: whatever it is, it must not run on into the line's own code.
    except Exception:  # noqa: BLE001 - as above
        _log.exception("The zygote failed.")
    finally:
        os._exit(status)


def _import_runtime() -> None:
    """Import onnxruntime for all runners. Where that fails it is left to them, who tell the line."""
    with suppress(ImportError):
        import edgewright.agent.runner.onnxruntime_runtime  # noqa: F401 - for those who are forked


def settle() -> None:
    """Keep the collector from writing to what is shared, and leave no free pages to be copied."""
    gc.collect()
    gc.freeze()
    return_free_memory()


def _serve_births(line: socket.socket, line_pid: int) -> None:
    imported = installed_runtime(FORKED)
    while True:
        data, files, _, _ = socket.recv_fds(line, MAX_ORDER_BYTES, _FILES)
        if not data:
            return
        if thread_count() != 1 or installed_runtime(FORKED) != imported:
            _log.warning("The zygote has got a thread, or another onnxruntime was installed; it ends.")
            return
        pid = _fork_runner(line, line_pid, msgspec.msgpack.decode(data, type=Birth), files)
        for descriptor in files:
            os.close(descriptor)
        line.send(ANSWER.pack(pid))


def _fork_runner(line: socket.socket, line_pid: int, birth: Birth, files: list[int]) -> int:
    """Fork a runner that is a child of the line; its process id.

    Raises:
        OSError, struct.error: the kernel has no room for another process.
    """
    adopted, adopt = os.pipe()
    told, tell = os.pipe()
    between = os.fork()
    if between == 0:
        runner = os.fork()
        if runner:
            os.write(tell, ANSWER.pack(runner))
            os._exit(0)
        for descriptor in (adopt, told, tell, line.detach()):
            os.close(descriptor)
        _run_runner(adopted, line_pid, birth, files)
    os.close(tell)
    pid = int(ANSWER.unpack(os.read(told, ANSWER.size))[0])
    os.waitpid(between, 0)
    # The last end that is closed is the sign: the process in between is gone, so the line is the parent.
    for descriptor in (adopted, told, adopt):
        os.close(descriptor)
    return pid


def _run_runner(adopted: int, line_pid: int, birth: Birth, files: list[int]) -> NoReturn:
    status = 1
    try:
        os.read(adopted, 1)
        os.close(adopted)
        die_with_parent()
        if os.getppid() == line_pid and name_process(birth.command):
            paths = Path(birth.manifest), Path(birth.artifact)
            status = serve(files[0], files[1], *paths, birth.threads)
    # The top of a process, as in run_zygote.
    except Exception:  # noqa: BLE001 - as above
        _log.exception("The runner failed.")
    finally:
        os._exit(status)


def _forget_descriptors(kept: int) -> None:
    """Close what the line had open; no input, no output, the log as it is."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in _INPUT_AND_OUTPUT:
        os.dup2(nothing, standard)
    for entry in list(Path("/proc/self/fd").iterdir()):
        if int(entry.name) not in (*_INPUT_AND_OUTPUT, _LOG, kept):
            # The one that has listed the others is closed already.
            with suppress(OSError):
                os.close(int(entry.name))
