"""The whole agent with a source of its own: real supervisor, line, runner, cell and broker."""

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from edgewright.agent.configuration import read_settings
from edgewright.wire.deployment import State
from edgewright.wire.errors import BlackPictureError, ConfigurationError, SourceLostError
from edgewright.wire.messages import Report
from tests.agent.agent_rig import AgentRig, ControllerHand, wait_for
from tests.agent.cell_rig import names, picture, write_picture
from tests.agent.tiny_models import grey_frame
from tests.contract.brokers import Broker, nats
from tests.house.sources import ROOT

__all__ = ["nats"]


def cell_pid(agent: AgentRig) -> int:
    """Process id of the agent's cell, a child of its supervisor."""
    assert agent.process is not None
    children = Path(f"/proc/{agent.process.pid}/task/{agent.process.pid}/children").read_text().split()
    for pid in children:
        if b"edgewright.agent.cell" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            return int(pid)
    return 0


def test_the_agent_reads_its_own_source(nats: Broker, tmp_path: Path) -> None:
    """Files become decisions of the committed version; a killed cell and black pictures are reported once."""
    pictures, out = tmp_path / "pictures", tmp_path / "decisions.jsonl"
    pictures.mkdir()
    controller = ControllerHand(nats)
    agent = AgentRig(tmp_path / "a", nats, controller.simulator, controller.device_key)
    agent.config.write_text(
        agent.config.read_text()
        + f'\n[source]\nkind = "folder"\nplace = "{pictures}"\ndeadline_ms = 2000\n'
        + f'\n[[sinks]]\nkind = "file"\nplace = "{out}"\n'
    )

    def decided(count: int) -> list[dict[str, Any]]:
        wait_for(lambda: out.exists() and len(out.read_bytes().splitlines()) >= count, f"{count} decisions")
        return [json.loads(line) for line in out.read_bytes().splitlines()]

    def reports(name: str) -> list[Report]:
        return list({r.seq: r for r in controller.of(Report) if r.name == name}.values())

    try:
        agent.start()
        controller.simulator.assign(controller.release(1))
        wait_for(lambda: State.COMMITTED in controller.states(), "the first commit")
        write_picture(pictures / "1.png", picture(1))
        assert (names(decided(1)), decided(1)[0]["version"]) == (["1.png"], 1)
        killed = wait_for(lambda: cell_pid(agent), "a cell")
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: reports("SourceLost"), "the report of the crash")
        write_picture(pictures / "2.png", picture(2))
        assert names(decided(2)) == ["1.png", "2.png"]
        wait_for(lambda: reports("CellOver"), "the report of the return")
        assert cell_pid(agent) not in (0, killed)
        for number in (3, 4, 5):
            write_picture(pictures / f"{number}.png", grey_frame(0))
        assert [record["cause"] for record in decided(5)[2:]] == ["BlackPicture"] * 3
        (black,) = wait_for(lambda: reports("BlackPicture"), "the report of the black picture")
        assert (black.error, black.state) == (BlackPictureError.number, None)
        (lost,) = reports("SourceLost")
        assert (lost.error, lost.detail) == (
            SourceLostError.number,
            "The cell has ended by SIGKILL; it starts again.",
        )
        assert agent.signal(signal.SIGTERM) == 0
    finally:
        agent.stop()
        controller.close()


_HEAD = 'device = "r1"\ntarget = "t"\ndata = "/tmp"\n[broker]\nhost = "127.0.0.1"\nport = 1883\ntls = false\n'
_BLOCKS = re.findall(
    r"^```toml\n(.*?)^```", (ROOT / "docs/how-to/cameras-and-sinks.md").read_text(), re.MULTILINE | re.DOTALL
)


@pytest.mark.parametrize("block", _BLOCKS)
def test_examples_of_the_page_are_settings(block: str, tmp_path: Path) -> None:
    """Each example of the page about cameras and sinks is read without complaint."""
    config = tmp_path / "agent.toml"
    source = "" if "[source]" in block else '[source]\nkind = "camera"\nplace = "0"\n'
    config.write_text(_HEAD + source + block)
    assert read_settings(config).source.place


@pytest.mark.parametrize(
    ("section", "named"),
    [
        ('[source]\nkind = "camera"\n', "place"),
        ('[[sinks]]\nkind = "file"\nplace = "x"\n', "sinks"),
        ('[source]\noutcomes = "cell/outcomes"\n', "outcomes"),
    ],
)
def test_what_would_be_ignored_is_refused(section: str, named: str, tmp_path: Path) -> None:
    """A source that names nothing to read, and sinks or outcomes without one, are refused by name."""
    config = tmp_path / "agent.toml"
    config.write_text(_HEAD + section)
    with pytest.raises(ConfigurationError, match=named):
        read_settings(config)
