"""``python -m edgewright.agent.line``: started by the supervisor with a listening socket as standard input.

It outlives its supervisor; see ``control``.
"""

import argparse
import logging
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from edgewright.agent.line.controllink import ControlLink
from edgewright.agent.servicemanager import set_up_log
from edgewright.agent.settings import CaptureSettings

if TYPE_CHECKING:
    from edgewright.agent.line.forking import Zygote

_STANDARD_INPUT: Final = 0
LINE_NICE: Final = -5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a line; 0 when it was told to stop, or another line has taken its place."""
    given = _parser().parse_args(arguments)
    # At once: from here on a supervisor that connects learns this process's id.
    control = ControlLink(socket.socket(fileno=os.dup(_STANDARD_INPUT)), given.samples)
    set_up_log(logging.INFO, "line")
    _go_before_others()
    if control.replaced:
        return 0
    environments = dict(pair.split("=", 1) for pair in given.environment)
    zygote = _begin_zygote(given.cell_socket, environments)
    from edgewright.agent.line.capture import CapturePlan
    from edgewright.agent.line.cellserver import CellServer
    from edgewright.agent.line.interlock import Broker, open_interlock
    from edgewright.agent.line.loop import Line
    from edgewright.agent.preprocess import use_one_thread

    use_one_thread()
    cell = CellServer(given.cell_socket)
    host, _, port = given.local_broker.rpartition(":")
    place, word = given.interlock_place, given.interlock_safe
    interlock = open_interlock(given.interlock, place, word, Broker(host, int(port)), given.device)
    settings = msgspec.json.decode(given.capture, type=CaptureSettings)
    line = Line(
        control,
        cell,
        given.device,
        given.window_seconds,
        CapturePlan(given.capture_share, settings, given.state, given.label_memory_mb * 1024 * 1024),
        interlock,
        environments,
        zygote,
    )
    line.run(os.getpid())
    return 0


def _begin_zygote(cell_socket: Path, environments: dict[str, str]) -> "Zygote | None":
    """Import what line and runners have in common, then fork: OpenCV and the rest is the line's own."""
    # numpy's linear algebra would start a thread a core, and nothing here uses it.
    os.environ.update({"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"})
    from edgewright.agent.line.forking import begin_zygote

    command = (sys.executable, "-m", "edgewright.agent.zygote", "--cell-socket", str(cell_socket))
    return begin_zygote(command, environments)


def _go_before_others() -> None:
    """Let frames, which have deadlines, be served before updates and telemetry, which have none.

    The line's runners inherit it, a qualification does not. Without the right to it (CAP_SYS_NICE) all
    processes of the device stay equal.
    """
    with suppress(PermissionError):
        os.nice(LINE_NICE)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m edgewright.agent.line", description=__doc__)
    parser.add_argument("--cell-socket", type=Path, required=True, help="where the machine connects")
    parser.add_argument("--window-seconds", type=float, default=10.0)
    parser.add_argument("--capture-share", type=float, default=0.0, help="part of all frames to sample")
    parser.add_argument("--capture", default="{}", help="settings of all else that is captured, as JSON")
    parser.add_argument("--state", type=Path, help="folder of what the line itself remembers")
    parser.add_argument("--label-memory-mb", type=int, default=0, help="for decisions that wait for truths")
    parser.add_argument("--samples", type=Path, help="folder of pictures too large for the control socket")
    parser.add_argument("--device", required=True)
    parser.add_argument(
        "--environment", action="append", default=[], metavar="RUNTIME=PYTHON", help="of a runtime's own"
    )
    parser.add_argument("--agent", default="", help="version of the agent, which only the command line shows")
    parser.add_argument("--interlock", choices=["frame", "always", "topic", "file", "gpio"], default="frame")
    parser.add_argument("--interlock-place", default="", help="topic or path")
    parser.add_argument("--interlock-safe", default="1", help="what stands there while it is safe")
    parser.add_argument("--local-broker", default="127.0.0.1:1883", metavar="HOST:PORT", help="of a topic")
    return parser


if __name__ == "__main__":
    sys.exit(main())
