"""Moments of a small vector that merge by addition: how many, their sums, and the sums of their products.

A window carries them of its pictures' embedding (``agent.preprocess``). Mean and covariance follow from them,
and so does the distance of a window's pictures from those of testing, without a picture leaving the device.

Everything is a whole number: a component is rounded to steps of ``1 / STEPS`` and clipped to ``LIMIT``.
So merging is exact, in any order and any number of times over disjoint windows, where sums of floating-point
numbers would depend on it. With ``MAX_COUNT`` vectors no sum exceeds 2**60. What comes from a device is held
against these bounds and against Cauchy and Schwarz's inequality, which every real set of vectors obeys.

The packed form, each number a varint: what is embedded and how (``EMBEDDING``), components, vectors, vectors
that were not finite; then, with a sign, the sums and the upper triangle of the products, row by row.

>>> moments = Moments(2)
>>> moments.add((0.5, -0.25)); moments.add((0.25, 0.25))
>>> moments.n, moments.mean(), moments.covariance()
(2, (0.375, 0.0), ((0.03125, -0.0625), (-0.0625, 0.125)))
>>> Moments.unpack(moments.pack()) == moments
True
"""

from collections.abc import Iterable, Sequence
from itertools import combinations_with_replacement
from math import isfinite, nan
from typing import Final, Self

from edgewright.wire.errors import HistogramMismatchError, MalformedMessageError
from edgewright.wire.varints import get_varint, put_varint, unzigzag, zigzag

EMBEDDING: Final = 1
"""Number of what a window embeds: 1 is ``agent.preprocess.embed``. Another embedding is another number."""

DIMS: Final = 8
STEPS: Final = 256
"""Of one unit of a component; a component is the mean of gray values, of which there are 256."""

LIMIT: Final = 4 * STEPS
"""Largest component, in steps; those of embedding 1 lie within one unit."""

MAX_COUNT: Final = 2**40
"""Vectors; at a thousand frames a second, 34 years."""

_MAX_DIMS: Final = 32


class Moments:
    """Sums of vectors and of their products; see the module's text.

    Attributes:
        dims: components of a vector.
        n: vectors that were added.
        invalid: vectors with a component that was no number; they are in no sum.
        sums: of each component, in steps.
        products: of each pair of components, the upper triangle row by row, in steps squared.
    """

    __slots__ = ("dims", "invalid", "n", "products", "sums")

    def __init__(self, dims: int = DIMS) -> None:
        self.dims = dims
        self.n = self.invalid = 0
        self.sums = [0] * dims
        self.products = [0] * (dims * (dims + 1) // 2)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Moments):
            return NotImplemented
        mine = (self.dims, self.n, self.invalid, self.sums, self.products)
        return mine == (other.dims, other.n, other.invalid, other.sums, other.products)

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"Moments(dims={self.dims}, n={self.n}, invalid={self.invalid})"

    def add(self, vector: Sequence[float]) -> None:
        """Add one vector of ``dims`` components."""
        if not all(map(isfinite, vector)):
            self.invalid += 1
            return
        steps = [max(-LIMIT, min(LIMIT, round(value * STEPS))) for value in vector]
        pairs = combinations_with_replacement(steps, 2)
        self.n += 1
        self.sums = [total + step for total, step in zip(self.sums, steps, strict=True)]
        self.products = [total + a * b for total, (a, b) in zip(self.products, pairs, strict=True)]

    def add_many(self, vectors: Iterable[Sequence[float]]) -> None:
        """Add vectors, one a row."""
        for vector in vectors:
            self.add(vector)

    def add_sums(self, n: int, sums: Sequence[int], products: Sequence[int]) -> None:
        """Add ``n`` vectors that were rounded, clipped and summed elsewhere, in steps; see the attributes."""
        self.n += n
        self.sums = [a + b for a, b in zip(self.sums, sums, strict=True)]
        self.products = [a + b for a, b in zip(self.products, products, strict=True)]

    def merge(self, other: Self) -> None:
        """Add what another one has counted.

        Raises:
            HistogramMismatchError: it is of vectors of another size.
        """
        if other.dims != self.dims:
            raise HistogramMismatchError(
                f"Moments of {other.dims} components cannot be merged into {self.dims}."
            )
        self.invalid += other.invalid
        self.add_sums(other.n, other.sums, other.products)

    def mean(self) -> tuple[float, ...]:
        """Mean of each component; not a number without vectors."""
        if not self.n:
            return (nan,) * self.dims
        return tuple(total / self.n / STEPS for total in self.sums)

    def covariance(self) -> tuple[tuple[float, ...], ...]:
        """Covariance of the components, without bias (over n - 1); not a number below two vectors.

        Rounding adds a twelfth of a step squared to each variance, as Sheppard's correction says.
        """
        n, dims = self.n, self.dims
        rows = [[nan] * dims for _ in range(dims)]
        if n > 1:
            for (i, j), product in zip(_pairs(dims), self.products, strict=True):
                # In whole numbers until the division, so that nothing cancels.
                spread = (n * product - self.sums[i] * self.sums[j]) / (n * (n - 1)) / STEPS**2
                rows[i][j] = rows[j][i] = spread
        return tuple(map(tuple, rows))

    def pack(self) -> bytes:
        """The packed form."""
        out = bytearray()
        for value in (EMBEDDING, self.dims, self.n, self.invalid):
            put_varint(out, value)
        for value in (*self.sums, *self.products):
            put_varint(out, zigzag(value))
        return bytes(out)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read the packed form.

        Raises:
            MalformedMessageError: the bytes are none, or no set of vectors has such moments.
        """
        numbers, at = [], 0
        while at < len(data):
            value, at = get_varint(data, at)
            numbers.append(value)
        if len(numbers) < 4 or numbers[0] != EMBEDDING or not 0 < numbers[1] <= _MAX_DIMS:
            raise MalformedMessageError("The moments are of an unknown embedding.")
        moments = cls(numbers[1])
        moments.n, moments.invalid = numbers[2:4]
        signed = [unzigzag(value) for value in numbers[4:]]
        moments.sums, moments.products = signed[: moments.dims], signed[moments.dims :]
        moments._check()
        return moments

    def _check(self) -> None:
        """Refuse what no vectors can have.

        Raises:
            MalformedMessageError: it is such.
        """
        dims, n, sums = self.dims, self.n, self.sums
        if len(sums) != dims or len(self.products) != dims * (dims + 1) // 2 or n > MAX_COUNT:
            raise MalformedMessageError("The moments have another number of entries than they say.")
        pairs = dict(zip(_pairs(dims), self.products, strict=True))
        squares = [pairs[i, i] for i in range(dims)]
        possible = (
            all(0 <= square <= n * LIMIT**2 for square in squares)
            and all(total**2 <= n * square for total, square in zip(sums, squares, strict=True))
            and all(product**2 <= squares[i] * squares[j] for (i, j), product in pairs.items())
        )
        if not possible:
            raise MalformedMessageError("No vectors have such moments.")


def _pairs(dims: int) -> list[tuple[int, int]]:
    return list(combinations_with_replacement(range(dims), 2))
