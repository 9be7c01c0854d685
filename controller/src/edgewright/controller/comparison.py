"""Versions of a model side by side: ``compare(model, versions) -> Comparison``, a pure function.

The first version that is named is the base; each cell of the others says how it stands to the base's: same,
other, better or worse. A figure is better or worse only where everybody agrees which way is up (``FIGURES``),
and only beyond what measuring it again would change: a latency that differs by less than ``NOISE`` is the
same, and so is a number that reads the same. Everything else that differs is just other. What a version does
not have is a dash, and a dash beside a figure is other.

Numbers that the gates measured are taken by the names that they have; one that is not in ``FIGURES`` is shown
under its own name, without a verdict.

>>> first, second = Facts(version=1, robots=3), Facts(version=2, labels=("red",))
>>> [(row.what, [cell.text for cell in row.cells]) for row in compare("m", [first, second]).different]
[('Classes', ['0', '1']), ('Classes added', ['–', 'red'])]
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec

from edgewright.controller.compiler.proof import how_proven, was_raced
from edgewright.controller.web.words import NONE, day, percent, size

Mark = Literal["", "same", "other", "better", "worse"]
Value = float | str | None

NOISE: Final = 0.05
"""Share by which two measurements of one thing may differ on a machine that does other work too."""

MOST_VERSIONS: Final = 8
"""More columns than this nobody reads."""


class ArtifactFacts(msgspec.Struct, frozen=True):
    """What was compiled for one target; as the registry's ``Artifact`` has it, and the robots that run it."""

    target: str
    precision: str = ""
    format: str = ""
    qualification: str = ""
    length: int = 0
    patch_lengths: dict[str, int] = {}
    numbers: dict[str, float] = {}
    proven_on: tuple[str, ...] = ()
    sha256: str = ""
    robots: int = 0


class Facts(msgspec.Struct, frozen=True):
    """What there is to say about one version.

    Attributes:
        version, state, parent, created_at, labels, metrics: as in the registry.
        aliases: names that it has now.
        gates: thresholds that its model.toml declares.
        data: role of a file to its SHA-256.
        artifacts: one a target.
        robots: how many run it, whatever their target.
    """

    version: int
    state: str = ""
    parent: int = 0
    created_at: float = 0.0
    labels: tuple[str, ...] = ()
    metrics: dict[str, float] = {}
    aliases: tuple[str, ...] = ()
    gates: dict[str, Any] = {}
    data: dict[str, str] = {}
    artifacts: tuple[ArtifactFacts, ...] = ()
    robots: int = 0


class Cell(msgspec.Struct, frozen=True):
    """One version's value: as it is, in words, and how it stands to the base's.

    ``by`` says how much better or worse, in words.
    """

    value: Value
    text: str
    mark: Mark = ""
    by: str = ""


class Row(msgspec.Struct, frozen=True):
    """One thing, in the order of the versions."""

    what: str
    cells: tuple[Cell, ...]

    @property
    def differs(self) -> bool:
        """Whether any version stands otherwise than the base."""
        return any(cell.mark not in ("", "same") for cell in self.cells)


class Section(msgspec.Struct, frozen=True):
    """Rows about one subject: the versions themselves, their data, or one target."""

    title: str
    rows: tuple[Row, ...]


class Comparison(msgspec.Struct, frozen=True):
    """All of it."""

    model: str
    versions: tuple[int, ...]
    sections: tuple[Section, ...]

    @property
    def different(self) -> tuple[Row, ...]:
        """Rows in which the versions differ."""
        return tuple(row for section in self.sections for row in section.rows if row.differs)


class Figure(NamedTuple):
    """How a number is shown and judged: ``up`` is 1 where more is better, -1 where less is, 0 for neither."""

    label: str
    show: Callable[[float], str]
    up: int = 0
    noise: float = 0.0


