"""The device targets that this controller compiles for: the table of both sides, and the site's own.

A target is what an artifact is proven against: an inference runtime with a range of versions, an execution
provider or delegate, a processor architecture, and the precisions worth trying, preferred first. int8 weights
are symmetric and per channel everywhere; activations are unsigned on x86, whose dot-product instructions
multiply unsigned by signed (signed ones measured no gain there in depthwise layers), and signed on ARM.

``x86_64-ort-cpu-fp32`` is for processors without an int8 dot product (before AVX-512 VNNI or AVX-VNNI): int8
kernels saturate there and bring no speed.

A described target is one that nobody has qualified yet: it is listed with what is missing, and refused.

The shipped table is ``wire/targets.toml``: a device reads there whether it fits. A data folder may bring a
``targets.toml`` of its own, for the site's boards. What stands in it comes before the shipped rows, and
replaces one of the same name. Code asks ``find_target``, and never minds whose row it is.
"""

import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeVar

import msgspec

from edgewright.controller.compiler.subject import Format
from edgewright.controller.errors import TargetTableError, UnknownTargetError, UnqualifiedTargetError
from edgewright.controller.model_toml import Precision
from edgewright.wire.handshake import CPU_FEATURES
from edgewright.wire.matching import Demands
from edgewright.wire.targets import TABLE, table_text
from edgewright.wire.versions import is_within

