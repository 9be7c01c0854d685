"""What the demo shows: a line a moment, and below them the fleet as it is now."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from simulators.demo.figures import Moment, PhaseCounts, Tally

STYLES: Final[Mapping[str, str]] = {
    "alarm.raised": "bold red",
    "drift.noticed": "yellow",
    "rebuild.queued": "bold magenta",
    "rebuild.candidate": "magenta",
    "rollout.wave": "cyan",
    "rollout.finished": "bold green",
    "rollout.stopped": "bold red",
    "device.failed": "red",
    "device.refused": "red",
    "device.rolled-back": "red",
}
"""Colours of the moments that matter; the others are plain."""


class Stage:
    """A live picture on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._began = time.monotonic()
        self._live = Live(console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> "Stage":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, sentence: str, style: str = "bold") -> None:
        """One line of the story."""
        clock = f"{time.monotonic() - self._began:6.1f} s  "
        self._live.console.print(Text.assemble((clock, "dim"), (sentence, style)))

    def moment(self, moment: Moment) -> None:
        """One event of the controller."""
        self.say(moment.sentence, STYLES.get(moment.kind, "default"))

    def fleet(
        self, devices: Sequence[Mapping[str, Any]], cells: Mapping[str, Mapping[str, PhaseCounts]]
    ) -> None:
        """The table of robots."""
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in ("robot", "target", "runs", "state", "items", "mispacked", "no decision in time"):
            table.add_column(
                column, justify="right" if column not in ("robot", "target", "state") else "left"
            )
        for device in devices:
            table.add_row(*_row(device, cells.get(device["id"], {})))
        self._live.update(Group(Text(), table))


def _row(device: Mapping[str, Any], phases: Mapping[str, PhaseCounts]) -> list[str]:
    total = Tally()
    for counts in phases.values():
        for tally in counts.by_version.values():
            total = total + tally
    dropped = sum(counts.dropped for counts in phases.values())
    return [
        device["id"],
        device["target"],
        f"v{device['active_version']}" if device["active_version"] else "-",
        device["state"] or "waiting",
        str(total.decided),
        f"{total.rate:.1%}" if total.decided else "-",
        str(dropped),
    ]
