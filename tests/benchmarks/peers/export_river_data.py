"""Data sets that river's wheel has in it. Runs in river's environment.

``export_river_data.py OUT``: writes an ``.npz`` with ``<name>_x`` (rows x features) and ``<name>_y``.
"""

import importlib
import sys
from typing import Any

import numpy as np

SETS = ("Bananas", "Phishing", "ImageSegments", "Shuttle")


def main() -> None:
    """Read each set and write its arrays."""
    datasets: Any = importlib.import_module("river.datasets")
    arrays = {}
    for name in SETS:
        rows = [(list(x.values()), str(y)) for x, y in getattr(datasets, name)()]
        arrays[f"{name}_x"] = np.array([row[0] for row in rows], dtype=np.float64)
        arrays[f"{name}_y"] = np.array([row[1] for row in rows])
    np.savez(sys.argv[1], allow_pickle=False, **arrays)


if __name__ == "__main__":
    main()
