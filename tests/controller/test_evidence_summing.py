"""Windows summed many at a time equal windows summed one by one, in any order, hostile ones too."""

import random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.controller.evidence.summing import sum_histograms, sum_moments, sum_windows
from edgewright.wire.errors import MessageError
from edgewright.wire.histograms import BINS, SCHEMAS, Histogram
from edgewright.wire.messages import Window
from edgewright.wire.moments import DIMS, Moments

SIZES = (1, 3, 300, 2**20, 2**40, 2**60)


def _drawn(seed: int) -> bytes:
    """A packed histogram of any schema, sparse or full, with small or huge counts."""
    source = random.Random(seed)
    full, largest = source.random(), source.choice(SIZES)
    counts = [source.randint(0, largest) if source.random() < full else 0 for _ in range(BINS)]
    return Histogram(source.choice(sorted(SCHEMAS)), counts, source.choice((0, 1, 200, 2**40))).pack()


HISTOGRAMS = st.integers(0, 2**32).map(_drawn)
SIGNAL = st.dictionaries(
    st.sampled_from(["confidence", "margin", "new"]),
    st.one_of(HISTOGRAMS, st.binary(max_size=12)),
    max_size=3,
)


def _one_by_one(packed: list[dict[str, bytes]]) -> tuple[dict[str, Histogram], int]:
    """What the wire's own parser and addition make of them."""
    sums: dict[str, dict[str, Histogram]] = {}
    numbers: dict[str, dict[str, int]] = {}
    refused = 0
    for each in packed:
        for name, data in each.items():
            try:
                read = Histogram.unpack(data)
            except MessageError:
                refused += 1
                continue
            sums.setdefault(name, {}).setdefault(read.schema, Histogram(read.schema)).merge(read)
            schemas = numbers.setdefault(name, {})
            schemas[read.schema] = schemas.get(read.schema, 0) + 1
    found = {}
    for name, schemas_of in sums.items():
        main = max(
            schemas_of,
            key=lambda s: (schemas_of[s].total, numbers[name][s], -SCHEMAS[s].number),
        )
        found[name] = schemas_of[main]
        refused += sum(number for schema, number in numbers[name].items() if schema != main)
    return found, refused


@settings(derandomize=True, max_examples=50, deadline=None)
@given(st.lists(SIGNAL, max_size=6), st.randoms(use_true_random=False))
def test_summing_is_merging_one_by_one(packed: list[dict[str, bytes]], shuffler: random.Random) -> None:
    """Histograms of all schemas and sizes, and bytes that are none, sum to what merging each gives."""
    expected = _one_by_one(packed)
    assert sum_histograms(packed) == expected
    shuffler.shuffle(packed)
    assert sum_histograms(packed) == expected


VECTORS = st.lists(st.tuples(*[st.floats(-5, 5)] * DIMS), max_size=4)


def _packed(rows: list[tuple[float, ...]]) -> bytes:
    moments = Moments()
    moments.add_many(rows)
    return moments.pack()


@settings(derandomize=True, max_examples=50, deadline=None)
@given(
    st.lists(st.one_of(VECTORS.map(_packed), st.binary(min_size=1, max_size=60)), max_size=6),
    st.randoms(use_true_random=False),
)
def test_summing_moments_is_merging_one_by_one(packed: list[bytes], shuffler: random.Random) -> None:
    """Moments, of one vector or none too, and bytes that are none, sum to what merging each gives."""
    expected, refused = Moments(), 0
    for data in packed:
        try:
            expected.merge(Moments.unpack(data))
        except MessageError:
            refused += 1
    assert sum_moments(packed) == (expected, refused)
    shuffler.shuffle(packed)
    assert sum_moments(packed) == (expected, refused)


def _window(rng: np.random.Generator, frames: int) -> Window:
    histograms = {}
    for name, schema in (("confidence", "confidence"), ("margin", "unit"), ("sharpness", "sharpness")):
        histogram = Histogram(schema)
        for value in rng.random(frames).tolist():
            histogram.add(value)
        histograms[name] = histogram.pack()
    moments = Moments()
    moments.add_many(rng.normal(0.1, 0.1, (frames, DIMS)).tolist())
    return Window(
        device="r",
        stream="s",
        seq=1,
        start=0.0,
        seconds=5.0,
        model="m",
        version=1,
        tag="",
        frames=frames,
        by_source={"active": frames - 1, "fallback": 1},
        causes={"NoModel": 1},
        classes={"bag": frames // 2, "boot": frames - frames // 2},
        histograms=histograms,
        outcomes=(),
        truths={"bag": (3, 1)},
        embedding=moments.pack(),
    )


def test_a_sum_of_windows_counts_everything() -> None:
    """Frames, sources, causes, classes, truths, histograms and moments of all windows are in the sum."""
    rng = np.random.default_rng(1)
    windows = [_window(rng, frames) for frames in (3, 200, 500)]
    total = sum_windows(windows)
    assert (total.number, total.frames, total.unreadable) == (3, 703, 0)
    assert total.by_source == {"active": 700, "fallback": 3}
    assert total.causes == {"NoModel": 3}
    assert sum(total.classes.values()) == total.embedding.n == total.histograms["margin"].total == 703
    assert total.truths == {"bag": (9, 3)}


@pytest.mark.parametrize("damage", [b"", b"\x00", b"\x01\x00\x00\x3f", b"\x02\x00\x00\x41", b"\x80", b"\x7f"])
def test_one_bad_window_spoils_only_its_part(damage: bytes) -> None:
    """A histogram and an embedding that are none are counted as refused, and all others still count."""
    rng = np.random.default_rng(2)
    good, bad = _window(rng, 100), _window(rng, 50)
    bad = msgspec.structs.replace(
        bad, histograms={**bad.histograms, "margin": damage}, embedding=damage or b"\x00"
    )
    total = sum_windows([bad, good])
    assert total.unreadable == 2
    assert total.histograms["margin"].total == total.embedding.n == 100
    assert total.histograms["confidence"].total == 150


def test_nothing_sums_to_nothing() -> None:
    """Without windows the sum is empty."""
    total = sum_windows([])
    assert (total.number, total.histograms, total.embedding) == (0, {}, Moments())
