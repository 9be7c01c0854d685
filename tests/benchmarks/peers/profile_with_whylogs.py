"""whylogs on the columns of a telemetry window. Runs in an environment of its own.

``profile_with_whylogs.py COLUMNS OUT``: an ``.npz`` with ``floats`` (frames x columns) and ``labels`` (frames
x 2, text), and where the figures go: JSON with the bytes of a profile, and processor time of logging a row
and of reading and merging a profile, microseconds.
"""

import importlib
import json
import statistics
import sys
from pathlib import Path
from time import process_time_ns
from typing import Any

import numpy as np

ROWS = 500
MERGES = 20


def main() -> None:
    """Log every row once for the size, and some again for the time."""
    core: Any = importlib.import_module("whylogs.core")
    views: Any = importlib.import_module("whylogs.core.view.dataset_profile_view")
    with np.load(sys.argv[1]) as file:
        floats, labels = file["floats"].tolist(), file["labels"].tolist()
    rows = [
        {f"signal {i}": value for i, value in enumerate(values)}
        | {f"class {i}": label for i, label in enumerate(names)}
        for values, names in zip(floats, labels, strict=True)
    ]
    profile = core.DatasetProfile()
    for row in rows:
        profile.track(row=row)
    packed = profile.view().serialize()
    timed = core.DatasetProfile()
    row_us = [_us(lambda row=row: timed.track(row=row)) for row in rows[:ROWS]]
    total = views.DatasetProfileView.deserialize(packed)
    merge_us = [_us(lambda: total.merge(views.DatasetProfileView.deserialize(packed))) for _ in range(MERGES)]
    figures = {
        "bytes": len(packed),
        "row_us": statistics.median(row_us),
        "merge_us": statistics.median(merge_us),
    }
    Path(sys.argv[2]).write_text(json.dumps(figures))


def _us(work: Any) -> float:
    started = process_time_ns()
    work()
    return (process_time_ns() - started) / 1000


if __name__ == "__main__":
    main()
