"""Streams of real data: honest models on sets that scikit-learn and river bundle, and a real change.

A model is trained on one half of a set. A stream draws rows of the other half with replacement, 5,000 as they
are and 2,000 changed, and tells for each whether the model was wrong, and how confident it was. A change may
do little harm; the true error rates before and after it stand in the row, and where they hardly differ an
alarm of harm would be one too many.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from sklearn.datasets import (  # type: ignore[import-untyped]  # scikit-learn has no types
    load_breast_cancer,
    load_digits,
    load_wine,
)
from sklearn.linear_model import (  # type: ignore[import-untyped]  # scikit-learn has no types
    LogisticRegression,
)
from sklearn.model_selection import (  # type: ignore[import-untyped]  # scikit-learn has no types
    train_test_split,
)
from sklearn.neighbors import (  # type: ignore[import-untyped]  # scikit-learn has no types
    KNeighborsClassifier,
)
from sklearn.pipeline import make_pipeline  # type: ignore[import-untyped]  # scikit-learn has no types
from sklearn.preprocessing import (  # type: ignore[import-untyped]  # scikit-learn has no types
    StandardScaler,
)

from tests.benchmarks.drift_detectors import (
    confidence_alarms,
    error_alarms,
    judged,
    peer_alarms,
    run_peer,
)
from tests.benchmarks.drift_streams import BEFORE, WITHIN
from tests.benchmarks.peer_environments import PeerError

Floats = NDArray[np.float64]
Rows = tuple[Floats, NDArray[Any]]
Change = Callable[[Floats], Floats]

SEEDS: Final = 10
NEW_DIGIT: Final = 8
NEW_SHARE: Final = 0.25
"""Of the rows after the change that are of the class that the model never saw."""


class World(NamedTuple):
    """A model's errors and confidences on held-out rows, as they are and changed."""

    name: str
    errors: tuple[Floats, Floats]
    confidences: tuple[Floats, Floats]


def real_rows() -> dict[str, object]:
    """Every world: true error rates, and what each detector did on errors and on confidences."""
    worlds = list(_worlds())
    arrays = {f"{kind} {world.name}": _draw(pair) for world in worlds for kind, pair in _pairs(world)}
    alarms, missing = peer_alarms(arrays, ("river",))
    rows: dict[str, object] = {"missing": missing} if missing else {}
    for world in worlds:
        before, after = (float(part.mean()) for part in world.errors)
        row: dict[str, object] = {"error_rates": [round(before, 4), round(after, 4)]}
        for kind, _ in _pairs(world):
            name = f"{kind} {world.name}"
            detect = error_alarms if kind == "errors" else confidence_alarms
            ours = [detect(stream) for stream in arrays[name]]
            row[kind] = {peer: found.row() for peer, found in judged(alarms, name, ours, WITHIN).items()}
        rows[world.name] = row
    return rows


def _pairs(world: World) -> Iterator[tuple[str, tuple[Floats, Floats]]]:
    yield "errors", world.errors
    yield "confidences", world.confidences


def _draw(pair: tuple[Floats, Floats]) -> Floats:
    """Streams x frames, drawn with replacement."""
    rngs = [np.random.default_rng(seed) for seed in range(SEEDS)]
    return np.array([np.r_[rng.choice(pair[0], BEFORE), rng.choice(pair[1], WITHIN)] for rng in rngs])


def _worlds() -> Iterator[World]:
    digits, wine, tumours = (load(return_X_y=True) for load in (load_digits, load_wine, load_breast_cancer))
    yield _new_class("digits, an 8 appears", digits)
    yield _changed("digits, out of focus", digits, _blurred)
    yield _changed("wine, colour reads 1.3 times", wine, _gain(9, 1.3))
    yield _changed("breast cancer, textures read 1.3 times", tumours, _gain(slice(1, None, 10), 1.3))
    try:
        bundled = _river_sets()
    except PeerError:
        return
    turned = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    changes: dict[str, Change] = {
        "Bananas": lambda x: x @ turned,
        "Phishing": _gain(0, 0.0),
        "ImageSegments": _gain(slice(9, None), 0.8),
        "Shuttle": _gain(0, 1.1),
    }
    words = {"Bananas": "turned by 17 degrees", "Phishing": "a feature is lost"}
    words |= {"ImageSegments": "colours read 0.8 times", "Shuttle": "a sensor reads 1.1 times"}
    for name, change in changes.items():
        yield _changed(f"{name}, {words[name]}", bundled[name], change, near=name == "Bananas")


def _river_sets() -> dict[str, Rows]:
    with tempfile.TemporaryDirectory(prefix="edgewright-real-") as folder:
        told = Path(folder, "sets.npz")
        run_peer("river", "export_river_data.py", told)
        with np.load(told) as file:
            names = {name[:-2] for name in file.files}
            return {name: (file[f"{name}_x"], file[f"{name}_y"]) for name in names}


def _changed(name: str, rows: Rows, change: Change, *, near: bool = False) -> World:
    x_fit, x_test, y_fit, y_test = train_test_split(*rows, test_size=0.5, random_state=1, stratify=rows[1])
    model = _model(near).fit(x_fit, y_fit)
    return _world(name, model, (x_test, y_test), (change(x_test), y_test))


def _new_class(name: str, rows: Rows) -> World:
    x_fit, x_test, y_fit, y_test = train_test_split(*rows, test_size=0.5, random_state=1, stratify=rows[1])
    model = _model(near=False).fit(x_fit[y_fit != NEW_DIGIT], y_fit[y_fit != NEW_DIGIT])
    old, new = y_test != NEW_DIGIT, y_test == NEW_DIGIT
    share = NEW_SHARE / (1 - NEW_SHARE) * np.count_nonzero(old)
    mixed = np.r_[np.flatnonzero(old), np.resize(np.flatnonzero(new), round(share))]
    return _world(name, model, (x_test[old], y_test[old]), (x_test[mixed], y_test[mixed]))


def _model(near: bool) -> Any:
    return make_pipeline(
        StandardScaler(), KNeighborsClassifier(25) if near else LogisticRegression(max_iter=500)
    )


def _world(name: str, model: Any, before: Rows, after: Rows) -> World:
    told = [model.predict_proba(x) for x, _ in (before, after)]
    wrong = [
        (model.classes_[p.argmax(axis=1)] != y).astype(np.float64)
        for p, (_, y) in zip(told, (before, after), strict=True)
    ]
    return World(name, (wrong[0], wrong[1]), (told[0].max(axis=1), told[1].max(axis=1)))


def _blurred(images: Floats) -> Floats:
    return np.array([gaussian_filter(image.reshape(8, 8), 0.7).ravel() for image in images])


def _gain(columns: int | slice, factor: float) -> Change:
    def change(x: Floats) -> Floats:
        moved = x.copy()
        moved[:, columns] *= factor
        return moved

    return change
