"""Puts a cell together out of its setup."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from edgewright.agent.cell.captured import LiveCapture, VideoFile
from edgewright.agent.cell.control import Setup, Up
from edgewright.agent.cell.feeds import Feed, InOrder, Newest
from edgewright.agent.cell.folder import PictureFolder
from edgewright.agent.cell.lineclient import LineClient
from edgewright.agent.cell.loop import Cell
from edgewright.agent.cell.outcomes import OutcomeTopic
from edgewright.agent.cell.sink import Sink, SinkThread
from edgewright.agent.cell.sinks import CallbackSink, FileSink, TopicSink
from edgewright.agent.cell.source import Source
from edgewright.agent.cell.topic import PictureTopic
from edgewright.agent.link import Link
from edgewright.agent.settings import SinkSettings, SourceSettings
from edgewright.wire.errors import ConfigurationError


@contextlib.contextmanager
def assembled(setup: Setup, tell: Callable[[Up], None]) -> Iterator[Cell]:
    """A cell that can turn; it has let go of everything afterwards."""
    link = Link(setup.broker.host, setup.broker.port, f"{setup.device}-cell")
    source = make_source(setup.source, Path(setup.memory), link)
    feed: Feed = Newest(source) if source.live else InOrder(source)
    sinks = [SinkThread(make_sink(sink, link), sink.waiting, tell) for sink in setup.sinks]
    topic = setup.source.outcomes
    outcomes = OutcomeTopic(topic, link) if topic else None
    speaks = bool(topic) or "topic" in {setup.source.kind, *(sink.kind for sink in setup.sinks)}
    if speaks:
        link.start()
    cell = Cell(setup.source, feed, LineClient(Path(setup.socket)), sinks, tell, outcomes)
    try:
        yield cell
    finally:
        cell.close()
        if speaks:
            link.stop()


def make_source(settings: SourceSettings, memory: Path, link: Link) -> Source:
    """The source that the settings name.

    Raises:
        ConfigurationError: it is a machine at the cell socket, which needs no cell.
    """
    match settings.kind:
        case "camera" | "rtsp":
            return LiveCapture(settings)
        case "video":
            return VideoFile(settings)
        case "folder":
            return PictureFolder(settings, memory)
        case "topic":
            return PictureTopic(settings, link)
        case _:
            raise ConfigurationError(f"A source of kind {settings.kind} is none of the agent's own.")


def make_sink(settings: SinkSettings, link: Link) -> Sink:
    """The sink that the settings name."""
    match settings.kind:
        case "topic":
            return TopicSink(settings.place, link)
        case "file":
            return FileSink(Path(settings.place), settings.file_mb, settings.files)
        case "callback":
            return CallbackSink(settings.place)
