"""What is known of a compiled model, as one value: model card and bill of materials are written from it.

Everything in it follows from what went in and what came out, but two kinds of numbers that differ from run to
run: times and memory, which ``measured.is_measured`` names. What is signed, or has its digest signed, leaves
them out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from edgewright.controller.compiler.gates import Verdict
from edgewright.controller.compiler.licences import Stated
from edgewright.controller.compiler.proof import was_raced
from edgewright.controller.compiler.subject import Format, Port
from edgewright.controller.model_toml import GatesPart
from edgewright.wire.manifest import Preprocessing, RuntimeRange

Use = Literal["calibration", "holdout", "replay"]

USES: Final[dict[Use, str]] = {
    "calibration": "shows the quantisation which values occur",
    "holdout": "judges the candidates; the model never saw it",
    "replay": "is mixed with fresh frames in a rebuild",
}


@dataclass(frozen=True)
class DataFacts:
    """One file of data.

    Attributes:
        use: what it is used for.
        file: path in the model's folder, or a name in words where it was drawn.
        sha256: of its bytes, empty where it was drawn.
        rows: how many examples, 0 where nobody counted.
        classes: how many of each label.
        synthetic: whether it was drawn, not recorded.
    """

    use: Use
    file: str
    sha256: str
    rows: int = 0
    classes: Mapping[str, int] = field(default_factory=dict)
    synthetic: bool = False


@dataclass(frozen=True)
class TargetFacts:
    """What was made for one target.

    Attributes:
        target, machine, runtime: of the target's row.
        candidate, precision, format: of the artifact that ships.
        sha256, length: of its bytes as they are published, so of the encrypted ones where there is a key.
        golden_sha256: golden vectors beside it.
        verdicts: on all candidates that were judged.
        golden_count: how many vectors, 0 where nobody counted.
        numbers: of the chosen candidate's verdict.
        tools: what made the artifact, with versions.
        proven_on: runtimes that the gates ran on, name and version and provider.
        qualification: ``hardware`` where a device of the target has measured it.
        left_alone: nodes or operators that stayed in float.
    """

    target: str
    machine: str
    runtime: RuntimeRange
    candidate: str
    precision: str
    format: Format
    sha256: str
    length: int
    golden_sha256: str
    verdicts: tuple[Verdict, ...]
    golden_count: int = 0
    numbers: Mapping[str, float] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    proven_on: tuple[str, ...] = ()
    qualification: Literal["emulated", "hardware"] = "emulated"
    left_alone: tuple[str, ...] = ()


@dataclass(frozen=True)
class CompileFacts:
    """Everything that a card and a bill of materials tell.

    Attributes:
        name: of the model.
        version: its number, 0 where it was compiled without a controller.
        parent: version that a rebuild started from, 0 for none.
        source_file, source_sha256, source_length, source_format: the model as it came.
        licences: what was stated of the model and its parts.
        inputs, outputs: ports.
        gates: thresholds.
        targets: in model.toml's order.
        compilers: packages of the compiling environment, with versions.
        labels, decision, fallback: of a model that decides, else empty.
        preprocessing: of a model that takes camera frames.
        data: files of data.
        confusion: decisions of fp32 on the holdout, ``[true, decided]`` counts by ``labels``; empty for none.
        notes: sentences about what was changed, chosen or let through.
        own_text: digest of the folder's own README.md, empty where it has none.
        confidential: whether artifacts are published encrypted.
    """

    name: str
    version: int
    source_file: str
    source_sha256: str
    source_length: int
    source_format: Format
    licences: tuple[Stated, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    gates: GatesPart
    targets: tuple[TargetFacts, ...]
    compilers: Mapping[str, str]
    parent: int = 0
    labels: tuple[str, ...] = ()
    decision: str = ""
    fallback: str = ""
    preprocessing: Preprocessing | None = None
    data: tuple[DataFacts, ...] = ()
    confusion: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    notes: tuple[str, ...] = ()
    own_text: str = ""
    confidential: bool = False


def known_limits(facts: CompileFacts) -> tuple[str, ...]:
    """What nobody should believe of this model because nobody has shown it, one sentence each."""
    emulated = [one for one in facts.targets if one.qualification == "emulated"]
    elsewhere = [one.target for one in emulated if not was_raced(one.numbers)]
    alike = [one.target for one in emulated if was_raced(one.numbers)]
    limits = []
    if any(data.synthetic for data in facts.data):
        limits.append(
            "The data was drawn, not recorded: it shows that artifacts agree, not that they are right."
        )
    if elsewhere:
        limits.append(
            f"No device has measured the artifact for {_listed(elsewhere)}: its gates ran on the machine "
            "that compiled it, so its speed and its last bits there are not known."
        )
    if alike:
        limits.append(
            f"No device has measured the artifact for {_listed(alike)}: its gates, latency included, ran on "
            "the machine that compiled it, which is of that kind and need not be as fast as a device."
        )
    if not facts.data:
        limits.append("No data came with the model, so no accuracy was measured.")
    elif facts.labels and not any(data.classes for data in facts.data):
        limits.append("No true classes came with the data, so accuracy by class was not measured.")
    unjudged = sorted({gate for one in facts.targets for gate in chosen_verdict(one).unjudged_gates})
    if unjudged:
        limits.append(f"Not judged for every target: {', '.join(unjudged)}.")
    return tuple(limits)


def chosen_verdict(one: TargetFacts) -> Verdict:
    """The verdict on the candidate that ships."""
    return next(verdict for verdict in one.verdicts if verdict.name == one.candidate)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
