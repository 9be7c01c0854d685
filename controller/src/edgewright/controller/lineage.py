"""Where a version comes from: what is written down when it gets its number, and the chain back to its root.

A push says who pushed which files, by digest and role, and what they say of it themselves: a run, a note,
another registry that it was fetched from. A rebuild says which alarm asked for it, the frames that it learned
from, its recipe and its rung. No path of anybody's machine stands in it, and nothing is guessed: a revision
is there only if the person who pushed gave one.

This is the registry's own record, to read and to compare. What proves a build is its signed provenance.

>>> push = Lineage(kind="push", by="Ada (0a1b)", note="more red shirts")
>>> [f"{line.about}: {line.said}" for line in tell(msgspec.to_builtins(push))]
['Pushed by: Ada (0a1b)', 'Note: more red shirts']
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from edgewright.controller import aliases, registry
from edgewright.controller.database import Session
from edgewright.controller.database.evidencetables import Rebuild
from edgewright.controller.exchange.origin import Imported
from edgewright.controller.model_toml import ModelSpec
from edgewright.controller.provenance.attest import role_of
from edgewright.controller.provenance.words import Line

USES: Final[dict[str, str]] = {"fit": "to learn from", "gate": "to be judged on", "left_out": "left out"}
"""What frames of a rebuild's dataset were used for."""

_SHOWN_DIGITS: Final = 16
"""Of a digest, for people; JSON has all of it."""


class Material(msgspec.Struct, frozen=True):
    """A file that the version was made of: what it was used as, and its SHA-256."""

    role: str
    sha256: str


