"""``planted_faults_missed``: faults that the compiler neither refuses nor says; see ``tests/compiler``.

A fault whose toolchains are not installed is not run, and named.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgewright.controller.compiler.toolchains.places import FOLDER_VARIABLE, find_place
from edgewright.controller.compiler.toolchains.table import find_toolchain
from tests.compiler.planted_faults import FAULTS, Fault
from tests.environments import TOOLCHAINS


def run() -> Iterator[dict[str, object]]:
    """Plant each; one dictionary."""
    os.environ.setdefault(FOLDER_VARIABLE, str(TOOLCHAINS))
    here = [fault for fault in FAULTS if all(find_place(find_toolchain(name)) for name in fault.toolchains)]
    missed = [fault.name for fault in here if not _is_caught(fault)]
    yield {
        "name": "planted_faults_missed",
        "value": len(missed),
        "unit": "faults",
        "planted": [fault.name for fault in here],
        "missed": missed,
        "not_run": [fault.name for fault in FAULTS if fault not in here],
    }


def _is_caught(fault: Fault) -> bool:
    with tempfile.TemporaryDirectory(prefix="edgewright-fault-") as folder:
        return fault.is_caught(Path(folder))
