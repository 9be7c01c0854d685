"""What lies on the belt: an endless, seeded stream of items with their true classes.

The items come from the committed stream pool of the model's folder, which holds no item that the model was
trained on. Before the drift a line carries the eight kinds that the first version knows, evenly; after it,
the company's two new kinds are `NEW_SHARE` of all items.

    >>> belt = Belt(load_goods(), seed=1, robot="r1")
    >>> belt.next_item(Phase.BEFORE).item
    'r1-000001'
"""

import enum
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CLASSES = (
    "T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
NEW_CLASSES = ("Trouser", "Bag")
KNOWN_CLASSES = tuple(name for name in CLASSES if name not in NEW_CLASSES)
NEW_SHARE = 0.5
POOL = Path(__file__).parents[2] / "models" / "garment-packing" / "data" / "goods.npz"


class Phase(enum.StrEnum):
    """What the company sends down the belt."""

    BEFORE = "before"
    DRIFTED = "drifted"


@dataclass(frozen=True)
class Goods:
    """The pool: uint8 [n, 28, 28] pictures, and per class the rows that show it."""

    images: NDArray[np.uint8]
    rows: dict[str, NDArray[np.intp]]


@dataclass(frozen=True)
class Item:
    """One item on the belt."""

    item: str
    truth: str
    image: NDArray[np.uint8]


def load_goods(path: Path = POOL) -> Goods:
    """Read the stream pool."""
    with np.load(path, allow_pickle=False) as pool:
        images, labels = pool["images"], pool["labels"]
    return Goods(images, {name: np.flatnonzero(labels == index) for index, name in enumerate(CLASSES)})


class Belt:
    """The stream of one robot; two robots of one seed, and one robot of two seeds, see different items."""

    def __init__(self, goods: Goods, seed: int, robot: str) -> None:
        self._goods = goods
        self._robot = robot
        self._rng = np.random.default_rng([seed, zlib.crc32(robot.encode())])
        self._count = 0

    def spawn_generators(self, count: int) -> list[np.random.Generator]:
        """Generators for what else of this robot is random; drawing from them does not change the items."""
        return self._rng.spawn(count)

    def next_item(self, phase: Phase, kinds: tuple[str, ...] = ()) -> Item:
        """The next item of the phase, or of these kinds where some are named."""
        self._count += 1
        truth = self._draw_class(kinds or self._kinds_of(phase))
        row = self._rng.choice(self._goods.rows[truth])
        return Item(f"{self._robot}-{self._count:06d}", truth, self._goods.images[row])

    def _kinds_of(self, phase: Phase) -> tuple[str, ...]:
        return NEW_CLASSES if phase is Phase.DRIFTED and self._rng.random() < NEW_SHARE else KNOWN_CLASSES

    def _draw_class(self, kinds: tuple[str, ...]) -> str:
        return kinds[int(self._rng.integers(len(kinds)))]
