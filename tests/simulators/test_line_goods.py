"""The goods: what lies on the belt in each phase, and that it is nobody else's data."""

from collections import Counter
from hashlib import sha256
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from simulators.line.goods import CLASSES, KNOWN_CLASSES, NEW_CLASSES, Belt, Goods, Phase, load_goods

DATA = Path(__file__).parents[2] / "models" / "garment-packing" / "data"
ITEMS = 2_000


@pytest.fixture(scope="module")
def goods() -> Goods:
    """The committed stream pool."""
    return load_goods()


def _truths(goods: Goods, phase: Phase, seed: int = 1, robot: str = "r1") -> list[str]:
    belt = Belt(goods, seed, robot)
    return [belt.next_item(phase).truth for _ in range(ITEMS)]


def test_phases(goods: Goods) -> None:
    """Before the drift the eight known kinds come evenly; after it the new kinds are every other item."""
    before = Counter(_truths(goods, Phase.BEFORE))
    assert set(before) == set(KNOWN_CLASSES)
    assert min(before.values()) > 0.7 * ITEMS / 8
    drifted = Counter(_truths(goods, Phase.DRIFTED))
    assert set(drifted) == set(CLASSES)
    assert 0.46 < sum(drifted[name] for name in NEW_CLASSES) / ITEMS < 0.54


def test_streams_are_seeded(goods: Goods) -> None:
    """Seed and robot fix the stream, and another of either gives another stream."""
    mine = _truths(goods, Phase.BEFORE)
    assert mine == _truths(goods, Phase.BEFORE)
    assert mine != _truths(goods, Phase.BEFORE, seed=2)
    assert mine != _truths(goods, Phase.BEFORE, robot="r2")


def test_item_ids_count_from_one(goods: Goods) -> None:
    """Ids carry the robot and a running number."""
    belt = Belt(goods, 1, "r7")
    assert [belt.next_item(Phase.BEFORE).item for _ in range(2)] == ["r7-000001", "r7-000002"]


def test_stream_is_disjoint_from_all_other_data(goods: Goods) -> None:
    """No item is in two of stream pool, training, replay, calibration and holdout, by digest."""
    # As train/prepare.py makes them: the first eight bytes of a picture's SHA-256.
    stream = {int.from_bytes(sha256(image.tobytes()).digest()[:8], "little") for image in goods.images}
    trained = np.load(DATA / "trained-on.npz")["digests"]
    assert len(trained) > 40_000
    parts = {name: np.load(DATA / f"{name}.npz") for name in ("replay", "calibration", "holdout")}
    assert all(len(part["items"]) == len(part["labels"]) for part in parts.values())
    sets = [stream, set(trained.tolist()), *(set(part["items"].tolist()) for part in parts.values())]
    assert len(set(chain(*sets))) == sum(len(one) for one in sets)
    assert not any(set(part["labels"].tolist()) & set(NEW_CLASSES) for part in parts.values())
