"""Inputs that nobody recorded: drawn from a seed, the same on every machine, and states carried along."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgewright.controller.compiler.subject import Feeds, Outputs, rows_of
from edgewright.controller.errors import InputShapeError
from edgewright.controller.model_tensors import InputPart

Run = Callable[[Feeds], Outputs]
"""A loaded model: all outputs of each call."""

SEQUENCE_ROWS: Final = 16
"""Drawn calls that one state lives through, before the next begins with zeros."""


def draw_calls(inputs: Sequence[InputPart], rows: int, seed: int) -> dict[str, NDArray[Any]]:
    """Calls with signals between each input's ``low`` and ``high``, states of zeros, and constants.

    Each input has random numbers of its own, so that a changed one leaves the others as they are.
    """
    return {
        part.name: _draw(part, rows, np.random.default_rng([seed, number]))
        for number, part in enumerate(inputs)
    }


def _draw(part: InputPart, rows: int, rng: np.random.Generator) -> NDArray[Any]:
    dtype, shape = np.dtype(part.dtype), (rows, *part.shape)
    if part.kind == "state":
        return np.zeros(shape, dtype)
    if part.kind == "constant":
        return constant(part, rows)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(dtype)
    if dtype.kind == "f":
        return rng.uniform(part.low, part.high, shape).astype(dtype)
    low, high = (int(np.clip(edge, *_edges(dtype))) for edge in (part.low, part.high))
    return rng.integers(low, high, shape, dtype, endpoint=True)


def constant(part: InputPart, rows: int) -> NDArray[Any]:
    """A constant's value in all its places, for each call."""
    dtype = np.dtype(part.dtype)
    value = np.clip(part.value, *_edges(dtype)) if dtype.kind in "iu" else part.value
    return np.full((rows, *part.shape), value).astype(dtype)


def _edges(dtype: np.dtype[Any]) -> tuple[int, int]:
    # Bounds in float64, which clips at 2**63; the largest double below fits every type.
    info = np.iinfo(dtype)
    return max(int(info.min), -(1 << 53)), min(int(info.max), 1 << 53)


def carry_states(
    run: Run, states: Mapping[str, str], feeds: Mapping[str, NDArray[Any]], sequence: int
) -> dict[str, NDArray[Any]]:
    """The feeds with each state as the model leaves it behind, call after call.

    Args:
        run: the model.
        states: input to the output that becomes it.
        feeds: calls in their order; the states' values are ignored.
        sequence: calls after which the states begin with zeros again.

    Raises:
        InputShapeError: an output does not have its state's shape or element type.
    """
    carried = {name: values.copy() for name, values in feeds.items()}
    rows = rows_of(carried)
    for row in range(rows):
        if row % sequence == 0:
            for name in states:
                carried[name][row] = 0
        found = run({name: values[row : row + 1] for name, values in carried.items()})
        for name, output in states.items():
            if output not in found:
                raise InputShapeError(f"[[inputs]] {name!r} feedback: the model has no output {output!r}.")
            state = found[output]
            if state.shape[1:] != carried[name].shape[1:] or state.dtype != carried[name].dtype:
                raise InputShapeError(
                    f"The output {output!r} is {state.dtype} {list(state.shape[1:])} and cannot become the "
                    f"state {name!r}, {carried[name].dtype} {list(carried[name].shape[1:])}."
                )
            if row + 1 < rows:
                carried[name][row + 1] = state[0]
    return carried
