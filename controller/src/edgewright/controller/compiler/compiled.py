"""What compiling for one target gives, before any version has a number.

It names everything by digest, so a cache can hold it; a confidential model's blobs are sealed for their
version already, and nothing of such a model is cached.
"""

import msgspec

from edgewright.controller.compiler.candidate import Range
from edgewright.controller.compiler.gates import Verdict
from edgewright.controller.compiler.reference_profile import ReferenceProfile
from edgewright.controller.compiler.subject import Format
from edgewright.controller.model_toml import Precision
from edgewright.wire.manifest import Blob


class Compiled(msgspec.Struct, frozen=True, kw_only=True):
    """One target's artifact and what is known of it.

    Attributes:
        target: which.
        chosen: name of the candidate that ships.
        precision, format: of the artifact.
        artifact, golden: blobs, sealed where the model is confidential.
        golden_count: how many golden vectors there are.
        profile: of the artifact on the holdout; its version is 0. None for a model that decides nothing.
        temperature: divides the logits before the softmax.
        verdicts: of all candidates that were judged.
        proven_on: runtimes that the gates ran on.
        native: whether this machine is of the target's architecture.
        tools: what made the artifact, with versions.
        left_alone: what a mixed-precision search left in float.
        ranges: what it was quantised with, by fingerprint.
        notes: sentences of the front end and of the search.
        others: what else passed the gates, where that was asked for; devices choose among them.
    """

    target: str
    chosen: str
    precision: Precision
    format: Format
    artifact: Blob
    golden: Blob
    golden_count: int
    profile: ReferenceProfile | None
    temperature: float
    verdicts: tuple[Verdict, ...]
    proven_on: tuple[str, ...]
    native: bool
    tools: dict[str, str] = {}
    left_alone: tuple[str, ...] = ()
    ranges: dict[str, Range] = {}
    notes: tuple[str, ...] = ()
    others: tuple["Compiled", ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The verdict on the candidate that ships."""
        return next(verdict for verdict in self.verdicts if verdict.name == self.chosen)
