"""Mixed precision: the fewest layers that have to stay in float for the rest to be int8.

One pass over a few calibration calls compares every tensor of the int8 graph with fp32's and ranks layers by
the error that each adds (see ``attribution``). A layer that spoils its result by its weights is left in float
alone; one whose result does not fit into 256 steps takes the layers that read the result with it. Then the
number of layers from the top of that list is searched: doubled until the int8 rest holds the gates with a
margin, and halved back to the smallest number that does.

The search sees calibration calls only, so the holdout still judges what nobody fitted to it. Its budget
counts evaluations, so that the same inputs give the same artifact on any machine; the limit in seconds is a
guard against a model that is too large for this, and ends the search with a sentence.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from edgewright.controller.compiler.attribution import LayerError, layer_errors
from edgewright.controller.compiler.calibration import Calibration
from edgewright.controller.compiler.gates import Comparison
from edgewright.controller.compiler.measure import compare_outputs
from edgewright.controller.compiler.ort import Session
from edgewright.controller.compiler.subject import NO_TRUTHS, Feeds, Subject
from edgewright.controller.compiler.targets import Activation
from edgewright.controller.compiler.within import Layer, layers_of, spread_rows
from edgewright.controller.model_toml import GatesPart

MOST_EVALUATIONS: Final = 12
"""Candidates that one search makes and runs."""

LONGEST_S: Final = 180.0
"""Seconds after which a search ends with what it has."""

RANKING_CALLS: Final = 8
JUDGING_CALLS: Final = 96

LARGEST_SHARE: Final = 0.5
"""Of the layers; with more of them in float there is little left to gain."""

_MARGIN: Final = 0.7
"""Share of what the gates allow that the search allows: the holdout is not the calibration set."""


@dataclass(frozen=True)
class Search:
    """How a search ended.

    Attributes:
        model: the artifact, None where no number of layers was enough.
        left_alone: names of the nodes in float.
        evaluations: candidates that were made and run.
        sentence: what was found, for the report.
    """

    model: bytes | None
    left_alone: tuple[str, ...]
    evaluations: int
    sentence: str


def search_mixed(
    subject: Subject, calibration: Calibration, activation: Activation, operators: Sequence[str] = ()
) -> Search:
    """Find the fewest layers to leave in float.

    Args:
        subject: what is compiled.
        calibration: its ranges.
        activation: element type of the target.
        operators: which are quantised at all; empty for all.

    Raises:
        ModelError: the graph cannot be quantised or read.
    """
    ranges = calibration.observed
    whole = calibration.quantise(ranges, activation, operators)
    calls = spread_rows(subject.calibration, RANKING_CALLS)
    layers = layers_of(calibration.optimised)
    ranked = rank_layers(layer_errors(calibration.optimised, whole, calls), layers)
    evaluate = _Evaluation(subject, calibration)

    def attempt(count: int) -> bytes | None:
        model = calibration.quantise(ranges, activation, operators, ranked[:count])
        return model if evaluate.holds(model) else None

    found = find_fewest(attempt, int(len(ranked) * LARGEST_SHARE))
    return Search(found.model, tuple(ranked[: found.count]), found.evaluations, _describe(found, ranked))


def rank_layers(errors: Sequence[LayerError], layers: Sequence[Layer]) -> list[str]:
    """Names of nodes, those whose staying in float helps most first; each once.

    Args:
        errors: what each layer added.
        layers: all nodes of the graph.
    """
    readers: dict[str, list[str]] = {}
    for layer in layers:
        for name in layer.inputs:
            readers.setdefault(name, []).append(layer.name)
    units: list[tuple[float, list[str]]] = []
    for error in errors:
        units.append((error.computed - error.before, [error.layer.name]))
        followers = [name for output in error.outputs for name in readers.get(output, ())]
        units.append((error.rounded - error.computed, [error.layer.name, *followers]))
    ranked = sorted(units, key=lambda unit: -unit[0])
    names = [name for gain, unit in ranked if gain > 0 for name in unit if name]
    return list(dict.fromkeys(names))


@dataclass(frozen=True)
class Found:
    """The fewest layers for which an attempt gave a model; ``late`` if time ended the search."""

    count: int
    model: bytes | None
    evaluations: int
    late: bool = False


def find_fewest(attempt: Callable[[int], bytes | None], most: int, longest_s: float = LONGEST_S) -> Found:
    """The smallest count from 1 to ``most`` for which ``attempt`` gives a model, by doubling and halving.

    It takes for granted that more layers in float never hurt; where they do, what is found still holds, and
    may not be the fewest.
    """
    deadline = time.monotonic() + longest_s
    low, count, model, evaluations = 0, 1, None, 0
    while model is None and low < most and evaluations < MOST_EVALUATIONS and time.monotonic() < deadline:
        count = min(count, most)
        model = attempt(count)
        evaluations += 1
        if model is None:
            low, count = count, count * 2
    if model is None:
        return Found(0, None, evaluations, late=time.monotonic() >= deadline)
    while count - low > 1 and evaluations < MOST_EVALUATIONS and time.monotonic() < deadline:
        middle = (low + count) // 2
        tried = attempt(middle)
        evaluations += 1
        if tried is None:
            low = middle
        else:
            count, model = middle, tried
    return Found(count, model, evaluations, late=time.monotonic() >= deadline)


class _Evaluation:
    """Whether a candidate holds the gates on calibration calls, with a margin."""

    def __init__(self, subject: Subject, calibration: Calibration) -> None:
        # The truths are the holdout's.
        self._subject = replace(subject, truths=NO_TRUTHS)
        self._calls: Feeds = spread_rows(subject.calibration, JUDGING_CALLS)
        self._reference = Session(calibration.optimised).run_calls(self._calls, batches=subject.batches)

    def holds(self, model: bytes) -> bool:
        outputs = Session(model).run_calls(self._calls, batches=self._subject.batches)
        found = compare_outputs(self._reference, outputs, self._subject)
        return holds_gates(found, self._subject.gates)


def holds_gates(found: Comparison, gates: GatesPart) -> bool:
    """Whether a comparison holds agreement and error with the search's margin."""
    disagreement = 0.0 if found.agreement is None else 1 - found.agreement
    worst = max(found.errors.values(), default=0.0)
    return (
        found.finite
        and disagreement <= _MARGIN * (1 - gates.top1_agreement)
        and worst <= _MARGIN * gates.logit_error
    )


def _describe(found: Found, ranked: Sequence[str]) -> str:
    late = "; the search ended by its limit in time" if found.late else ""
    if found.model is None:
        return f"no {int(len(ranked) * LARGEST_SHARE)} layers in float were enough{late}"
    return f"{found.count} layers in float, found in {found.evaluations} evaluations{late}"
