"""The table of targets that both sides read: ``targets.toml`` beside this module.

The device reads what a target asks of it, to say which ones it fits; the controller reads all of it, to
compile. A target that is described and not qualified yet is no answer for a device, so it is not here.
"""

import tomllib
from importlib.resources import files
from typing import Final

import msgspec

from edgewright.wire.matching import Demands

TABLE: Final = "targets.toml"


def table_text() -> str:
    """The shipped table, TOML."""
    return files("edgewright.wire").joinpath(TABLE).read_text()


def shipped_demands() -> dict[str, Demands]:
    """What each shipped target asks of a device, by name, in the table's order: the better one first."""
    table = msgspec.convert(tomllib.loads(table_text())["target"], dict[str, Demands])
    return {name: msgspec.structs.replace(target, name=name) for name, target in table.items()}
