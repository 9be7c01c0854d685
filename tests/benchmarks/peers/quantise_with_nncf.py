"""NNCF's post-training quantisation as its documentation has it. Runs in an environment of its own.

``quantise_with_nncf.py MODEL CALLS OUT``: an ONNX file, an ``.npz`` of calls, and where the result goes.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    """Quantise with the defaults, which are the recommended settings for convolutional networks."""
    source, calls, result = map(Path, sys.argv[1:])
    nncf: Any = importlib.import_module("nncf")
    onnx: Any = importlib.import_module("onnx")
    with np.load(calls) as file:
        arrays = {name: file[name] for name in file.files}
    count = len(next(iter(arrays.values())))
    rows = [{name: values[i, ...] for name, values in arrays.items()} for i in range(count)]
    quantised = nncf.quantize(onnx.load(source), nncf.Dataset(rows), subset_size=min(300, count))
    onnx.save(quantised, result)


if __name__ == "__main__":
    main()
