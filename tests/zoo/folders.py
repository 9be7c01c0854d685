"""A model folder for a model of the zoo, as an engineer writes it: model.toml, the file, recorded calls."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.controller.model_tensors import (
    InputPart,
    Kind,
    TensorDataPart,
    TensorModelPart,
    TensorSpec,
    write_tensor_model,
)
from edgewright.controller.model_toml import FILE_NAME, GatesPart, LicencePart
from tests.zoo.models import ZooModel

_STATES = frozenset({"state", "h", "c"})


def write_folder(
    model: ZooModel, folder: Path, targets: Sequence[str], gates: GatesPart | None = None
) -> TensorSpec:
    """Write the model's folder; what stands in its model.toml.

    Args:
        model: which.
        folder: made where it is missing.
        targets: for model.toml.
        gates: likewise, the product's own where None.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model.path, folder / model.path.name)
    labels = _labels(model)
    calibration = model.draw("calibration")
    for role in ("calibration", "holdout"):
        drawn = calibration if role == "calibration" else model.draw("holdout")
        arrays = dict(drawn.feeds)
        if role == "holdout" and labels and len(drawn.truths):
            arrays["labels"] = np.array([labels[truth] for truth in drawn.truths])
        _save(folder / f"{role}.npz", arrays)
    spec = TensorSpec(
        targets=tuple(targets),
        model=TensorModelPart(
            name=model.name,
            file=model.path.name,
            licence=model.licence,
            decision=model.decision,
            labels=labels,
        ),
        inputs=tuple(_input(name, values) for name, values in calibration.feeds.items()),
        data=TensorDataPart(calibration="calibration.npz", holdout="holdout.npz"),
        gates=gates or GatesPart(),
        licence=LicencePart(allow=(*LicencePart().allow, model.licence)),
    )
    (folder / FILE_NAME).write_bytes(write_tensor_model(spec))
    return spec


def _input(name: str, values: NDArray[Any]) -> InputPart:
    kind: Kind = "state" if name in _STATES else "signal"
    return InputPart(name=name, dtype=str(values.dtype), shape=values.shape[1:], kind=kind)


def _labels(model: ZooModel) -> tuple[str, ...]:
    named = model.path.with_name("config.min.json")
    if named.is_file():
        return tuple(json.loads(named.read_text())["target_labels_space"])
    return tuple(f"class {i}" for i in range(model.labels))


def _save(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