def _plain(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"


def _us(value: float) -> str:
    return f"{value / 1000:.2f} ms" if value >= 1000 else f"{value:.0f} us"


def _mb(value: float) -> str:
    return f"{value:.1f} MB"


def _ratio(value: float) -> str:
    return f"{value:.2f}"


SIZE: Final = Figure("Artifact", size, -1)
COUNT: Final = Figure("", lambda value: f"{value:.0f}")

FIGURES: Final[dict[str, Figure]] = {
    "agreement": Figure("Agreement with fp32", percent, 1),
    "top1_agreement": Figure("Agreement with fp32", percent, 1),
    "logit_error": Figure("Relative error", _plain, -1),
    "worst_class_bound": Figure("Worst class, loss at most", percent, -1),
    "latency_us": Figure("Latency", _us, -1, NOISE),
    "fp32_latency_us": Figure("Latency of fp32 there", _us),
    "latency_ratio": Figure("Latency, as a share of fp32's", _ratio, -1, NOISE),
    "latency_spread": Figure("Spread of the latency", _plain),
    "device_latency_us": Figure("Latency on the slowest device", _us, -1, NOISE),
    "device_memory_mb": Figure("Memory on a device", _mb, -1, NOISE),
    "memory_mb": Figure("Memory", _mb, -1, NOISE),
    "size_ratio": Figure("Size, as a share of fp32's", _ratio, -1),
    "holdout_accuracy": Figure("Accuracy on held-out data", percent, 1),
    "accuracy": Figure("Accuracy", percent, 1),
    "fp32_error_rate": Figure("Error rate of fp32 on held-out data", percent, -1),
    "holdout_rows": Figure("Held-out calls", COUNT.show),
}
"""Numbers of artifacts and metrics of versions, in the order in which they are shown."""


def compare(model: str, versions: Sequence[Facts]) -> Comparison:
    """Two versions or more side by side; the first is the base."""
    targets = dict.fromkeys(a.target for facts in versions for a in facts.artifacts)
    sections = [
        Section("Versions", tuple(_about(versions))),
        Section("Metrics", tuple(_numbers([facts.metrics for facts in versions]))),
        Section("Gates", tuple(_gates([facts.gates for facts in versions]))),
        Section("Data", tuple(_data([facts.data for facts in versions]))),
        *(Section(target, tuple(_of_target(target, versions))) for target in targets),
    ]
    numbers = tuple(facts.version for facts in versions)
    return Comparison(model, numbers, tuple(section for section in sections if section.rows))


def _about(versions: Sequence[Facts]) -> Iterable[Row]:
    yield word_row("Names", [", ".join(facts.aliases) for facts in versions], judged=False)
    yield word_row("State", [facts.state for facts in versions])
    yield word_row(
        "Made from", [f"v{facts.parent}" if facts.parent else "" for facts in versions], judged=False
    )
    yield word_row("Made", [day(f.created_at) if f.created_at else "" for f in versions], judged=False)
    yield number_row("Classes", [float(len(facts.labels)) for facts in versions], COUNT)
    yield word_row("Robots", [str(facts.robots) for facts in versions], judged=False)
    base = versions[0].labels
    added = [", ".join(label for label in facts.labels if label not in base) for facts in versions]
    removed = [", ".join(label for label in base if label not in facts.labels) for facts in versions]
    for what, told in (("Classes added", added), ("Classes removed", removed)):
        if any(told):
            yield word_row(what, told)


def _numbers(found: Sequence[Mapping[str, float]]) -> Iterable[Row]:
    names = {name for numbers in found for name in numbers}
    known = [name for name in FIGURES if name in names]
    for name in [*known, *sorted(names - set(known))]:
        label = name.replace("_", " ").capitalize()
        yield number_row(
            "", [numbers.get(name) for numbers in found], FIGURES.get(name, Figure(label, _plain))
        )


def _gates(found: Sequence[Mapping[str, Any]]) -> Iterable[Row]:
    for name in dict.fromkeys(name for gates in found for name in gates):
        told = [_threshold(gates.get(name)) for gates in found]
        yield word_row(name.replace("_", " ").capitalize(), told)


def _threshold(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, (int, float)) else str(value or "")


def _data(found: Sequence[Mapping[str, str]]) -> Iterable[Row]:
    for role in dict.fromkeys(role for data in found for role in data):
        digests = [data.get(role, "") for data in found]
        row = word_row(role.capitalize(), digests)
        cells = (msgspec.structs.replace(c, text=c.text[:12]) for c in row.cells)
        yield Row(row.what, tuple(cells))


def _of_target(target: str, versions: Sequence[Facts]) -> Iterable[Row]:
    none = ArtifactFacts(target)
    found = [next((a for a in facts.artifacts if a.target == target), none) for facts in versions]
    yield word_row("Precision", [a.precision for a in found])
    yield word_row("Format", [a.format for a in found])
    yield number_row("", [a.length or None for a in found], SIZE)
    bases = sorted({int(base) for a in found for base in a.patch_lengths})
    for base in bases:
        lengths = [a.patch_lengths.get(str(base)) for a in found]
        yield number_row("", lengths, Figure(f"Patch from v{base}", size))
    measured = [{k: v for k, v in a.numbers.items() if k != "length"} for a in found]
    yield from _numbers(measured)
    yield word_row("Proven on", [", ".join(a.proven_on) for a in found])
    yield word_row("Proven how", [how_proven(a.qualification, was_raced(a.numbers)) for a in found])
    yield word_row("Robots", [str(a.robots) for a in found], judged=False)


def word_row(what: str, told: Sequence[str], *, judged: bool = True) -> Row:
    """A row of texts; ``judged`` is False where it is no news that versions differ in it."""
    cells = []
    for i, text in enumerate(told):
        mark: Mark = ("same" if text == told[0] else "other") if i and judged else ""
        cells.append(Cell(text or None, text or NONE, mark))
    return Row(what, tuple(cells))


def number_row(what: str, values: Sequence[float | None], figure: Figure) -> Row:
    """A row of numbers, judged as its figure says; ``what`` is empty for the figure's own label."""
    base = values[0]
    cells = [Cell(base, _shown(base, figure))]
    cells += [_judged(value, base, figure) for value in values[1:]]
    return Row(what or figure.label, tuple(cells))


def _shown(value: float | None, figure: Figure) -> str:
    return NONE if value is None else figure.show(value)


def _judged(value: float | None, base: float | None, figure: Figure) -> Cell:
    text = _shown(value, figure)
    if value is None or base is None:
        return Cell(value, text, "same" if value is base else "other")
    change = value - base
    if text == _shown(base, figure) or abs(change) <= figure.noise * abs(base):
        return Cell(value, text, "same")
    if not figure.up:
        return Cell(value, text, "other")
    return Cell(value, text, "better" if change * figure.up > 0 else "worse", _by(change, base, figure))


def _by(change: float, base: float, figure: Figure) -> str:
    """How much: of a share in points, else of the base in percent; empty where that says nothing."""
    if figure.show is percent:
        return f"{abs(change) * 100:.1f} points"
    return f"{abs(change) / abs(base) * 100:.0f} %" if base and abs(change) >= 0.005 * abs(base) else ""
