"""Values of the pages of one model and one robot, shaped from rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from edgewright.controller.aliases import CHAMPION
from edgewright.controller.compiler.proof import how_proven, was_raced
from edgewright.controller.database.tables import Artifact, Device, ModelVersion, Rollout, RolloutDevice
from edgewright.controller.lineage import tell
from edgewright.controller.provenance.words import Line
from edgewright.controller.web.activity import Activity
from edgewright.controller.web.charts import Sums
from edgewright.controller.web.words import Word, deployment_word, version_word


class Delta(msgspec.Struct, frozen=True):
    """A patch from an older version: its size, and that as a share of the full artifact."""

    base: int
    length: int
    share: float


class Trial(msgspec.Struct, frozen=True):
    """One candidate's verdict, with a sentence for each gate."""

    name: str
    chosen: bool
    passed: bool
    length: int
    sentences: tuple[str, ...]


class ArtifactRow(msgspec.Struct, frozen=True):
    """What was compiled for one target."""

    target: str
    precision: str
    proven: str
    length: int
    deltas: tuple[Delta, ...]
    trials: tuple[Trial, ...]


class VersionRow(msgspec.Struct, frozen=True):
    """One version with its artifacts."""

    version: int
    word: Word
    source: str
    parent: int
    created_at: float
    took_s: float
    problem: str
    metrics: tuple[tuple[str, str], ...]
    artifacts: tuple[ArtifactRow, ...]
    robots: int
    aliases: tuple[str, ...] = ()
    told: tuple[Line, ...] = ()
    beside: int = 0
    """The version to compare it with: the champion, or the one before; 0 for none."""
    card: bool = False
    sbom: bool = False


class History(msgspec.Struct, frozen=True):
    """One deployment that a robot had."""

    rollout: int
    model: str
    version: int
    word: Word
    at: float
    detail: str
    fetched_bytes: int
    swap_gap_us: int


def version_row(
    version: ModelVersion,
    artifacts: Sequence[Artifact],
    devices: Sequence[Device],
    names: Mapping[int, tuple[str, ...]] | None = None,
) -> VersionRow:
    """A version for the model's page; ``names`` are the model's aliases by version."""
    names = names or {}
    champion = next((number for number, given in names.items() if CHAMPION in given), 0)
    before = version.parent or version.version - 1
    problem = f"E{version.error:03d} {version.detail}" if version.error else version.detail
    return VersionRow(
        version=version.version,
        word=version_word(version.state),
        source=version.source,
        parent=version.parent,
        created_at=version.created_at,
        took_s=max(version.finished_at - version.created_at, 0.0) if version.finished_at else 0.0,
        problem=problem,
        metrics=tuple((label(name), figure(value)) for name, value in sorted(version.metrics.items())),
        artifacts=tuple(_artifact(artifact) for artifact in artifacts),
        robots=sum(d.active_model == version.model and d.active_version == version.version for d in devices),
        aliases=names.get(version.version, ()),
        told=tell(version.lineage),
        beside=champion if champion not in (0, version.version) else before,
        card=bool(version.card_sha256),
        sbom=bool(version.sbom_sha256),
    )


def _artifact(artifact: Artifact) -> ArtifactRow:
    deltas = sorted((int(base), length) for base, length in artifact.patch_lengths.items())
    return ArtifactRow(
        target=artifact.target,
        precision=artifact.precision,
        proven=how_proven(artifact.qualification, was_raced(artifact.numbers)),
        length=artifact.artifact_length,
        deltas=tuple(
            Delta(base, length, length / max(artifact.artifact_length, 1)) for base, length in deltas
        ),
        trials=trials_of(artifact.gates),
    )


def trials_of(gates: Mapping[str, Any]) -> tuple[Trial, ...]:
    """The candidates that were tried for a target, as the registry stored them."""
    return tuple(
        Trial(
            name=verdict["name"],
            chosen=verdict["name"] == gates.get("chosen"),
            passed=verdict["passed"],
            length=verdict["length"],
            sentences=tuple(verdict["sentences"]),
        )
        for verdict in gates.get("verdicts", ())
    )


def label(name: str) -> str:
    """A key as words.

    >>> label("per_class_loss")
    'per class loss'
    """
    return name.replace("_", " ").replace(".", " ")


def figure(value: float | str) -> str:
    """A number with as many digits as a person reads.

    >>> figure(0.99342), figure(12345.678), figure(7), figure("int8")
    ('0.993', '12346', '7', 'int8')
    """
    if isinstance(value, str):
        return value
    if float(value).is_integer() or abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}"


def history_row(part: RolloutDevice, rollout: Rollout) -> History:
    """One deployment of a robot."""
    return History(
        rollout=rollout.id or 0,
        model=rollout.model,
        version=rollout.version,
        word=deployment_word(part.state),
        at=part.updated_at or part.assigned_at,
        detail=f"E{part.error:03d} {part.name}: {part.detail}" if part.error else part.detail,
        fetched_bytes=part.fetched_bytes,
        swap_gap_us=part.swap_gap_us,
    )


def sums_of(activities: Sequence[Activity]) -> list[Sums]:
    """One robot's activity as the sums that a chart is made of."""
    return [
        Sums(a.bucket, a.version, a.labelled, a.wrong, a.confidence_sum, a.confidence_count)
        for a in activities
    ]