Activation = Literal["uint8", "int8"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""A target's name is part of signed paths."""


class Target(Demands, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One row of the table.

    Attributes:
        environment: the toolchain that has this runtime; empty for the controller's own environment.
        format: of its artifacts.
        needs: toolchains that make its candidates.
        precisions: candidates, preferred first; fp32 is the last resort.
        activation: element type of quantised activations.
        latency_us: limit beside the model's own, 0 for none.
    """

    environment: str = ""
    format: Format = "onnx"
    needs: tuple[str, ...] = ()
    precisions: tuple[Precision, ...]
    activation: Activation
    latency_us: float = 0.0


class DescribedTarget(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A target that is not qualified yet.

    Attributes:
        summary: one sentence for lists and the documentation.
        machine: processor architecture, as ``platform.machine()`` spells it.
        missing: what would have to be there, as the end of a sentence.
    """

    name: str = ""
    summary: str
    machine: str
    missing: str


_Row = TypeVar("_Row", Target, DescribedTarget)


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All targets, by name; of two that a device fits, the better one stands first."""

    target: dict[str, Target] = {}
    described: dict[str, DescribedTarget] = {}

    def has(self, name: str) -> bool:
        """Whether something stands under this name, be it qualified or not."""
        return name in self.target or name in self.described

    def find(self, name: str) -> Target:
        """A row.

        Raises:
            UnqualifiedTargetError: it is described, and not qualified.
            UnknownTargetError: there is none of this name.
        """
        if name in self.described:
            raise UnqualifiedTargetError(
                f"The target {name} is not qualified yet: {self.described[name].missing}."
            )
        try:
            return self.target[name]
        except KeyError:
            known = ", ".join(self.target)
            raise UnknownTargetError(f"There is no target {name!r}; there are {known}.") from None


def parse_table(text: str, file: str) -> Table:
    """Read a table.

    Raises:
        TargetTableError: it is wrong; the sentence names the entry.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TargetTableError(f"{file} is no TOML: {error}.") from error
    if unknown := sorted(content.keys() - {"target", "described"}):
        raise TargetTableError(f"{file}: it has [target.NAME] and [described.NAME], and no {unknown[0]!r}.")
    table = Table(_rows(content, "target", Target, file), _rows(content, "described", DescribedTarget, file))
    for name, target in table.target.items():
        _verify(f"{file}: [target.{name}]", target)
        if name in table.described:
            raise TargetTableError(f"{file}: {name} stands in it as a target and as one that is described.")
    return table


def _rows(content: dict[str, Any], part: str, kind: type[_Row], file: str) -> dict[str, _Row]:
    rows = content.get(part, {})
    if not isinstance(rows, dict):
        raise TargetTableError(f"{file}: `{part}` is no table of tables.")
    read: dict[str, _Row] = {}
    for name, row in rows.items():
        entry = f"{file}: [{part}.{name[:80]}]"
        if not _NAME.fullmatch(name):
            raise TargetTableError(f"{entry}: a name is of letters, digits, `_`, `.` and `-`, at most 64.")
        if isinstance(row, dict) and "name" in row:
            raise TargetTableError(f"{entry}: its name stands in the brackets.")
        try:
            read[name] = msgspec.structs.replace(msgspec.convert(row, kind), name=name)
        except msgspec.ValidationError as error:
            raise TargetTableError(f"{entry}: {error}.") from error
    return read


def site_table(data: Path) -> Table:
    """The shipped table with what the data folder's own has.

    Raises:
        TargetTableError: the file is wrong; the sentence names the entry.
    """
    table = read_site(data / TABLE)
    _LAST_GOOD[data] = table
    return table


class Standing(NamedTuple):
    """The table to look at devices by, and what is wrong with the file, empty for nothing."""

    table: Table
    complaint: str


def standing_table(data: Path) -> Standing:
    """The site's table as it was when it was last right, else the shipped one; never an error.

    Lists, pages and rollouts go by it: a slip in the file takes no look at the fleet away, and holds no
    rollout up. What is compiled goes by ``site_table``, which refuses.
    """
    try:
        return Standing(site_table(data), "")
    except TargetTableError as error:
        return Standing(_LAST_GOOD.get(data, SHIPPED), f"{error.sentence} What counted before counts on.")


def read_site(path: Path) -> Table:
    """The shipped table with what a file of the site has, or the shipped one where there is no such file.

    ``targets.toml`` in the controller's data folder has rows of the shipped table's form. They stand before
    the shipped ones and replace those of the same name; a described target becomes one that is compiled for
    by a row of its name. The file is read whenever it is needed. One that is wrong is E050, by the name
    of its entry, at the start and for whatever is compiled; lists and rollouts go by what counted before, and
    the pages of targets and devices say what is wrong. For example::

        [target.press]
        summary = "The press's computer."
        machine = "x86_64"
        cpu = ["avx2"]
        runtime = { name = "onnxruntime", minimum = "1.24", below = "2.0", provider = "CPUExecutionProvider" }
        precisions = ["fp32"]
        activation = "uint8"

    Raises:
        TargetTableError: the file is wrong; the sentence names the entry.
    """
    try:
        own = parse_table(path.read_text(encoding="utf-8-sig"), str(path))
    except FileNotFoundError:
        return SHIPPED
    except (OSError, UnicodeDecodeError) as error:
        raise TargetTableError(f"{path} cannot be read: {error}.") from error
    # Its own come first, and a name stands once: what the site says of it.
    target = own.target | {n: row for n, row in SHIPPED.target.items() if not own.has(n)}
    return Table(target, own.described | {n: row for n, row in SHIPPED.described.items() if not own.has(n)})


def _verify(entry: str, target: Target) -> None:
    """Refuse what has the right types and cannot be right."""
    runtime = target.runtime
    if unknown := [feature for feature in target.cpu if feature not in CPU_FEATURES]:
        raise TargetTableError(f"{entry} cpu: {unknown[0]!r} is none of {', '.join(CPU_FEATURES)}.")
    if not is_within(runtime.minimum, runtime.minimum, runtime.below):
        raise TargetTableError(
            f"{entry} runtime: {runtime.minimum!r} to below {runtime.below!r} is no range of versions."
        )
    if not target.precisions or len(set(target.precisions)) != len(target.precisions):
        raise TargetTableError(f"{entry} precisions: at least one, and each once.")
    if target.memory_mb < 0 or target.latency_us < 0:
        raise TargetTableError(f"{entry}: a limit is not below 0.")


SHIPPED: Final = parse_table(table_text(), TABLE)
TARGETS: Final = SHIPPED.target
DESCRIBED: Final = SHIPPED.described

_LAST_GOOD: Final[dict[Path, Table]] = {}
"""The table of each data folder that this process has read, as it was when it was right."""

_IN_FORCE: Final = ContextVar("targets", default=SHIPPED)
"""Which table counts for what is being built: a build is for one site."""


@contextmanager
def in_force(table: Table) -> Iterator[None]:
    """Let ``find_target`` ask this table, in this thread, to the end of the block."""
    before = _IN_FORCE.set(table)
    try:
        yield
    finally:
        _IN_FORCE.reset(before)


def find_target(name: str) -> Target:
    """The row of the table that is in force, the shipped one where nobody said otherwise.

    Raises:
        UnqualifiedTargetError: it is described, and not qualified.
        UnknownTargetError: there is none of this name.
    """
    return _IN_FORCE.get().find(name)
