"""Evidently's data drift preset as its documentation has it. Runs in an environment of its own.

``look_with_evidently.py FOLDER``: reads ``tables.npz``, columns ``reference`` and ``shift-N`` of the numbers
``names``, and writes ``answers.json``: for each shift whether the preset calls the dataset drifted (at least
half of the columns), and how many columns drifted.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    """Look at every shift."""
    folder = Path(sys.argv[1])
    evidently: Any = importlib.import_module("evidently")
    presets: Any = importlib.import_module("evidently.presets")
    pandas: Any = importlib.import_module("pandas")
    with np.load(folder / "tables.npz") as file:
        names = [str(name) for name in file["names"]]
        tables = {key: pandas.DataFrame(file[key], columns=names) for key in file.files if key != "names"}
    reference = tables.pop("reference")
    answers = {}
    for key, table in tables.items():
        report = evidently.Report([presets.DataDriftPreset()]).run(table, reference)
        said = next(m["value"] for m in report.dict()["metrics"] if "DriftedColumnsCount" in str(m))
        answers[key] = {"columns": said["count"], "drifted": said["share"] >= 0.5}
    (folder / "answers.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
