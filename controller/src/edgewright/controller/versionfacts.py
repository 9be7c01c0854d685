"""What ``comparison`` compares, from the registry's rows and a version's model.toml."""

import re
from collections.abc import Iterable, Sequence

import msgspec

from edgewright.controller import aliases, registry
from edgewright.controller.blobs import BlobStore
from edgewright.controller.comparison import MOST_VERSIONS, ArtifactFacts, Facts
from edgewright.controller.database import Session, col, func, select
from edgewright.controller.database.tables import Artifact, Device, ModelVersion
from edgewright.controller.errors import InvalidRequestError
from edgewright.controller.model_toml import CARD_NAME, FILE_NAME, ModelSpec, parse_model
from edgewright.controller.provenance.attest import role_of
from edgewright.wire.errors import EdgewrightError


def read_words(words: Iterable[str]) -> tuple[str, ...]:
    """Versions as an address names them: numbers or aliases, by commas or one by one; none twice.

    >>> read_words(["1,champion", "1"])
    ('1', 'champion')
    """
    found = (word for text in words for word in re.split(r"[,\s]+", text) if word)
    return tuple(dict.fromkeys(found))


def gather(session: Session, blobs: BlobStore, model: str, words: Sequence[str]) -> list[Facts]:
    """The facts of versions that are named by numbers or aliases, in this order.

    Raises:
        InvalidRequestError: there are fewer than two, or too many.
        UnknownAliasError, UnknownModelError: one of them is not here.
    """
    registry.verify_model(session, model)
    numbers = tuple(dict.fromkeys(aliases.resolve(session, model, word) for word in words))
    if not 2 <= len(numbers) <= MOST_VERSIONS:
        raise InvalidRequestError(
            f"Name from 2 to {MOST_VERSIONS} different versions to compare, not {len(numbers)}."
        )
    names = aliases.names_of(aliases.list_aliases(session, model))
    robots = _robots(session, model)
    return [
        _facts(session, blobs, registry.find_version(session, model, number), names.get(number, ()), robots)
        for number in numbers
    ]


def _facts(
    session: Session,
    blobs: BlobStore,
    row: ModelVersion,
    names: tuple[str, ...],
    robots: dict[tuple[int, str], int],
) -> Facts:
    mine = (col(Artifact.model) == row.model, col(Artifact.version) == row.version)
    artifacts = session.exec(select(Artifact).where(*mine).order_by(col(Artifact.target))).all()
    spec = _spec(blobs, row)
    return Facts(
        version=row.version,
        state=row.state,
        parent=row.parent,
        created_at=row.created_at,
        labels=tuple(row.labels),
        metrics=row.metrics,
        aliases=names,
        gates=msgspec.to_builtins(spec.gates) if spec else {},
        data=_data(row, spec),
        artifacts=tuple(_artifact(a, robots.get((row.version, a.target), 0)) for a in artifacts),
        robots=sum(count for (version, _), count in robots.items() if version == row.version),
    )


def _artifact(row: Artifact, robots: int) -> ArtifactFacts:
    return ArtifactFacts(
        target=row.target,
        precision=row.precision,
        format=row.format,
        qualification=row.qualification,
        length=row.artifact_length,
        patch_lengths=row.patch_lengths,
        numbers=row.numbers,
        proven_on=tuple(row.proven_on),
        sha256=row.artifact_sha256,
        robots=robots,
    )


def _data(row: ModelVersion, spec: ModelSpec | None) -> dict[str, str]:
    files = {path: sha256 for path, sha256 in row.files.items() if path not in (FILE_NAME, CARD_NAME)}
    data = {role_of(path, spec) if spec else path: sha256 for path, sha256 in sorted(files.items())}
    if learned := row.lineage.get("dataset_sha256"):
        data["labelled frames of the line"] = learned
    return data


def _spec(blobs: BlobStore, row: ModelVersion) -> ModelSpec | None:
    if FILE_NAME not in row.files:
        return None
    try:
        return parse_model(blobs.read(row.files[FILE_NAME]))
    except EdgewrightError:
        # A version that failed on its model.toml, or whose blob is damaged, can still be compared.
        return None


def _robots(session: Session, model: str) -> dict[tuple[int, str], int]:
    running = (
        select(Device.active_version, Device.target, func.count())
        .where(col(Device.active_model) == model, col(Device.revoked_at) == 0)
        .group_by(col(Device.active_version), col(Device.target))
    )
    return {(version, target): count for version, target, count in session.exec(running).all()}
