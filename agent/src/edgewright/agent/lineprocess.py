"""The line's process, as the supervisor sees it."""

import sys

from edgewright.agent import control
from edgewright.agent.childprocess import ChildProcess
from edgewright.agent.settings import Settings


def line_command(settings: Settings, descriptor: int) -> list[str]:
    """How the line is started."""
    return [
        sys.executable,
        "-m",
        "edgewright.agent.line",
        "--control-fd",
        str(descriptor),
        "--cell-socket",
        str(settings.cell_socket),
        "--window-seconds",
        str(settings.line.window_seconds),
        "--capture-share",
        str(settings.line.capture_share),
        "--device",
        settings.device,
    ]


class LineProcess(ChildProcess[control.Up, control.Down]):
    """One line at a time."""

    title = "line"

    def encode(self, order: control.Down) -> bytes:
        """See ``control``."""
        return control.encode(order)

    def decode(self, data: bytes) -> control.Up | None:
        """See ``control``; a heartbeat says no more than that the line's loop turns."""
        message = control.decode_up(data)
        return None if isinstance(message, control.Heartbeat) else message

    def farewell(self) -> control.Down:
        """The line sends its open windows and ends."""
        return control.Stop()
