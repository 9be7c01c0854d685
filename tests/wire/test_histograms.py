"""Histograms that merge by addition."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.wire.errors import HistogramMismatchError, MalformedMessageError
from edgewright.wire.histograms import BINS, SCHEMAS, Histogram, merged

COUNTS = st.lists(st.integers(0, 2**40), min_size=BINS, max_size=BINS)


@given(COUNTS, st.integers(0, 2**20), st.sampled_from(sorted(SCHEMAS)))
def test_packing_keeps_everything(counts: list[int], invalid: int, schema: str) -> None:
    """What is packed is what is unpacked, for any counts and any schema."""
    histogram = Histogram(schema, counts, invalid)
    assert Histogram.unpack(histogram.pack()) == histogram


@given(st.lists(COUNTS, min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_merging_does_not_depend_on_order(all_counts: list[list[int]], shuffler: random.Random) -> None:
    """The sum of histograms is the same in any order, and its total is the sum of totals."""
    histograms = [Histogram("unit", counts) for counts in all_counts]
    shuffled = list(histograms)
    shuffler.shuffle(shuffled)
    assert merged(histograms) == merged(shuffled)
    assert merged(histograms).total == sum(h.total for h in histograms)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_histogram_or_malformed(data: bytes) -> None:
    """Bytes from the network unpack to 64 counts or raise the one error that says so."""
    try:
        histogram = Histogram.unpack(data)
    except MalformedMessageError:
        return
    assert len(histogram.counts) == BINS


def test_quantiles_of_a_saturated_confidence_are_near() -> None:
    """With two thirds of the scores above 0.98, ranks read from the bins are off by at most one in a
    hundred.
    """
    source = random.Random(7)
    values = sorted(1 - 10 ** -source.uniform(0.3, 4.5) for _ in range(20_000))
    histogram = Histogram("confidence")
    for value in values:
        histogram.add(value)
    for q in (0.05, 0.25, 0.5, 0.75, 0.95):
        estimate = histogram.quantile(q)
        rank = sum(value <= estimate for value in values) / len(values)
        assert abs(rank - q) < 0.01


def test_values_beyond_the_edges_and_not_finite_are_counted() -> None:
    """Outliers fall into the outer bins; infinities and NaN are counted apart."""
    histogram = Histogram("unit")
    for value in (-3.0, 17.0, float("nan"), float("inf")):
        histogram.add(value)
    assert (histogram.counts[0], histogram.counts[-1], histogram.invalid) == (1, 1, 2)


def test_schemas_do_not_mix() -> None:
    """Merging histograms of two schemas raises and changes nothing."""
    one, other = Histogram("unit"), Histogram("confidence")
    other.add(0.5)
    with pytest.raises(HistogramMismatchError):
        one.merge(other)
    assert one.total == 0


def test_window_of_seven_signals_is_small() -> None:
    """Seven full histograms of a busy window take less than 1.5 KB, so that a window fits into 2 KB."""
    source = random.Random(3)
    size = 0
    for schema in ("confidence", "unit", "unit", "latency_us", "unit", "unit", "sharpness"):
        histogram = Histogram(schema)
        for _ in range(2000):
            histogram.add(source.random() * (1 if schema != "latency_us" else 3000))
        size += len(histogram.pack())
    assert size < 1500
