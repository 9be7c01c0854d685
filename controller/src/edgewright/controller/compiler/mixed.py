"""Mixed precision: the fewest layers that have to stay in float for the rest to be int8.

One pass over a few calibration calls compares every tensor of the int8 graph with fp32's and ranks layers by
the error that each adds (see ``attribution``). A layer that spoils its result by its weights is left in float
alone; one whose result does not fit into 256 steps takes the layers that read the result with it. Then the
number of layers from the top of that list is searched: doubled until the int8 rest holds the gates with a
margin, and halved back to the smallest number that does. Where that is many or none, a second list is
searched, because the layer at which an error becomes visible is not always the one that made it.

The search sees calibration calls only, so the holdout still judges what nobody fitted to it. Its budget
counts evaluations, so that the same inputs give the same artifact on any machine; the limit in seconds is a
guard against a model that is too large for this, and ends the search with a sentence.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from edgewright.controller.compiler.attribution import LayerError, layer_errors
from edgewright.controller.compiler.calibration import Calibration
from edgewright.controller.compiler.gates import Comparison
from edgewright.controller.compiler.graph import canonical_graph
from edgewright.controller.compiler.graphedit import int8_weights
from edgewright.controller.compiler.measure import compare_outputs
from edgewright.controller.compiler.ort import Session
from edgewright.controller.compiler.subject import NO_TRUTHS, Feeds, Subject
from edgewright.controller.compiler.targets import Activation
from edgewright.controller.compiler.within import HEAVY, Layer, layers_of, spread_rows
from edgewright.controller.errors import GateFailedError
from edgewright.controller.model_toml import GatesPart

MOST_EVALUATIONS: Final = 12
"""Candidates that the search in one list makes and runs."""

LONGEST_S: Final = 120.0
"""Seconds after which the search in one list ends with what it has."""

NEAR: Final = 8
"""A count within this part of the fewest is few enough."""

RANKING_CALLS: Final = 4
JUDGING_CALLS: Final = 64

LARGEST_SHARE: Final = 0.5
"""Of all layers; with more of them in float there is little left to gain."""

GOOD_SHARE: Final = 0.5
"""Of the most layers; where fewer are enough, the second list is not searched."""

MOST_MAKERS: Final = 4
"""Layers before one that stay in float with it."""

_MARGIN: Final = 0.7
"""Share of what the gates allow that the search allows: the holdout is not the calibration set."""


@dataclass(frozen=True)
class Mixture:
    """An artifact with some layers in float: which ones, by the name of their node."""

    model: bytes
    left_alone: tuple[str, ...]


class Mixed:
    """The search in one model."""

    def __init__(
        self,
        subject: Subject,
        calibration: Calibration,
        activation: Activation,
        operators: Sequence[str] = (),
    ) -> None:
        """Rank the layers.

        Args:
            subject: what is compiled.
            calibration: its ranges.
            activation: element type of the target.
            operators: which are quantised at all; empty for all.

        Raises:
            ModelError: the graph cannot be quantised or read.
        """
        self._calibration, self._activation, self._operators = calibration, activation, operators
        layers = layers_of(calibration.optimised)
        calls = spread_rows(subject.calibration, RANKING_CALLS)
        errors = layer_errors(calibration.optimised, self._make(()).model, calls)
        self._rankings = [
            rank_layers(errors, layers, with_makers=with_makers) for with_makers in (False, True)
        ]
        self._most = int(len(layers) * LARGEST_SHARE)
        self._evaluation = _Evaluation(subject, calibration)
        self._ranked: list[str] = []

    def find(self) -> Mixture:
        """The one with the fewest layers in float.

        Raises:
            GateFailedError: no number of layers was enough; the sentence says how many were tried.
            ModelError: the graph cannot be quantised.
        """
        found: list[tuple[int, list[str]]] = []
        late = False
        for ranked in self._rankings:
            if found and found[0][0] <= GOOD_SHARE * self._most:
                break
            count, ended = find_fewest(partial(self._is_enough, ranked), min(len(ranked), self._most))
            late = late or ended
            if count:
                found.append((count, ranked))
        if not found:
            by_time = "; the search ended by its limit in time" if late else ""
            raise GateFailedError(f"{self._most} layers in float were not enough{by_time}")
        count, self._ranked = min(found, key=lambda one: one[0])
        return self._make(self._ranked[:count])

    def widen(self, mixture: Mixture) -> Mixture:
        """The one that was found, with twice as many layers in float.

        Raises:
            GateFailedError: there are no more.
        """
        count = len(mixture.left_alone)
        most = min(len(self._ranked), self._most)
        if count >= most:
            raise GateFailedError(f"more than {most} layers would have to stay in float")
        return self._make(self._ranked[: min(2 * count, most)])

    def _is_enough(self, ranked: Sequence[str], count: int) -> bool:
        return self._evaluation.holds(self._make(ranked[:count]).model)

    def _make(self, left_alone: Sequence[str]) -> Mixture:
        ranges = self._calibration.observed
        quantised = self._calibration.quantise(ranges, self._activation, self._operators, left_alone)
        # Weights that no static form quantises (recurrent layers) are at least stored in int8.
        return Mixture(canonical_graph(int8_weights(quantised, left_alone)), tuple(left_alone))


def rank_layers(errors: Sequence[LayerError], layers: Sequence[Layer], *, with_makers: bool) -> list[str]:
    """Names of nodes, those whose staying in float helps most first; each once.

    A tensor stays in float only where its maker and all its readers do. So a layer that adds error by
    rounding comes with its readers.

    Args:
        errors: what each layer added.
        layers: all nodes of the graph.
        with_makers: whether a layer that adds error while it calculates comes with what makes its inputs:
            it may only make visible what their rounding did.
    """
    readers: dict[str, list[str]] = {}
    makers = {name: layer for layer in layers for name in layer.outputs}
    for layer in layers:
        for name in layer.inputs:
            readers.setdefault(name, []).append(layer.name)
    units: list[tuple[float, list[str]]] = []
    for error in errors:
        before = _makers_of(error.layer, makers) if with_makers else []
        units.append((error.computed - error.before, [error.layer.name, *before]))
        followers = [name for output in error.outputs for name in readers.get(output, ())]
        units.append((error.rounded - error.computed, [error.layer.name, *followers]))
    ranked = sorted(units, key=lambda unit: -unit[0])
    names = [name for gain, unit in ranked if gain > 0 for name in unit if name]
    return list(dict.fromkeys(names))


def _makers_of(layer: Layer, makers: Mapping[str, Layer]) -> list[str]:
    """Names of the layers before one, up to the nearest with weights on each way."""
    names: list[str] = []
    waiting = list(layer.inputs)
    while waiting and len(names) < MOST_MAKERS:
        maker = makers.get(waiting.pop(0))
        if maker is None or maker.name in names:
            continue
        names.append(maker.name)
        if maker.operator not in HEAVY:
            waiting += maker.inputs
    return names


def find_fewest(
    is_enough: Callable[[int], bool], most: int, longest_s: float = LONGEST_S
) -> tuple[int, bool]:
    """The smallest count from 1 to ``most`` that is enough, 0 for none; and whether time ended the search.

    Counts are doubled, then halved back, to the next eighth where they are many. It takes for granted that
    more layers in float never hurt; where they do, what is found is still enough, and may not be the fewest.
    """
    deadline = time.monotonic() + longest_s
    too_few, enough = 0, 0
    for _ in range(MOST_EVALUATIONS):
        close = enough and enough - too_few <= max(1, enough // NEAR)
        if too_few >= most or close or time.monotonic() >= deadline:
            break
        count = (too_few + enough) // 2 if enough else min(max(1, 2 * too_few), most)
        if is_enough(count):
            enough = count
        else:
            too_few = count
    return enough, time.monotonic() >= deadline


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