class Lineage(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The record of one version.

    Attributes:
        kind: how it came.
        by: who pushed it.
        materials: its source files, by role.
        run, note: what the person who pushed said: a run or a revision, and a remark.
        imported_from: where it was fetched, if it was.
        rebuild, alarm, cause, rung: of a rebuild: its number, who asked, why, and what passed.
        dataset_sha256, frames: of a rebuild: what it learned from, and how many frames by use.
        parameters: of a rebuild: what else decided over it.
    """

    kind: Literal["push", "rebuild"]
    by: str = ""
    materials: tuple[Material, ...] = ()
    run: str = ""
    note: str = ""
    imported_from: Imported | None = None
    rebuild: int = 0
    alarm: int = 0
    cause: str = ""
    rung: str = ""
    dataset_sha256: str = ""
    frames: dict[str, int] = {}
    parameters: dict[str, Any] = {}


class Step(msgspec.Struct, frozen=True):
    """One version of a chain; ``told`` is its lineage in words."""

    version: int
    state: str
    source: str
    parent: int
    created_at: float
    aliases: tuple[str, ...]
    lineage: dict[str, Any]
    told: tuple[Line, ...]


def of_push(
    spec: ModelSpec,
    files: Mapping[str, str],
    by: str,
    run: str = "",
    note: str = "",
    imported_from: Imported | None = None,
) -> dict[str, Any]:
    """The record of a push, as a version's row holds it.

    Args:
        spec: of the files' model.toml.
        files: path in the model's folder to SHA-256.
        by: who pushed.
        run: what they call the run or the revision that made it; empty for nothing.
        note: their remark.
        imported_from: see ``Imported``.
    """
    materials = _materials(spec, files)
    record = Lineage(kind="push", by=by, materials=materials, run=run, note=note, imported_from=imported_from)
    return _plain(record)


def of_rebuild(spec: ModelSpec, files: Mapping[str, str], rebuild: Rebuild) -> dict[str, Any]:
    """The record of a rebuild whose rung has passed, as its version's row holds it."""
    found, rung = rebuild.gates, rebuild.gates["rungs"][rebuild.rung]
    counted: dict[str, int] = {name: found[name] for name in ("fit", "gate") if name in found}
    counted["left_out"] = sum(found.get("left_out", {}).values())
    parameters = {
        "seed": rebuild.id,
        "since": found.get("since", 0.0),
        "harm_tolerance": spec.drift.harm_tolerance,
        "tried": list(found["rungs"]),
        "judged": rung.get("sentence", ""),
    }
    record = Lineage(
        kind="rebuild",
        materials=_materials(spec, files),
        rebuild=rebuild.id or 0,
        alarm=rebuild.alarm,
        cause=rebuild.cause,
        rung=rebuild.rung,
        dataset_sha256=found.get("dataset", ""),
        frames=counted,
        parameters=parameters,
    )
    return _plain(record)


def chain(session: Session, model: str, version: int) -> tuple[Step, ...]:
    """A version and what it was made from, back to its root: the newest first.

    Raises:
        UnknownModelError: there is no such version.
    """
    names = aliases.names_of(aliases.list_aliases(session, model))
    steps: list[Step] = []
    while version:
        row = registry.find_version(session, model, version)
        step = Step(
            row.version,
            row.state,
            row.source,
            row.parent,
            row.created_at,
            names.get(row.version, ()),
            row.lineage,
            tell(row.lineage),
        )
        steps.append(step)
        # A parent is older than its child; a row that says otherwise must not make this endless.
        version = row.parent if row.parent < version else 0
    return tuple(steps)


def tell(lineage: Mapping[str, Any]) -> tuple[Line, ...]:
    """A record in words; nothing for a version that is older than the records.

    One that a newer controller wrote may not be readable here: that is said, and the rest of a page stands.
    """
    if not lineage:
        return ()
    try:
        record = msgspec.convert(lineage, Lineage)
    except msgspec.ValidationError:
        return (Line("Record", "of a form that this controller does not know"),)
    return (*_who(record), *_learned(record), *_imported(record), *_made_of(record))


def _who(record: Lineage) -> tuple[Line, ...]:
    by_rebuild = f"{record.rebuild}, rung {record.rung}: {record.cause}" if record.rebuild else ""
    pairs = (
        ("Pushed by", record.by),
        ("Run", record.run),
        ("Note", record.note),
        ("Rebuild", by_rebuild),
        ("Alarm", str(record.alarm or "")),
    )
    return tuple(Line(about, said) for about, said in pairs if said)


def _learned(record: Lineage) -> tuple[Line, ...]:
    if not record.dataset_sha256:
        return ()
    counts = ", ".join(f"{count} {USES[name]}" for name, count in record.frames.items())
    judged = record.parameters.get("judged", "")
    told = (
        ("Dataset", f"{counts}, {_short(record.dataset_sha256)}"),
        ("Judged", str(judged)),
        ("Seed", str(record.parameters.get("seed", ""))),
    )
    return tuple(Line(about, said) for about, said in told if said)


def _imported(record: Lineage) -> tuple[Line, ...]:
    found = record.imported_from
    if found is None:
        return ()
    run = f", run {found.run}" if found.run else ""
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in sorted(found.metrics.items()))
    tags = ", ".join(f"{name}={value}" for name, value in sorted(found.tags.items()))
    where = f"{found.model} version {found.version}{run}, from {found.registry} at {found.address}"
    told = (("Imported", where), ("Its metrics", metrics), ("Its tags", tags))
    return tuple(Line(about, said) for about, said in told if said)


def _made_of(record: Lineage) -> tuple[Line, ...]:
    return tuple(Line(item.role.capitalize(), _short(item.sha256)) for item in record.materials)


def _materials(spec: ModelSpec, files: Mapping[str, str]) -> tuple[Material, ...]:
    found = (Material(role_of(path, spec), sha256) for path, sha256 in files.items())
    return tuple(sorted(found, key=lambda item: (item.role, item.sha256)))


def _short(sha256: str) -> str:
    return f"SHA-256 {sha256[:_SHOWN_DIGITS]}"


def _plain(record: Lineage) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(record)
    return plain
