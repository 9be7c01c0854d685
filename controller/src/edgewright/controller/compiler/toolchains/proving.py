"""Whether a toolchain works: it is made to do its work on something tiny. An import alone proves nothing."""

import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from edgewright.controller.compiler.toolchains.places import Place, find_place
from edgewright.controller.compiler.toolchains.running import INSIDE, run_script
from edgewright.controller.compiler.toolchains.table import Toolchain
from edgewright.controller.errors import ToolchainFailedError

LIMIT_S: Final = 120.0
"""The largest import of them takes some ten seconds from a cold disk."""


class Health(NamedTuple):
    """What a doctor says of one toolchain.

    Attributes:
        place: where it is; None where it is not.
        words: what is wrong; empty where it is missing or well.
    """

    place: Place | None
    words: str = ""


def prove(toolchain: Toolchain, python: Path) -> None:
    """Make it work on something tiny.

    Raises:
        ToolchainFailedError: it does not.
    """
    with tempfile.TemporaryDirectory(prefix="edgewright-probe-") as folder:
        outcome = run_script(python, INSIDE / toolchain.probe, {}, Path(folder), LIMIT_S)
    if outcome.result is None:
        raise ToolchainFailedError(f"{toolchain.name} is installed and does not work: {outcome.words}.")


def examine(toolchain: Toolchain) -> Health:
    """Find it and prove it."""
    place = find_place(toolchain)
    if place is None:
        return Health(None)
    try:
        prove(toolchain, place.python)
    except ToolchainFailedError as error:
        return Health(place, error.sentence)
    return Health(place)
