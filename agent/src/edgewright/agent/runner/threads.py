"""How many threads an inference gets: chosen on the device, by measurement, as part of the qualification.

Rules:

- One core is the line's: it reads frames while a runner computes. Where it has none, a second thread doubled
  the latency of an inference in our measurements, so a board of two cores always gets one thread.
- More threads have to earn their cores: each step up has to take at least a tenth off the 99th percentile.
- The first step that does not ends the search, so a board of many cores measures no more than it needs.
"""

from collections.abc import Callable, Iterable
from typing import Final

SMALLEST_GAIN: Final = 0.10
"""Share of the 99th percentile that a step up has to save; less is within the spread of two measurements."""

_LARGEST: Final = 8
"""A model of an edge device has no work for more."""


def thread_counts(cores: int) -> tuple[int, ...]:
    """Numbers of threads worth trying on so many cores, fewest first.

    >>> thread_counts(2), thread_counts(4), thread_counts(6)
    ((1,), (1, 2), (1, 2, 4))
    """
    free = min(cores - 1, _LARGEST)
    return tuple(2**power for power in range(free.bit_length())) or (1,)


def choose_threads(counts: Iterable[int], latency: Callable[[int], float]) -> int:
    """The last number of threads that was worth its step.

    Args:
        counts: numbers to try, fewest first; at least one.
        latency: measures the 99th percentile with so many threads, in any unit; called once for each number
            that is tried, and not for a single one.

    >>> choose_threads((1, 2, 4), {1: 100, 2: 60, 4: 58}.__getitem__)
    2
    """
    first, *more = counts
    if not more:
        return first
    chosen, best = first, latency(first)
    for count in more:
        found = latency(count)
        if found > best * (1 - SMALLEST_GAIN):
            break
        chosen, best = count, found
    return chosen
