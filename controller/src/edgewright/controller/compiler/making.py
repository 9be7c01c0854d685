"""Compiling one source for one target after another, as far as it was not compiled before."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import msgspec

from edgewright.controller.blobs import BlobStore
from edgewright.controller.compiler.benches.opening import open_bench
from edgewright.controller.compiler.calibration import Calibration
from edgewright.controller.compiler.compiled import Compiled
from edgewright.controller.compiler.opened import Opened
from edgewright.controller.compiler.ranges import RangeTable
from edgewright.controller.compiler.shaping import Put
from edgewright.controller.compiler.targets import Target
from edgewright.controller.compiler.trials import try_candidates
from edgewright.wire.manifest import Manifest

Bases = Callable[[Target], Sequence[tuple[Manifest, BlobStore]]]
"""Manifests of older versions for a target, the newest first, and where their blobs lie."""


@dataclass(frozen=True)
class Maker:
    """Compiles.

    Attributes:
        source: what.
        blobs: where blobs lie.
        put: stores them.
        inherited: the parent's calibration ranges.
        bases: older versions.
        known: targets that were compiled before.
        keep_others: whether everything that passes the gates is kept, and not only what ships.
    """

    source: Opened
    blobs: BlobStore
    put: Put
    inherited: RangeTable
    bases: Bases
    known: list[str] = field(default_factory=list)
    keep_others: bool = False

    @cached_property
    def calibration(self) -> Calibration:
        """Ranges of the source's tensors, shared by all targets; nothing is measured before it is needed."""
        return Calibration(self.source.subject, self.inherited)

    def make(self, target: Target) -> Compiled:
        """What was compiled before, or a new compilation, which is remembered.

        Raises:
            ModelError: there is no artifact for the target; its number says why.
        """
        cache, key = self.source.cache, self.source.keys.target(target, keep_others=self.keep_others)
        before = cache.find(key, self.blobs) if cache else None
        if before is not None:
            self.known.append(target.name)
            return before
        made = self._compile(target)
        if cache is not None:
            cache.keep(key, made)
        return made

    def _compile(self, target: Target) -> Compiled:
        subject = self.source.subject
        with open_bench(target, batches=subject.batches) as bench:
            trial = try_candidates(
                subject, target, self.source.reference, self.calibration, bench, every=self.keep_others
            )
            bases = self.bases(target)
            made = self.source.shape(target, trial, bench, self.put, bases)
            if not self.keep_others:
                return made
            others = (trial.instead(*other) for other in trial.others)
            shaped = tuple(self.source.shape(target, other, bench, self.put, bases) for other in others)
            return msgspec.structs.replace(made, others=shaped)
