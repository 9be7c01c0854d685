"""What could ship for a target: fp32 as it is, and int8 forms of it.

int8 needs the range of every activation. Ranges are observed on the calibration frames, and kept by the
*fingerprint* of the tensor (see ``graph``). A rebuild that changed only the head has the same backbone, so
its tensors find their old ranges, their scales stay the same to the last bit, and the patch from the older
artifact carries the head alone (measured: 622 bytes instead of 2.3 kB). Where the reused ranges do not pass
the gates, a candidate with all ranges observed anew follows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import msgspec

from edgewright.controller.compiler.graph import canonical_graph, fingerprints
from edgewright.controller.compiler.ort import Array, Quantiser, Range
from edgewright.controller.compiler.targets import Activation, Target
from edgewright.controller.errors import DataFolderDamagedError, GateFailedError
from edgewright.controller.model_toml import Precision
from edgewright.wire.canonical import canonical_json

MAX_CALIBRATION_FRAMES: Final = 512
"""Ranges hardly widen beyond; a larger file is thinned evenly."""

RangeTable = dict[str, Range]
"""Ranges by the fingerprint of their tensor."""


@dataclass(frozen=True)
class Candidate:
    """One form of the model.

    Attributes:
        name: its precision, with a remark where there are two of one.
        precision: for the manifest.
        model: the artifact.
        ranges: what it was quantised with; empty for fp32.
    """

    name: str
    precision: Precision
    model: bytes
    ranges: Mapping[str, Range]


class Calibration:
    """Quantisation of one model, for all targets; work is done when first asked for.

    Args:
        model: canonical fp32 model.
        input_name: its input.
        images: calibration inputs.
        inherited: ranges of the parent version.
    """

    def __init__(self, model: bytes, input_name: str, images: Array, inherited: RangeTable) -> None:
        self._quantiser = Quantiser(model)
        self._input_name = input_name
        self._images = images
        self._inherited = inherited

    @cached_property
    def _prints(self) -> dict[str, str]:
        return fingerprints(self._quantiser.optimised)

    @cached_property
    def observed(self) -> dict[str, Range]:
        """Ranges on the calibration frames, by the tensor's name."""
        return self._quantiser.observe_ranges(self._input_name, self._images)

    @cached_property
    def reused(self) -> dict[str, Range]:
        """The same, the parent's ranges in place of observed ones wherever the tensor is the same."""
        return {
            name: self._inherited.get(self._prints[name], range_) for name, range_ in self.observed.items()
        }

    def quantise(self, ranges: Mapping[str, Range], activation: Activation) -> bytes:
        """The int8 artifact.

        Raises:
            GateFailedError: the graph cannot be quantised.
        """
        return canonical_graph(self._quantiser.quantise(ranges, activation))

    def table(self, ranges: Mapping[str, Range]) -> RangeTable:
        """Ranges by fingerprint, for the versions that follow."""
        return {self._prints[name]: range_ for name, range_ in ranges.items()}


def int8_candidates(calibration: Calibration, target: Target) -> Iterator[Candidate]:
    """int8 forms for a target, the preferred first; none where the model cannot be quantised."""
    forms = [("int8", calibration.reused)]
    if calibration.reused != calibration.observed:
        forms.append(("int8, calibrated anew", calibration.observed))
    for name, ranges in forms:
        try:
            model = calibration.quantise(ranges, target.activation)
        except GateFailedError:
            # A graph that the quantiser does not understand ships as fp32; the gate's report shows no int8.
            return
        yield Candidate(name, "int8", model, calibration.table(ranges))


def encode_ranges(table: Mapping[str, Range]) -> bytes:
    """Canonical JSON of ranges by fingerprint."""
    return canonical_json(table)


def decode_ranges(data: bytes) -> RangeTable:
    """Read ranges by fingerprint.

    Raises:
        DataFolderDamagedError: the bytes are none.
    """
    try:
        return msgspec.json.decode(data, type=RangeTable)
    except msgspec.DecodeError as error:
        raise DataFolderDamagedError(f"The stored calibration cannot be read: {error}.") from error
