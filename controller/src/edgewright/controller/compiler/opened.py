"""A model folder that is being compiled, of any kind: read and checked when first asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np

from edgewright.controller.blobs import BlobStore
from edgewright.controller.compiler.benches.opening import open_bench
from edgewright.controller.compiler.benches.ort_bench import OrtBench
from edgewright.controller.compiler.benches.seam import Bench
from edgewright.controller.compiler.cache import CompileCache, SourceFacts
from edgewright.controller.compiler.carried import carried_licence
from edgewright.controller.compiler.compiled import Compiled
from edgewright.controller.compiler.keys import Keys
from edgewright.controller.compiler.licences import check_licence
from edgewright.controller.compiler.ort import Session
from edgewright.controller.compiler.sanity import check_sense
from edgewright.controller.compiler.shaping import Put, logits_of, shape_images, shape_tensors
from edgewright.controller.compiler.sources.images import ImageModel, read_images
from edgewright.controller.compiler.sources.reading import read_subject
from edgewright.controller.compiler.sources.softmax import PROBABILITIES, are_probabilities
from edgewright.controller.compiler.subject import Feeds, Outputs, Subject, rows_of
from edgewright.controller.compiler.targets import TARGETS, Target
from edgewright.controller.compiler.telling import policy_of
from edgewright.controller.compiler.trials import Trial
from edgewright.controller.compiler.twin import tell_twin
from edgewright.controller.errors import DataFolderDamagedError, ModelError
from edgewright.controller.model_tensors import TensorSpec
from edgewright.controller.model_toml import ModelSpec
from edgewright.wire.manifest import Manifest


@dataclass
class Opened:
    """One folder, or one model file without a declaration.

    Attributes:
        place: the folder, or the file.
        spec: what its model.toml says.
        keys: of the cache.
        cache: what was compiled before; None where nothing may be remembered.
    """

    place: Path
    spec: ModelSpec | TensorSpec
    keys: Keys
    cache: CompileCache | None

    @property
    def folder(self) -> Path:
        """Where the files are that the declaration names."""
        return self.place if self.place.is_dir() else self.place.parent

    @cached_property
    def images(self) -> ImageModel | None:
        """The model with its frames, where it is one for the line; reading it checks it."""
        return read_images(self.spec, self.place) if isinstance(self.spec, ModelSpec) else None

    @cached_property
    def subject(self) -> Subject:
        """What is compiled; reading it checks it."""
        return self.images.subject if self.images else read_subject(self.place)

    @cached_property
    def reference(self) -> Outputs:
        """Outputs of the source on the holdout: what every candidate is held against."""
        return self._run(self.subject.holdout)

    @cached_property
    def facts(self) -> SourceFacts:
        """What the checks found; known from before, or by running the model.

        The licence is looked at each time: what is allowed may have changed, and no artifact with it.
        """
        known = self.cache.find_source(self.keys.source) if self.cache else None
        licence = known.licence if known else carried_licence(self.folder / self.spec.model.file)
        said = check_licence(self.spec.model.licence, policy_of(self.spec), licence)
        found = known or self._check(licence)
        return msgspec.structs.replace(found, notes=(*found.notes, *said))

    def shape(
        self,
        target: Target,
        trial: Trial,
        bench: Bench,
        put: Put,
        bases: Sequence[tuple[Manifest, BlobStore]] = (),
    ) -> Compiled:
        """What goes with the artifact that ships; see ``shaping``."""
        if self.images is None:
            return shape_tensors(self.subject, target, trial, bench, put)
        return shape_images(self.images, target, trial, bench, put, bases)

    def twin_warning(self, older: Manifest, blobs: BlobStore) -> str:
        """A sentence where this may be another network than that of an older version; see ``twin``."""
        if self.images is None or older.runtime.name != "onnxruntime":
            return ""
        inputs = self.images.holdout.inputs(older.preprocessing)
        try:
            logits = Session(blobs.read(older.artifact.sha256)).run(inputs, older.output.name)
        except (ModelError, DataFolderDamagedError) as error:
            return f"It was not held against version {older.version}: {error.sentence}"
        decided = logits_of(self.reference, self.subject).argmax(axis=1)
        return tell_twin((older.version, older.labels, logits.argmax(axis=1)), self.subject.labels, decided)

    def _run(self, feeds: Feeds) -> Outputs:
        with _reference_bench(self.subject) as bench:
            return bench.outputs(self.subject.model, feeds)

    def _check(self, licence: str) -> SourceFacts:
        subject = self.subject
        doubts = check_sense(subject, self.reference, self._run)
        metrics = {"holdout_rows": float(rows_of(subject.holdout))}
        confusion: tuple[tuple[int, ...], ...] = ()
        classes: dict[str, int] = {}
        if subject.decision and len(subject.labels) and len(subject.truths):
            decided = logits_of(self.reference, subject).argmax(axis=1)
            known = subject.truths >= 0
            metrics["fp32_error_rate"] = float(np.mean(decided[known] != subject.truths[known]))
            counts = np.zeros((len(subject.labels), len(subject.labels)), np.int64)
            np.add.at(counts, (subject.truths[known], decided[known]), 1)
            confusion = tuple(tuple(row) for row in counts.tolist())
            classes = dict(zip(subject.labels, counts.sum(axis=1).tolist(), strict=True))
        flat = self.images is not None and are_probabilities(logits_of(self.reference, subject))
        warnings = (PROBABILITIES,) if flat else ()
        facts = SourceFacts(
            metrics=metrics,
            inputs=subject.inputs,
            outputs=subject.outputs,
            confusion=confusion,
            classes=classes,
            rows={"calibration": rows_of(subject.calibration), "holdout": rows_of(subject.holdout)},
            licence=licence,
            synthetic=subject.synthetic,
            notes=(*subject.notes, *doubts, *warnings),
            warnings=warnings,
        )
        if self.cache is not None:
            self.cache.keep_source(self.keys.source, facts)
        return facts


def _reference_bench(subject: Subject) -> Bench:
    """onnxruntime; for a TFLite file the first runtime of the table that reads it."""
    if subject.format == "onnx":
        return OrtBench("CPUExecutionProvider", batches=subject.batches)
    reads = next(target for target in TARGETS.values() if target.format == subject.format)
    return open_bench(reads, batches=subject.batches)
