"""Reading, verifying and writing agent.toml; what the settings are stands in ``settings``.

``verify`` is pure, and it is all that ``read_settings`` asks for beyond the types: who has settings that are
no file yet, as a first boot does, learns the same from it.
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from edgewright.agent.addresses import LOOPBACK, check_host, check_topic, parse_door
from edgewright.agent.schedule import parse_window
from edgewright.agent.settings import AUTO, BrokerSettings, Settings, SinkSettings, SourceSettings
from edgewright.wire.errors import ConfigurationError, DoorUnreachableError, UnknownTopicError
from edgewright.wire.topics import check_device_id

ENCODING: Final = "utf-8-sig"
"""UTF-8, with or without the mark that some editors put first."""

MAX_SOCKET_PATH_BYTES: Final = 107
"""Linux keeps a Unix socket's path in 108 bytes, the last of them zero (unix(7))."""

_CALLBACK: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def read_settings(path: Path) -> Settings:
    """Read the configuration.

    Raises:
        ConfigurationError: it is missing, no TOML, or a setting is wrong; the sentence names it.
    """
    try:
        return parse_settings(tomllib.loads(path.read_text(encoding=ENCODING)))
    except OSError as error:
        raise ConfigurationError(f"The configuration {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The configuration {path} is no TOML: {error}.") from error
    except ValueError as error:
        raise ConfigurationError(f"The configuration {path} is wrong: {error}.") from error


def parse_settings(content: dict[str, Any]) -> Settings:
    """Settings out of a parsed TOML text.

    Raises:
        ValueError: one is unknown, missing or wrong.
    """
    settings = msgspec.convert(content, Settings)
    verify(settings)
    return settings


def verify(settings: Settings) -> None:
    """Refuse what has the right types and cannot work.

    Raises:
        ValueError: what is wrong; the text names the setting.
    """
    try:
        check_device_id(settings.device)
    except UnknownTopicError as error:
        raise ValueError(error.sentence.rstrip(".")) from error
    for setting, look in _looks(settings):
        try:
            look()
        except ValueError as error:
            raise ValueError(f"{error} - at `$.{setting}`") from error


def _looks(settings: Settings) -> Iterator[tuple[str, Callable[[], object]]]:
    """Each setting's name, and what raises where it is wrong."""
    yield "target", partial(_check_target, settings.target)
    yield "broker", partial(_check_broker, settings.broker)
    yield "door", partial(_check_door, settings)
    yield "local_broker.host", partial(check_host, settings.local_broker.host)
    yield "update.windows", lambda: list(map(parse_window, settings.update.windows))
    yield "interlock.place", partial(_check_interlock, settings)
    yield "source", partial(_check_source, settings.source, settings.sinks)
    for number, sink in enumerate(settings.sinks):
        yield f"sinks[{number}].place", partial(_check_sink, sink)
    yield "capture.redactor", partial(_check_redactor, settings.capture.redactor)
    yield "labels", partial(_check_labels, settings)
    yield "data", partial(_check_data, settings)


def _check_target(target: str) -> None:
    if target == AUTO:
        raise ValueError("`auto` is for enrolling; `edgewright-agent target` says what fits")


def _check_broker(broker: BrokerSettings) -> None:
    check_host(broker.host)
    if not broker.tls and broker.host not in LOOPBACK:
        raise ValueError("`tls = false` is for a broker on this machine only")


def _check_door(settings: Settings) -> None:
    if settings.door:
        try:
            parse_door(settings.door)
        except DoorUnreachableError as error:
            raise ValueError(error.sentence.rstrip(".")) from error
    elif settings.update.transport == "https":
        raise ValueError("the transport `https` needs a `door`")


def _check_interlock(settings: Settings) -> None:
    interlock = settings.interlock
    if interlock.kind in {"topic", "file", "gpio"} and not interlock.place:
        raise ValueError(f"the interlock {interlock.kind} needs a place")
    if interlock.kind == "topic":
        check_topic(interlock.place)


def _check_source(source: SourceSettings, sinks: tuple[SinkSettings, ...]) -> None:
    if source.kind == "socket":
        if sinks or source.outcomes:
            raise ValueError("sinks and `outcomes` need a `[source]` of the agent's own")
        return
    if not source.place:
        raise ValueError("`[source]` needs a `place`")
    addressed = "://" in source.place
    if source.kind == "rtsp" and not addressed:
        raise ValueError("the place of an rtsp source is an address such as rtsp://camera.example/stream")
    if source.kind in {"camera", "video", "folder"} and addressed:
        # Nothing of it is repeated: it may hold a password.
        raise ValueError(f"the place of a {source.kind} is no address; a network camera is of kind rtsp")
    if source.kind == "topic":
        check_topic(source.place)
    if source.outcomes:
        check_topic(source.outcomes)


def _check_sink(sink: SinkSettings) -> None:
    if sink.kind == "topic":
        check_topic(sink.place)
    if sink.kind == "callback":
        _check_callable(sink.place)


def _check_callable(name: str) -> None:
    if not _CALLBACK.fullmatch(name):
        raise ValueError(f"{name[:200]!r} is not of the form `package.module:function`")


def _check_redactor(name: str) -> None:
    if name:
        _check_callable(name)


def _check_labels(settings: Settings) -> None:
    labels = settings.labels
    if settings.source.kind == "socket" and (labels.http_port or labels.csv):
        raise ValueError(
            "`http_port` and `csv` need a `[source]` of the agent's own; a machine at the cell socket tells "
            "truths there"
        )
    if labels.csv and not Path(labels.csv).is_absolute():
        raise ValueError("`csv` needs the whole path of a folder")


def _check_data(settings: Settings) -> None:
    if len(str(settings.cell_socket).encode()) > MAX_SOCKET_PATH_BYTES:
        raise ValueError(f"the path {settings.cell_socket} is too long for a Unix socket")


def format_settings(
    device: str, target: str, tags: dict[str, str], data: Path, broker: BrokerSettings, door: str = ""
) -> str:
    """TOML of a new device's configuration; everything else keeps its default.

    A JSON string is a TOML basic string, so values are quoted as JSON.
    """
    lines = [
        f"device = {json.dumps(device)}",
        f"target = {json.dumps(target)}",
        f"data = {json.dumps(str(data))}",
        f"door = {json.dumps(door)}",
        "",
        "[tags]",
        *(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in tags.items()),
        "",
        "[broker]",
        f"host = {json.dumps(broker.host)}",
        f"port = {broker.port}",
        f"tls = {json.dumps(broker.tls)}",
        "",
    ]
    return "\n".join(lines)
