"""Quantising one model: the ranges of its tensors, and the int8 forms that follow from them.

int8 needs the range of every activation. Ranges are observed on the calibration calls, and kept by the
*fingerprint* of the tensor (see ``graph``). A rebuild that changed only the head has the same backbone, so
its tensors find their old ranges, their scales stay the same to the last bit, and the patch from the older
artifact carries the head alone (measured: 622 bytes instead of 2.3 kB).
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from math import prod
from typing import Final

from edgewright.controller.compiler.candidate import Range
from edgewright.controller.compiler.clipping import clipped_ranges
from edgewright.controller.compiler.graph import canonical_graph, fingerprints
from edgewright.controller.compiler.ort import Quantiser
from edgewright.controller.compiler.ranges import RangeTable
from edgewright.controller.compiler.subject import Subject
from edgewright.controller.compiler.targets import Activation
from edgewright.controller.compiler.within import spread_rows

MOST_CALLS: Final = 512
"""Ranges hardly widen beyond; more calls are thinned evenly."""

FEWEST_CALLS: Final = 64
MOST_VALUES: Final = 20_000_000
"""Input values that all calls together may have: 130 pictures of 224 x 224, and 64 of any larger size."""


class Calibration:
    """Quantisation of one model; work is done when first asked for.

    Args:
        subject: the model, and the calls that show its ranges.
        inherited: ranges of the parent version.
    """

    def __init__(self, subject: Subject, inherited: RangeTable) -> None:
        self._subject = subject
        self._inherited = inherited

    @cached_property
    def quantiser(self) -> Quantiser:
        """The quantiser of this model.

        Raises:
            GateFailedError: it does not understand the graph.
        """
        return Quantiser(self._subject.model)

    @property
    def optimised(self) -> bytes:
        """The fp32 model that ranges and names of nodes belong to."""
        return self.quantiser.optimised

    @cached_property
    def _prints(self) -> dict[str, str]:
        return fingerprints(self.optimised)

    @cached_property
    def observed(self) -> dict[str, Range]:
        """Ranges on the calibration calls, by the tensor's name."""
        values = sum(prod(port.shape) for port in self._subject.inputs)
        most = min(MOST_CALLS, max(FEWEST_CALLS, MOST_VALUES // max(values, 1)))
        calls = spread_rows(self._subject.calibration, most)
        return self.quantiser.observe_ranges(calls, batches=self._subject.batches)

    @cached_property
    def reused(self) -> dict[str, Range]:
        """The same, the parent's ranges in place of observed ones wherever the tensor is the same."""
        return {
            name: self._inherited.get(self._prints[name], range_) for name, range_ in self.observed.items()
        }

    @cached_property
    def clipped(self) -> dict[str, Range]:
        """Observed ranges, narrower where that loses less; see ``clipping``."""
        return clipped_ranges(self.optimised, self.observed, self._subject.calibration)

    def quantise(
        self,
        ranges: Mapping[str, Range],
        activation: Activation,
        operators: Sequence[str] = (),
        left_alone: Sequence[str] = (),
    ) -> bytes:
        """An int8 artifact; see ``ort.Quantiser.quantise``.

        Raises:
            GateFailedError: the graph cannot be quantised.
        """
        return canonical_graph(self.quantiser.quantise(ranges, activation, operators, left_alone))

    def table(self, ranges: Mapping[str, Range]) -> RangeTable:
        """Ranges by fingerprint, for the versions that follow."""
        return {self._prints[name]: range_ for name, range_ in ranges.items()}
