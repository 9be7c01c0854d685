"""How each model of the zoo is fed: what its own package would give it, from seeded sources.

A maker gives the rows of one role. Calibration and holdout draw from different seeds, and from different
halves of what is recorded (photographs, files, sentences), so no row is in both. Where a model's state is an
input, the fp32 model itself is run forward, so states are those that occur.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edgewright.controller.compiler.ort import Session
from tests.zoo.pictures import Pixels, Role, face, page, scene, silhouette, text_line
from tests.zoo.sounds import music, speech, wake_features
from tests.zoo.texts import files, look, sentences

SEEDS: Final[Mapping[Role, int]] = {"calibration": 11, "holdout": 12}

_IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
_IMAGENET_STD: Final = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Drawn:
    """Rows: inputs by name, each ``[n, *port.shape]``; the true class of each, -1 where nobody knows."""

    feeds: dict[str, NDArray[Any]]
    truths: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, np.intp))


@dataclass(frozen=True)
class Ask:
    """What a maker is asked for."""

    model: Path
    role: Role
    rows: int

    @property
    def rng(self) -> np.random.Generator:
        """A generator of this role, at its start."""
        return np.random.default_rng(SEEDS[self.role])


Maker = Callable[[Ask], Drawn]


def nchw(picture: Pixels, mean: Iterable[float] = (0, 0, 0), std: Iterable[float] = (1, 1, 1)) -> Any:
    """A picture as float32 ``[1, 3, height, width]``, RGB, scaled to 0 to 1, then normalised."""
    scaled = (picture[..., ::-1] / 255 - np.array([*mean])) / np.array([*std])
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[np.newaxis], np.float32)


def orientation(ask: Ask) -> Drawn:
    """Pages turned by 0, 90, 180 and 270 degrees, cut from their middle; the turn is the truth."""
    rng, rows, truths = ask.rng, [], []
    for i in range(ask.rows):
        turned = np.rot90(page(rng, 448, 448), -(i % 4))
        small = cv2.resize(np.ascontiguousarray(turned), (256, 256), interpolation=cv2.INTER_AREA)
        rows.append(nchw(np.asarray(small[16:240, 16:240], np.uint8), _IMAGENET_MEAN, _IMAGENET_STD))
        truths.append(i % 4)
    return Drawn({"x": np.stack(rows)}, np.array(truths, np.intp))


def line_direction(ask: Ask) -> Drawn:
    """Lines of text, every other one upside down, 48 x 192; which is the truth."""
    rng, rows = ask.rng, []
    for i in range(ask.rows):
        line = text_line(rng, 48, 192)
        rows.append(nchw(np.asarray(line[::-1, ::-1] if i % 2 else line, np.uint8), [0.5] * 3, [0.5] * 3))
    return Drawn({"x": np.stack(rows)}, np.arange(ask.rows) % 2)


def text_lines(ask: Ask) -> Drawn:
    """Lines of text to read, 48 x 320."""
    rng = ask.rng
    rows = [nchw(text_line(rng, 48, 320), [0.5] * 3, [0.5] * 3) for _ in range(ask.rows)]
    return Drawn({"x": np.stack(rows)})


def text_pages(ask: Ask) -> Drawn:
    """Pages to find text on, 320 x 320."""
    rng = ask.rng
    rows = [nchw(page(rng, 320, 320), _IMAGENET_MEAN, _IMAGENET_STD) for _ in range(ask.rows)]
    return Drawn({"x": np.stack(rows)})


def layout_pages(ask: Ask) -> Drawn:
    """Pages to find the layout of, 800 x 608."""
    rng = ask.rng
    rows = [nchw(page(rng, 800, 608), _IMAGENET_MEAN, _IMAGENET_STD) for _ in range(ask.rows)]
    return Drawn({"image": np.stack(rows)})


def scenes_nchw(name: str, size: int) -> Maker:
    """Scenes with goods, scaled to 0 to 1."""

    def make(ask: Ask) -> Drawn:
        rng = ask.rng
        return Drawn({name: np.stack([nchw(scene(rng, size, size, ask.role)) for _ in range(ask.rows)])})

    return make


def pictures_nhwc(name: str, size: int, *, faces: bool, low: float = 0.0, grey: bool = False) -> Maker:
    """Scenes or drawn faces as ``[1, size, size, channels]``, scaled to ``low`` to 1."""

    def make(ask: Ask) -> Drawn:
        rng, rows = ask.rng, []
        for _ in range(ask.rows):
            picture = face(rng, size, size) if faces else scene(rng, size, size, ask.role)
            seen = picture.mean(axis=2, keepdims=True) if grey else picture[..., ::-1]
            rows.append((seen / 255 * (1 - low) + low).astype(np.float32)[np.newaxis])
        return Drawn({name: np.stack(rows)})

    return make


def hands(ask: Ask) -> Drawn:
    """Silhouettes of hands with no to five fingers up, 0 or 255."""
    rng = ask.rng
    rows = [silhouette(rng, 224, i % 6)[np.newaxis].astype(np.float32) for i in range(ask.rows)]
    return Drawn({"mobilenetv2_1.00_224_input": np.stack(rows)})


def music_windows(ask: Ask) -> Drawn:
    """Two seconds of music at 22,050 Hz."""
    rng = ask.rng
    rows = [music(rng, 43_844, 22_050)[np.newaxis, :, np.newaxis] for _ in range(ask.rows)]
    return Drawn({"serving_default_input_2:0": np.stack(rows)})


def file_bytes(ask: Ask) -> Drawn:
    """Both ends of files of this repository, with their true types."""
    names = json.loads(ask.model.with_name("config.min.json").read_text())["target_labels_space"]
    found = list(files(ask.role, ask.rng))[: ask.rows]
    rows, truths = [look(data) for _, data in found], [names.index(kind) for kind, _ in found]
    return Drawn({"bytes": np.stack(rows)}, np.array(truths, np.intp))


def vowel_marks(ask: Ask) -> Drawn:
    """Arabic sentences of 64 letters without vowel marks."""
    ids = json.loads(ask.model.with_name("input_id_map.json").read_text(encoding="utf-8"))
    drawn = sentences(ask.role, ask.rng, 64, ids)
    letters = np.array([next(drawn) for _ in range(ask.rows)], np.int64)[:, np.newaxis]
    lengths = np.full((ask.rows, 1), 64, np.int64)
    return Drawn({"char_inputs": letters, "diac_inputs": np.zeros_like(letters), "input_lengths": lengths})


def wake_stream(ask: Ask) -> Drawn:
    """One stream, hop after hop: the state is inside the graph, so the order is part of the feed."""
    name = "serving_default_input_audio:0"
    return Drawn({name: wake_features(ask.rng, ask.rows)[:, np.newaxis]})


def voice_stream(constants: Mapping[str, NDArray[Any]], *, length: int = 0) -> Maker:
    """Voices at 16 kHz, 512 samples with the 64 before them, and the recurrent state that they led to.

    Args:
        constants: inputs that are the same in every row.
        length: chunks a row, 0 where the model takes one and no axis for more.
    """

    def make(ask: Ask) -> Drawn:
        session, rng = Session(ask.model.read_bytes()), ask.rng
        states = {"h": (1, 1, 128), "c": (1, 1, 128)} if length else {"state": (2, 1, 128)}
        state = {name: np.zeros(shape, np.float32) for name, shape in states.items()}
        per_row = max(1, length)
        sound = speech(rng, (ask.rows * per_row * 512 + 64) / 16_000, 16_000)
        chunks = np.lib.stride_tricks.sliding_window_view(sound, 576)[::512][: ask.rows * per_row]
        rows = []
        for chunk in chunks.reshape(ask.rows, per_row, 576):
            row = {"input": chunk.astype(np.float32), **state, **constants}
            rows.append(row)
            found = session.run_calls({name: value[np.newaxis] for name, value in row.items()})
            state = dict(zip(state, [value[0] for value in list(found.values())[1:]], strict=True))
        return Drawn({name: np.stack([row[name] for row in rows]) for name in rows[0]})

    return make
