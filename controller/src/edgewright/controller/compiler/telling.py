"""What is told of a version: its model card and its bill of materials, from what a build knows of it."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from edgewright.controller.blobs import BlobStore
from edgewright.controller.compiler.cache import SourceFacts, package_versions
from edgewright.controller.compiler.card import make_card, measured_section
from edgewright.controller.compiler.compiled import Compiled
from edgewright.controller.compiler.facts import CompileFacts, DataFacts, TargetFacts, Use
from edgewright.controller.compiler.keys import Keys, file_digest
from edgewright.controller.compiler.licences import read_licences
from edgewright.controller.compiler.targets import find_target
from edgewright.controller.model_tensors import TensorSpec
from edgewright.controller.model_toml import CARD_NAME, LicencePart, ModelSpec


@dataclass(frozen=True)
class Told:
    """Blobs that describe a version."""

    card_sha256: str
    sbom_sha256: str


def tell(
    folder: Path,
    spec: ModelSpec | TensorSpec,
    keys: Keys,
    source: SourceFacts,
    compiled: Sequence[Compiled],
    blobs: BlobStore,
    version: int = 0,
    parent: int = 0,
    on_devices: Collection[str] = (),
) -> Told:
    """Store a version's card and bill of materials.

    Args:
        folder: the model's.
        spec: its declaration.
        keys: with the digests of its files.
        source: what its checks found.
        compiled: by target.
        blobs: takes the two.
        version: its number, 0 where it has none.
        parent: version that a rebuild started from, 0 for none.
        on_devices: targets whose artifact devices have measured.
    """
    # The library of bills of materials costs 0.2 s and 6 MiB, which a controller's start does not need.
    from edgewright.controller.compiler.sbom import make_sbom

    facts = _facts(folder, spec, keys, source, compiled)
    targets = tuple(_measured(one) if one.target in on_devices else one for one in facts.targets)
    facts = replace(facts, targets=targets, version=version, parent=parent)
    # A version's card is named by a signed statement, so what differs from run to run stays out of it.
    card = make_card(facts) + (b"" if version else measured_section(facts))
    return Told(blobs.put(card), blobs.put(make_sbom(facts)))


def _facts(
    folder: Path,
    spec: ModelSpec | TensorSpec,
    keys: Keys,
    source: SourceFacts,
    compiled: Sequence[Compiled],
) -> CompileFacts:
    line = spec if isinstance(spec, ModelSpec) else None
    own = folder / CARD_NAME
    return CompileFacts(
        name=spec.model.name,
        version=0,
        source_file=spec.model.file,
        source_sha256=keys.digests[spec.model.file],
        source_length=(folder / spec.model.file).stat().st_size,
        source_format="tflite" if spec.model.file.endswith(".tflite") else "onnx",
        licences=read_licences(spec.model.licence, policy_of(spec), source.licence),
        inputs=source.inputs,
        outputs=source.outputs,
        gates=spec.gates,
        targets=tuple(_target(one) for one in compiled),
        compilers=package_versions(),
        labels=spec.model.labels,
        decision=line.output.name if line else getattr(spec.model, "decision", ""),
        fallback=line.model.fallback if line else "",
        preprocessing=line.preprocessing if line else None,
        data=tuple(_data(folder, spec, keys, source)),
        confusion=np.array(source.confusion, np.int64).reshape(len(source.confusion), len(source.confusion)),
        notes=source.notes,
        own_text=file_digest(own) if own.is_file() else "",
        confidential=bool(line and line.confidential.enabled),
    )


def policy_of(spec: ModelSpec | TensorSpec) -> LicencePart:
    """Which licences are allowed. A tensor model ships to no fleet, so an unknown one is only told."""
    if isinstance(spec, ModelSpec):
        return spec.licence
    return msgspec.structs.replace(spec.licence, unknown="warn")


def _target(one: Compiled) -> TargetFacts:
    target = find_target(one.target)
    return TargetFacts(
        target=one.target,
        machine=target.machine,
        runtime=target.runtime,
        candidate=one.chosen,
        precision=one.precision,
        format=one.format,
        sha256=one.artifact.sha256,
        length=one.artifact.length,
        golden_sha256=one.golden.sha256,
        golden_count=one.golden_count,
        verdicts=one.verdicts,
        numbers=one.verdict.numbers,
        tools=one.tools,
        proven_on=one.proven_on,
        left_alone=one.left_alone,
    )


def _measured(one: TargetFacts) -> TargetFacts:
    return replace(one, qualification="hardware")


def _data(folder: Path, spec: ModelSpec | TensorSpec, keys: Keys, source: SourceFacts) -> Iterator[DataFacts]:
    files: dict[Use, str] = {"calibration": spec.data.calibration, "holdout": spec.data.holdout}
    for use, file in files.items():
        digest = keys.digests.get(file, "")
        rows = source.rows.get(use, 0)
        classes = source.classes if use == "holdout" else {}
        yield DataFacts(use, file or "drawn", digest, rows, classes, synthetic=source.synthetic)
    if isinstance(spec, ModelSpec) and (replay := spec.data.replay):
        yield DataFacts("replay", replay, keys.digests.get(replay) or file_digest(folder / replay))
