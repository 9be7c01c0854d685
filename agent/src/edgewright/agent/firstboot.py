"""The first boot of a board: enrolled from one file that somebody put on the boot partition.

Example::

    controller = "https://plant.example:8443"
    token = "ewe_..."
    target = "x86_64-ort-cpu"
    device = "press-7"

    [tags]
    line = "a"

    [source]
    kind = "camera"
    place = "0"

``target`` may be ``auto``: the best shipped one that fits the board. ``device`` may be missing: then the
board's machine id names it. Every table that agent.toml knows may follow and becomes part of it. A board
that is enrolled is left as it is, so this may run at every boot. Who started it removes the file, which needs
other rights than an enrolment.
"""

import hashlib
import re
import tomllib
from pathlib import Path
from typing import Any, Final

import msgspec

from edgewright.agent.configuration import ENCODING, parse_settings
from edgewright.agent.enrolment import Request, enrol
from edgewright.agent.owntarget import resolve
from edgewright.agent.settings import AUTO, FILE_NAME, Settings
from edgewright.wire.errors import ConfigurationError

MACHINE_ID: Final = Path("/etc/machine-id")

_OWN: Final = frozenset({"controller", "token", "device", "target", "tags"})
_TABLE: Final = re.compile(r"\s*\[{1,2}\s*([A-Za-z0-9_-]+)")


class FirstBoot(msgspec.Struct, frozen=True, kw_only=True):
    """What the file says of the enrolment itself."""

    controller: str
    token: str
    target: str
    device: str = ""
    tags: dict[str, str] = {}


def enrol_board(file: Path, data: Path) -> Path:
    """Enrol this board as a file says, unless it is enrolled; the path of its configuration.

    Raises:
        ConfigurationError: the file is missing, no TOML, or a setting in it is wrong.
        EnrolmentError: the controller did not answer, or refused.
    """
    configuration = data / FILE_NAME
    if configuration.is_file():
        return configuration
    try:
        text = file.read_text(encoding=ENCODING)
        content = tomllib.loads(text)
        asked = msgspec.convert(content, FirstBoot)
        device = asked.device or _board_id(MACHINE_ID.read_text())
        more = {name: table for name, table in content.items() if name not in _OWN}
        settings = _verify(device, asked, data, more)
    except OSError as error:
        raise ConfigurationError(f"The file {file} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The file {file} is no TOML: {error}.") from error
    except ValueError as error:
        raise ConfigurationError(f"The file {file} is wrong: {error}.") from error
    target = resolve(asked.target, settings.machine, settings.runtime.environments)
    request = Request(device, target, asked.tags, asked.token)
    return enrol(asked.controller, request, data, more=_tables(text, more))


def _board_id(machine_id: str) -> str:
    """A name out of the machine's own, which machine-id(5) asks not to show to a network.

    >>> _board_id("0123456789abcdef0123456789abcdef")
    'board-58db7df7bc79'
    """
    return f"board-{hashlib.sha256(b'edgewright' + machine_id.strip().encode()).hexdigest()[:12]}"


def _verify(device: str, asked: FirstBoot, data: Path, more: dict[str, Any]) -> Settings:
    """Refuse what agent.toml would refuse, before the token is spent on it."""
    broker = {"host": "of-the-controllers-answer.invalid", "port": 1}
    target = "chosen-later" if asked.target == AUTO else asked.target
    own = {"device": device, "target": target, "data": str(data.absolute()), "broker": broker}
    own["door"] = asked.controller
    if unexpected := more.keys() & own.keys():
        raise ValueError(f"{min(unexpected)!r} comes from the controller")
    return parse_settings({**own, **more})


def _tables(text: str, wanted: dict[str, Any]) -> str:
    """The lines of some tables of a TOML text, as they are.

    Raises:
        ConfigurationError: they are not written as tables of their own.
    """
    lines, taking = [], False
    for line in text.splitlines():
        if found := _TABLE.match(line):
            taking = found[1] in wanted
        if taking:
            lines.append(line)
    taken = "\n".join(lines) + "\n" if lines else ""
    try:
        same = tomllib.loads(taken) == wanted
    except tomllib.TOMLDecodeError:
        same = False
    if not same:
        raise ConfigurationError("Settings of the agent have to be tables of their own, like [source].")
    return taken
