"""A bounded run of every target: some seconds, seeded, in every `make test`."""

from functools import cache

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.mutation import mutated
from tests.fuzz.target import Prepared, feed
from tests.fuzz.targets import TARGETS

INPUTS = 150
SLOW_INPUTS = 40


@cache
def prepared(name: str) -> Prepared:
    """A target's parser, made once."""
    return TARGETS[name].prepare()


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_taken(name: str) -> None:
    """The messages that mutation starts from are good ones: at least one is parsed to the end."""
    assert any(feed(prepared(name), TARGETS[name], data) for data in prepared(name).seeds)


@pytest.mark.parametrize("name", TARGETS)
def test_bytes_are_a_value_or_a_numbered_error(name: str) -> None:
    """Whatever the bytes are, a parser answers with a value or with an error of its family."""
    target, made = TARGETS[name], prepared(name)

    @seed(1)
    @settings(
        max_examples=INPUTS if target.weight >= 10 else SLOW_INPUTS,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.one_of(st.binary(max_size=200), mutated(made.seeds)))
    def parse(data: bytes) -> None:
        feed(made, target, data)

    parse()
