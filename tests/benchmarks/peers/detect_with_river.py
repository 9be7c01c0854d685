"""river's drift detectors with their defaults. Runs in an environment of its own.

``detect_with_river.py STREAMS OUT``: an ``.npz`` of streams x frames arrays, and where the alarms go: JSON,
``{array: {detector: [[frame, ...], ...]}}``. Detectors of errors see the arrays that hold only 0 and 1.
"""

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

KSWIN_STREAMS = 2
"""It takes 0.25 ms a frame, a thousand times as long as ADWIN."""


def main() -> None:
    """Run every detector over every stream; all start anew by themselves after an alarm."""
    drift: Any = importlib.import_module("river.drift")
    binary: Any = importlib.import_module("river.drift.binary")
    any_signal = {
        "ADWIN": drift.ADWIN,
        "PageHinkley": drift.PageHinkley,
        "KSWIN": lambda: drift.KSWIN(seed=1),
    }
    errors = {"DDM": binary.DDM, "EDDM": binary.EDDM, "HDDM_A": binary.HDDMA, "HDDM_W": binary.HDDMW}
    errors["FHDDM"] = binary.FHDDM
    alarms: dict[str, dict[str, list[list[int]]]] = {}
    with np.load(sys.argv[1]) as file:
        for name in file.files:
            streams = file[name]
            detectors = any_signal | (errors if set(np.unique(streams)) <= {0.0, 1.0} else {})
            alarms[name] = {
                f"river {peer}": [_alarms(make, row) for row in streams[: _limit(peer)]]
                for peer, make in detectors.items()
            }
    Path(sys.argv[2]).write_text(json.dumps(alarms))


def _limit(peer: str) -> int | None:
    return KSWIN_STREAMS if peer == "KSWIN" else None


def _alarms(make: Callable[[], Any], stream: Any) -> list[int]:
    """Frames seen when the detector alarmed."""
    detector, found = make(), []
    for frame, value in enumerate(stream.tolist(), start=1):
        detector.update(value)
        if detector.drift_detected:
            found.append(frame)
    return found


if __name__ == "__main__":
    main()
