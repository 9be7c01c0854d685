"""Olive's static quantisation of ONNX as its documentation has it. Runs in an environment of its own.

``quantise_with_olive.py MODEL CALLS OUT``: an ONNX file, an ``.npz`` of calls, and where the result goes.
Olive changes names and adds files in a folder of its own, so it gets a temporary one.
"""

import importlib
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np


class Calls:
    """The calls as Olive's loaders give them: pairs of inputs and a label that nobody reads."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as file:
            self._arrays = {name: file[name] for name in file.files}

    def __len__(self) -> int:
        return len(next(iter(self._arrays.values())))

    def __getitem__(self, row: int) -> tuple[dict[str, Any], int]:
        if row >= len(self):
            raise IndexError(row)
        return {name: values[row, ...] for name, values in self._arrays.items()}, 0


def main() -> None:
    """Run the pass with its default configuration for the CPU."""
    source, calls, result = map(Path, sys.argv[1:])
    registry: Any = importlib.import_module("olive.data.registry").Registry
    data: Any = importlib.import_module("olive.data.config")
    handlers: Any = importlib.import_module("olive.model")
    passes: Any = importlib.import_module("olive.passes.olive_pass")
    static: Any = importlib.import_module("olive.passes.onnx.quantization").OnnxStaticQuantization
    registry.register_dataset("recorded_calls")(lambda **_: Calls(calls))
    registry.register_dataloader("recorded_calls")(lambda dataset, **_: dataset)
    registry.register_pre_process("recorded_calls")(lambda dataset, **_: dataset)
    parts = ("load_dataset_config", "pre_process_data_config", "dataloader_config")
    config = data.DataConfig(name="calls", **{part: {"type": "recorded_calls"} for part in parts})
    step = passes.create_pass_from_dict(static, {"data_config": config}, disable_search=True)
    with tempfile.TemporaryDirectory() as folder:
        made = step.run(handlers.ONNXModelHandler(model_path=str(source)), str(Path(folder, "made")))
        shutil.copyfile(made.model_path, result)


if __name__ == "__main__":
    main()
