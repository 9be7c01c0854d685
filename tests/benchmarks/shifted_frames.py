"""Shifts of the demo's line, from frames as its camera takes them to what the real model says of them.

**The cut, written down before any verdict was measured.** A shift's true loss is the accuracy of the first
version of garment-packing on baseline frames, less its accuracy on the shifted ones: of the same items where
only the picture changes, so that chance in the goods cancels. *Benign* is a loss of at most 0.02, the model's
own ``harm_tolerance``; *harmful* is one of at least 0.08. What lies between is neither, and is left out. The
lists below, whose ranges a first look at true losses alone suggested, are gone through in their order until
twenty of each kind are found.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edgewright.agent.preprocess import Look, look, preprocess
from edgewright.controller.model_toml import ModelSpec, parse_model
from simulators.line.goods import KNOWN_CLASSES, NEW_CLASSES, Goods, load_goods
from simulators.line.render import BASELINE, Conditions, draw_scene, render

MODEL: Final = Path(__file__).parents[2] / "models" / "garment-packing"
BELT_STEP_PX: Final = 83

BENIGN_LOSS: Final = 0.02
HARMFUL_LOSS: Final = 0.08
WANTED: Final = 20

FRAMES: Final = 1200
"""Of each shift; the standard error of its accuracy is below 0.01, and that of a paired loss below 0.007."""

BASELINE_FRAMES: Final = 4000

Floats = NDArray[np.float64]


class Shift(NamedTuple):
    """Other light, another place of the camera, or other goods."""

    name: str
    conditions: Conditions = BASELINE
    goods: tuple[str, ...] = KNOWN_CLASSES


class Shown(NamedTuple):
    """What the model says of frames: logits, what they look like, and what lies on them."""

    logits: Floats
    looks: list[Look]
    truths: list[str]

    def right(self, labels: tuple[str, ...]) -> NDArray[np.bool_]:
        """Whether each decision is right."""
        decided = [labels[row] for row in self.logits.argmax(axis=1)]
        return np.array([a == b for a, b in zip(decided, self.truths, strict=True)])


def light(factor: float) -> Conditions:
    """All scenes brighter or darker by a factor."""
    return replace(BASELINE, brightness=(0.85 * factor, 1.12 * factor))


def blur(px: float) -> Conditions:
    """Out of focus."""
    return replace(BASELINE, blur_px=(px - 0.2, px + 0.2))


def noise(level: float) -> Conditions:
    """A sensor's noise, in gray values."""
    return replace(BASELINE, noise=(level - 1.0, level + 1.0))


def turned(degrees: float) -> Conditions:
    """Items that lie askew by up to so much."""
    return replace(BASELINE, rotation_deg=(-degrees, degrees))


def scaled(factor: float) -> Conditions:
    """A camera nearer or farther."""
    return replace(BASELINE, scale=(0.92 * factor, 1.08 * factor))


def moved(px: float) -> Conditions:
    """Items that lie off the middle by up to so much."""
    return replace(BASELINE, shift_px=(-px, px))


def slanted(gradient: float) -> Conditions:
    """Light from one side."""
    return replace(BASELINE, gradient=(gradient - 0.1, gradient))


def more_of(label: str, times: int = 9) -> tuple[str, ...]:
    """Known goods, one kind of them so many times as often."""
    return (*KNOWN_CLASSES, *[label] * (times - 1))


def new_goods(kinds: tuple[str, ...], share: float) -> tuple[str, ...]:
    """Known goods and a share of new ones."""
    each = round(100 * share / len(kinds))
    return tuple(kinds) * each + KNOWN_CLASSES * round((100 - 100 * share) / len(KNOWN_CLASSES))


