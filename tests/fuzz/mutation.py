"""Changed copies of real messages: where blind bytes die at the first check, these come further."""

import random
from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

_TELLING = (
    b"\0",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xff" * 8,
    b"-1",
    b"1e999",
    b"null",
    b"[]",
    b"{}",
    b'"',
    b"\xc1",
)
"""Bytes on the edges of integers, and pieces of JSON and msgpack that turn one type into another."""


def mutated(seeds: Sequence[bytes]) -> SearchStrategy[bytes]:
    """A strategy: one seed after some changes; a number draws them, so that it shrinks to few."""
    draws = st.tuples(st.sampled_from(list(seeds)), st.integers(0, 2**32), st.integers(1, 6))
    return draws.map(lambda drawn: change(drawn[0], random.Random(drawn[1]), drawn[2], seeds))


def change(data: bytes, rng: random.Random, times: int, seeds: Sequence[bytes]) -> bytes:
    """Change a message ``times`` times: flip, cut, repeat, insert something telling, splice with another."""
    out = bytearray(data)
    for _ in range(times):
        at, to = sorted(rng.randrange(len(out) + 1) for _ in range(2))
        match rng.randrange(6):
            case 0 if out:
                out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
            case 1:
                del out[at:to]
            case 2:
                out[at:at] = out[at : min(to, at + 64)]
            case 3:
                piece = rng.choice(_TELLING)
                out[at : at + len(piece) * rng.randrange(2)] = piece
            case 4:
                other = rng.choice(seeds)
                out[at:] = other[min(at, len(other)) :]
            case _:
                out[at : at + 8] = rng.randbytes(rng.randrange(9))
    return bytes(out)
