"""Models of scikit-learn on the data sets that it bundles, with real shifts. Runs in NannyML's environment.

``predict_real_data.py FOLDER SPLITS``: files as ``estimate_with_nannyml.py`` reads them, with the truths of
the analyses beside: a small network on the handwritten digits, whose test images are dimmed, brightened,
noisy, covered or moved by a pixel; naive Bayes, which is overconfident, on the breast cancer data, whose test
rows are the larger or the smaller tumours.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    """Write all files."""
    folder, splits = Path(sys.argv[1]), int(sys.argv[2])
    for split in range(splits):
        np.savez(folder / f"digits-{split}.npz", **digits(split))
        np.savez(folder / f"tumours-{split}.npz", **tumours(split))


def digits(split: int) -> dict[str, Any]:
    """600 images to train on, 600 of reference, the other 597 shifted in each way."""
    data = importlib.import_module("sklearn.datasets").load_digits()
    network = importlib.import_module("sklearn.neural_network").MLPClassifier(
        (32,), max_iter=300, random_state=split
    )
    rng = np.random.default_rng(split)
    order = rng.permutation(len(data.target))
    x, y = data.data[order] / 16.0, data.target[order]
    network.fit(x[:600], y[:600])
    images = x[1200:].reshape(-1, 8, 8)
    covered = images.copy()
    covered[:, 3:5] = 0.0
    shifted = {
        "none": images,
        "contrast": 0.7 * images,
        "brightness": images + 0.15,
        "noise": images + rng.normal(0.0, 0.2, images.shape),
        "covered": covered,
        "moved": np.roll(images, 1, axis=2),
    }
    arrays: dict[str, Any] = {
        "chunk": len(images),
        "reference_predicted": network.predict_proba(x[600:1200]),
        "reference_truth": y[600:1200],
    }
    for name, changed in shifted.items():
        arrays[f"{name}_predicted"] = network.predict_proba(changed.reshape(-1, 64))
        arrays[f"{name}_truth"] = y[1200:]
    return arrays


def tumours(split: int) -> dict[str, Any]:
    """150 rows to train on, 250 of reference; of the other 169 all, the larger and the smaller half."""
    data = importlib.import_module("sklearn.datasets").load_breast_cancer()
    model = importlib.import_module("sklearn.naive_bayes").GaussianNB()
    order = np.random.default_rng(split).permutation(len(data.target))
    x, y = data.data[order], data.target[order]
    model.fit(x[:150], y[:150])
    rest, truth = x[400:], y[400:]
    by_radius = np.argsort(rest[:, 0])
    half = len(by_radius) // 2
    arrays: dict[str, Any] = {
        "chunk": half,
        "reference_predicted": model.predict_proba(x[150:400])[:, 1],
        "reference_truth": y[150:400],
    }
    for name, rows in {
        "none": np.arange(half),
        "small": by_radius[:half],
        "large": by_radius[half : 2 * half],
    }.items():
        arrays[f"{name}_predicted"] = model.predict_proba(rest[rows])[:, 1]
        arrays[f"{name}_truth"] = truth[rows]
    return arrays


if __name__ == "__main__":
    main()