MILD: Final = (
    Shift("light x0.8", light(0.8)),
    Shift("blur 1.2 px", blur(1.2)),
    Shift("noise 8", noise(8.0)),
    Shift("turned 15 deg", turned(15.0)),
    Shift("moved 8 px", moved(8.0)),
    Shift("slanted light 0.3", slanted(0.3)),
    Shift("scaled x0.95", scaled(0.95)),
    Shift("nine times the sandals", goods=more_of("Sandal")),
    Shift("light x0.7", light(0.7)),
    Shift("blur 1.5 px", blur(1.5)),
    Shift("noise 10", noise(10.0)),
    Shift("turned 18 deg", turned(18.0)),
    Shift("moved 10 px", moved(10.0)),
    Shift("slanted light 0.4", slanted(0.4)),
    Shift("scaled x1.05", scaled(1.05)),
    Shift("nine times the sneakers", goods=more_of("Sneaker")),
    Shift("light x1.15", light(1.15)),
    Shift("blur 1.8 px", blur(1.8)),
    Shift("moved 12 px", moved(12.0)),
    Shift("slanted light 0.5", slanted(0.5)),
    Shift("nine times the ankle boots", goods=more_of("Ankle boot")),
    Shift("light x0.75", light(0.75)),
    Shift("scaled x0.9", scaled(0.9)),
    Shift("noise 12", noise(12.0)),
    Shift("light x1.25", light(1.25)),
    Shift("blur 2.0 px", blur(2.0)),
    Shift("turned 20 deg", turned(20.0)),
    Shift("scaled x1.1", scaled(1.1)),
    Shift("three times the sandals", goods=more_of("Sandal", 3)),
    Shift("three times the sneakers", goods=more_of("Sneaker", 3)),
)
STRONG: Final = (
    Shift("a tenth new goods", goods=new_goods(NEW_CLASSES, 0.1)),
    Shift("light x2.0", light(2.0)),
    Shift("blur 3.4 px", blur(3.4)),
    Shift("noise 30", noise(30.0)),
    Shift("turned 32 deg", turned(32.0)),
    Shift("scaled x0.75", scaled(0.75)),
    Shift("a quarter trousers", goods=new_goods(NEW_CLASSES[:1], 0.25)),
    Shift("light x2.3", light(2.3)),
    Shift("blur 3.8 px", blur(3.8)),
    Shift("noise 36", noise(36.0)),
    Shift("turned 36 deg", turned(36.0)),
    Shift("scaled x0.7", scaled(0.7)),
    Shift("a quarter bags", goods=new_goods(NEW_CLASSES[1:], 0.25)),
    Shift("nine times the shirts", goods=more_of("Shirt")),
    Shift("blur 4.2 px", blur(4.2)),
    Shift("noise 42", noise(42.0)),
    Shift("turned 45 deg", turned(45.0)),
    Shift("scaled x0.65", scaled(0.65)),
    Shift("half new goods", goods=new_goods(NEW_CLASSES, 0.5)),
    Shift("scaled x1.35", scaled(1.35)),
    Shift("light x1.7, turned 28 deg", replace(light(1.7), rotation_deg=(-28.0, 28.0))),
    Shift("blur 2.6 px, noise 20", replace(blur(2.6), noise=(19.0, 21.0))),
    Shift("moved 24 px", moved(24.0)),
    Shift("light x2.6", light(2.6)),
    Shift("noise 48", noise(48.0)),
)


class Line:
    """The demo's goods and camera, and the real model."""

    def __init__(self) -> None:
        self.text = (MODEL / "model.toml").read_bytes()
        self.spec: ModelSpec = parse_model(self.text)
        self._goods: Goods = load_goods()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = MODEL / self.spec.model.file
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def show(self, shift: Shift, frames: int, seed: int) -> Shown:
        """Photograph and decide; the same seed and goods give the same items in the same places."""
        rng, sensor = np.random.default_rng(seed), np.random.default_rng([seed, 1])
        logits, looks, truths = [], [], []
        for number in range(frames):
            truth = shift.goods[int(rng.integers(len(shift.goods)))]
            item = self._goods.images[rng.choice(self._goods.rows[truth])]
            frame = render(item, draw_scene(shift.conditions, rng, number * BELT_STEP_PX), sensor)
            logits.append(self.logits(preprocess(frame, self.spec.preprocessing)))
            looks.append(look(frame))
            truths.append(truth)
        return Shown(np.concatenate(logits).astype(np.float64), looks, truths)

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the model says of one frame."""
        answer: NDArray[np.float32] = self._session.run(None, {self.spec.input.name: batch})[0]
        return answer

    def sets(self, seed: int) -> Iterator[tuple[str, Shift, float, Shown]]:
        """Twenty benign and twenty harmful shifts: kind, shift, true loss and frames."""
        labels = self.spec.model.labels
        unmoved = float(self.show(Shift("none"), FRAMES, seed).right(labels).mean())
        known = float(self.show(Shift("none"), BASELINE_FRAMES, seed + 1).right(labels).mean())
        left = {"benign": WANTED, "harmful": WANTED}
        for shift in (*MILD, *STRONG):
            if not left["benign"] and shift in MILD:
                continue
            shown = self.show(shift, FRAMES, seed)
            before = unmoved if shift.goods == KNOWN_CLASSES else known
            loss = before - float(shown.right(labels).mean())
            kind = "benign" if loss <= BENIGN_LOSS else "harmful" if loss >= HARMFUL_LOSS else "neither"
            if left.get(kind, 0):
                left[kind] -= 1
                yield kind, shift, loss, shown
