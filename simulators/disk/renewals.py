"""A device renews its identity when the power goes: afterwards it has the old one or the new one, whole."""

import random
import shutil
from pathlib import Path

from edgewright.agent.devicekey import DeviceKey
from edgewright.agent.identity import Identity, save
from edgewright.wire.errors import EdgewrightError
from simulators.disk.platter import STYLES, Platter, lay_out
from simulators.disk.recording import Recorder

DEVICE = "robot-1"


def broken_renewals(work: Path, draws: int) -> list[str]:
    """Cut the power at every operation of a renewal, in every style; what did not hold.

    Args:
        work: an empty folder.
        draws: of a style that leaves some names and not others.
    """
    folder, recorder = work / "identity", Recorder()
    for _ in range(2):
        save(folder, DEVICE, DeviceKey.generate(), certificates=b"old")
    keys = {Identity.load(folder).client_id}
    start = Platter(folder)
    recorder.begin(folder)
    save(folder, DEVICE, DeviceKey.generate(), certificates=b"new")
    operations = recorder.end()
    keys.add(Identity.load(folder).client_id)
    shutil.rmtree(folder)
    broken = []
    for position in range(len(operations) + 1):
        disk = start.copy()
        for found in operations[:position]:
            disk.take(found)
        for style, (names, _) in STYLES.items():
            for number in range(draws if names == "some" else 1):
                lay_out(disk.left(style, random.Random(number)), folder)
                if said := _unusable(folder, keys):
                    broken.append(f"{position} {style}: {said}")
                shutil.rmtree(folder)
    return broken


def _unusable(folder: Path, keys: set[str]) -> str:
    try:
        found = Identity.load(folder)
        if found.client_id not in keys or (found.folder / "cert.pem").read_bytes() not in (b"old", b"new"):
            return "it is neither the old one nor the new one"
    except (EdgewrightError, OSError) as error:
        return str(error)
    return ""
