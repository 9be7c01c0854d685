"""What a fuzz target is: a parser of bytes from outside, and the only errors that it may end with."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from edgewright.wire.errors import EdgewrightError

Parser = Callable[[bytes], object]


class Prepared(NamedTuple):
    """A parser and real messages for it, which a fuzzer starts from; keys in both are the same."""

    parse: Parser
    seeds: Sequence[bytes]


class Target(NamedTuple):
    """One parser.

    Attributes:
        prepare: makes it, once a process.
        refusals: families of errors that say "these bytes are not good"; any other exception is a defect.
        weight: inputs that it gets in a run, relative to the others; parsers that check signatures or write
            files are slow and get fewer.
    """

    prepare: Callable[[], Prepared]
    refusals: tuple[type[EdgewrightError], ...]
    weight: int = 10


def feed(prepared: Prepared, target: Target, data: bytes) -> bool:
    """Parse once; whether the bytes were taken. Every exception but a refusal passes through."""
    try:
        prepared.parse(data)
    except target.refusals:
        return False
    return True
