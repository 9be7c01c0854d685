"""Moments of an embedding that merge by addition."""

import random
from math import inf, isnan, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.wire.errors import HistogramMismatchError, MalformedMessageError
from edgewright.wire.moments import DIMS, LIMIT, MAX_COUNT, STEPS, Moments
from edgewright.wire.varints import put_varint, unzigzag, zigzag

VECTORS = st.lists(st.tuples(*[st.floats(-6, 6)] * 3), max_size=6)


def _of(rows: list[tuple[float, ...]], dims: int = 3) -> Moments:
    moments = Moments(dims)
    moments.add_many(rows)
    return moments


def test_mean_and_covariance_are_those_of_the_vectors() -> None:
    """Mean and covariance equal numpy's up to the rounding of a component to a step."""
    rng = np.random.default_rng(1)
    rows = rng.multivariate_normal(np.linspace(-0.5, 0.5, DIMS), 0.02 * np.eye(DIMS) + 0.01, 4000)
    moments = Moments()
    moments.add_many(rows.tolist())
    np.testing.assert_allclose(moments.mean(), rows.mean(axis=0), atol=1 / STEPS)
    np.testing.assert_allclose(moments.covariance(), np.cov(rows.T), atol=2e-4)


@settings(derandomize=True, max_examples=60)
@given(st.lists(VECTORS, min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_merging_is_exact_in_any_order(parts: list[list[tuple[float, ...]]], shuffler: random.Random) -> None:
    """The moments of parts merged in any order are bit for bit those of all vectors."""
    whole = _of([row for part in parts for row in part])
    shuffled = list(parts)
    shuffler.shuffle(shuffled)
    total = Moments(3)
    for part in shuffled:
        total.merge(_of(part))
    assert total == whole


@settings(derandomize=True, max_examples=60)
@given(VECTORS)
def test_packing_keeps_everything(rows: list[tuple[float, ...]]) -> None:
    """What is packed is what is unpacked."""
    moments = _of(rows)
    assert Moments.unpack(moments.pack()) == moments


@settings(derandomize=True)
@given(st.binary(max_size=200))
def test_any_bytes_are_moments_or_malformed(data: bytes) -> None:
    """Bytes from the network unpack to possible moments or raise the one error that says so."""
    try:
        moments = Moments.unpack(data)
    except MalformedMessageError:
        return
    assert moments.n <= MAX_COUNT


def _packed(n: int, sums: list[int], products: list[int], *, embedding: int = 1) -> bytes:
    out = bytearray()
    for value in (embedding, len(sums), n, 0, *map(zigzag, sums), *map(zigzag, products)):
        put_varint(out, value)
    return bytes(out)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        _packed(1, [3], [9], embedding=2),
        _packed(1, [3], [9, 9]),
        _packed(MAX_COUNT + 1, [0], [0]),
        _packed(0, [1], [1]),
        _packed(2, [3], [-9]),
        _packed(1, [3], [8]),
        _packed(1, [0], [LIMIT**2 + 1]),
        _packed(2, [0, 0], [4, 5, 4]),
    ],
    ids=[
        "no bytes",
        "another embedding",
        "too many entries",
        "too many vectors",
        "sums of nothing",
        "a square below zero",
        "a sum above its squares",
        "a component beyond the limit",
        "a product above its squares",
    ],
)
def test_impossible_moments_are_refused(data: bytes) -> None:
    """What no set of vectors can have is malformed: moments that are made up have to be consistent."""
    with pytest.raises(MalformedMessageError):
        Moments.unpack(data)


def test_vectors_beyond_the_limit_and_no_numbers_do_no_harm() -> None:
    """An outlier is clipped, and a vector with NaN is counted as invalid and summed nowhere."""
    moments = _of([(1e300, 0.0, 0.0), (nan, 0.0, 0.0), (0.0, -inf, 0.0)])
    assert (moments.n, moments.invalid, moments.sums) == (1, 2, [LIMIT, 0, 0])


def test_nothing_has_no_mean() -> None:
    """Moments of nothing answer with NaN, and one vector has a mean and no covariance."""
    assert all(map(isnan, Moments().mean()))
    assert _of([(0.5, 0.0, 0.0)]).mean() == (0.5, 0.0, 0.0)
    assert isnan(_of([(0.5, 0.0, 0.0)]).covariance()[0][0])


def test_sizes_do_not_mix() -> None:
    """Merging moments of another size raises and changes nothing."""
    one = _of([(0.5, 0.0, 0.0)])
    with pytest.raises(HistogramMismatchError):
        one.merge(_of([(0.5, 0.1)], dims=2))
    assert one == _of([(0.5, 0.0, 0.0)])


def test_a_window_of_moments_is_small() -> None:
    """The moments of 3,000 pictures take less than 200 bytes."""
    rng = np.random.default_rng(2)
    moments = Moments()
    moments.add_many((rng.normal(0.1, 0.1, (3000, DIMS)) + 0.1).tolist())
    assert len(moments.pack()) < 200


@given(st.integers(-(2**62), 2**62))
def test_zigzag_is_undone(value: int) -> None:
    """A number with a sign comes back, and the folded one is at least 0."""
    assert zigzag(value) >= 0
    assert unzigzag(zigzag(value)) == value
