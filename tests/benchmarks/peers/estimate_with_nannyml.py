"""NannyML's CBPE as its documentation has it. Runs in an environment of its own.

``estimate_with_nannyml.py FOLDER``: for each ``NAME.npz`` of the folder an ``NAME.estimates.npz``. A file has
``chunk``, ``reference_predicted`` (chance of class 1, or a column a class), ``reference_truth`` (class), and
of each analysis ``NAME_predicted``; the result has of each ``NAME_estimate`` and ``NAME_alert``, one a chunk.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    """Estimate the accuracy of all analyses."""
    sources = [path for path in Path(sys.argv[1]).glob("*.npz") if not path.name.endswith(".estimates.npz")]
    nannyml: Any = importlib.import_module("nannyml")
    for source in sorted(sources):
        with np.load(source) as file:
            arrays = {name: file[name] for name in file.files}
        np.savez(source.with_suffix(".estimates.npz"), **estimates(nannyml, arrays))


def estimates(nannyml: Any, arrays: dict[str, Any]) -> dict[str, Any]:
    """Of one file."""
    predicted = arrays["reference_predicted"]
    reference = table(predicted)
    reference["truth"] = arrays["reference_truth"]
    binary = predicted.ndim == 1
    chances = "p1" if binary else {label: f"p{label}" for label in range(predicted.shape[1])}
    estimator = nannyml.CBPE(
        y_pred_proba=chances,
        y_pred="decided",
        y_true="truth",
        metrics=["accuracy"],
        chunk_size=int(arrays["chunk"]),
        problem_type="classification_binary" if binary else "classification_multiclass",
    )
    estimator.fit(reference)
    results: dict[str, Any] = {}
    for key, values in arrays.items():
        name = key.removesuffix("_predicted")
        if name != key and name != "reference":
            rows = estimator.estimate(table(values)).filter(period="analysis").to_df()
            results[f"{name}_estimate"] = rows[("accuracy", "value")].to_numpy(dtype=float)
            results[f"{name}_alert"] = rows[("accuracy", "alert")].to_numpy(dtype=bool)
    return results


def table(predicted: Any) -> Any:
    """Chances and decision as columns."""
    pandas: Any = importlib.import_module("pandas")
    if predicted.ndim == 1:
        return pandas.DataFrame({"p1": predicted, "decided": (predicted >= 0.5).astype(int)})
    columns = {f"p{label}": predicted[:, label] for label in range(predicted.shape[1])}
    return pandas.DataFrame({**columns, "decided": predicted.argmax(axis=1)})


if __name__ == "__main__":
    main()
