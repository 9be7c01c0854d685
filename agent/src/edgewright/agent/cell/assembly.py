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
from edgewright.agent.cell.truthdoor import TOKEN_FILE, TruthDoor, token_at
from edgewright.agent.cell.truthfiles import MEMORY_FILE as DONE_FILE
from edgewright.agent.cell.truthfiles import TruthFolder
from edgewright.agent.cell.truths import Truths
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
    truths = Truths(tell)
    if topic:
        OutcomeTopic(topic, link, truths)
    door, files = open_labels(setup, truths)
    speaks = bool(topic) or "topic" in {setup.source.kind, *(sink.kind for sink in setup.sinks)}
    if speaks:
        link.start()
    cell = Cell(setup.source, feed, LineClient(Path(setup.socket)), sinks, tell, truths, files)
    try:
        yield cell
    finally:
        if door is not None:
            door.stop()
        cell.close()
        if speaks:
            link.stop()


def open_labels(setup: Setup, truths: Truths) -> tuple[TruthDoor | None, TruthFolder | None]:
    """The ways by which truths come beside the topic; a door that cannot be opened is told and stays shut."""
    beside = Path(setup.memory)
    folder = setup.labels.csv
    files = TruthFolder(Path(folder), beside.with_name(DONE_FILE), truths) if folder else None
    if not setup.labels.http_port:
        return None, files
    try:
        token = token_at(beside.with_name(TOKEN_FILE))
        door = TruthDoor(setup.labels.http_port, token, truths)
    except ConfigurationError as error:
        truths.complain("HTTP", 0, f"Truths cannot be posted. {error.sentence}")
        return None, files
    door.start()
    return door, files


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
