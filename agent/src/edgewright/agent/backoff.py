"""How long to wait before trying again: exponential, with jitter, so that a fleet does not come at once."""

import random
from collections.abc import Iterator
from typing import Final

FIRST_PAUSE_SECONDS: Final = 0.25
LONGEST_PAUSE_SECONDS: Final = 30.0


def pauses(
    draw: random.Random, first: float = FIRST_PAUSE_SECONDS, longest: float = LONGEST_PAUSE_SECONDS
) -> Iterator[float]:
    """Seconds to wait before each new attempt: exponential, each drawn from half to all of its step.

    Args:
        draw: jitter.
        first: the first step, seconds.
        longest: the longest one, seconds.

    >>> steps = pauses(random.Random(1))
    >>> all(0.125 <= next(steps) <= 30 for _ in range(50))
    True
    """
    step = first
    while True:
        yield step * draw.uniform(0.5, 1.0)
        step = min(step * 2, longest)
