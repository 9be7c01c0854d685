"""docs/reference/compiled-models.md from the rows of ``compile_models_table`` and the figures beside it.

Only what a run gave is written, with the machine and the day of it. A run with ``--write-docs`` makes it
anew, whole.
"""

import datetime
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from edgewright.controller.compiler.ort import VERSION
from tests.zoo.models import ZOO_MODELS

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "reference" / "compiled-models.md"
FIGURES: Final = (
    "compile_pareto_losses",
    "planted_faults_missed",
    "compile_9mb_3_targets_s",
    "compile_unchanged_s",
)

_HEAD: Final = """\
# Compiled models

Real models that nobody here made, as the compiler compiles them. Nothing on this page is typed by hand: the
benchmark of `compile_models_table` and of the figures beside it writes it when run with `--write-docs`.

- The models come out of packages, by hash (`.ci/requirements-zoo.lock`); what they are fed stands in
  `tests/zoo/feeds.py`. A star marks feeds that are drawn where the model's makers would have recorded them.
- *size* is the artifact to the file as it came, *time* the latency to fp32 on the same runtime (CPU time of
  one thread, in turns; a dash where this machine is not of the target's architecture), *agree* the share of
  equal decisions, *error* the largest relative error of an output.
"""
_PEERS: Final = """\
## Beside its peers

x86-64, onnxruntime: the same fixed-shape model and the same calibration calls for all, each peer with the
settings of its documentation; all artifacts of a model race in one process. *Better* is a peer that is
smaller, faster and closer to fp32 at once, by medians alone.
"""

Row = Mapping[str, Any]


def write(rows: Iterable[Row]) -> None:
    """Write the page from a run's rows."""
    PAGE.write_text(page(list(rows)))


def page(rows: Sequence[Row]) -> str:
    """The page's text."""
    models = [row for row in rows if row["name"] == "compile_models_table"]
    figures = [row for row in rows if row["name"] in FIGURES]
    day = datetime.datetime.now(datetime.UTC).date()
    named, load = len({row["model"] for row in models}), os.getloadavg()[1]
    machine = (
        f"Measured on {day}: {platform.machine()}, {os.cpu_count()} cores at a load of {load:.0f}, "
        f"onnxruntime {VERSION}; {named} of the {len(ZOO_MODELS)} models of the zoo.\n"
    )
    parts = [_HEAD, machine, "## Figures\n", _figures(figures), "## Models by target\n", _models(models)]
    parts += ["## Refused on the way\n", _refused(models), _PEERS, _peers(models)]
    return "\n".join(parts)


def _figures(rows: Sequence[Row]) -> str:
    lines = [f"| `{row['name']}` | {row['value']} {row['unit']} | {_detail(row)} |" for row in rows]
    return _table(("figure", "value", "of"), lines)


def _detail(row: Row) -> str:
    if row["name"] == "compile_pareto_losses":
        named = f": {'; '.join(row['models'])}" if row["models"] else ""
        return f"{row['models_compared']} models compared{named}"
    if row["name"] == "planted_faults_missed":
        return f"{len(row['planted'])} planted"
    return f"spread {row['spread'][0]} to {row['spread'][1]}, targets {', '.join(row['targets'])}"


def _models(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        name = f"{row['model']}{'*' if row['drawn'] else ''}"
        if row["value"] is None:
            lines.append(f"| {name} | {row['target']} | | | | | {_short(row['verdict'])} |")
            continue
        cells = [_number(row[key]) for key in ("value", "latency_ratio", "agreement", "relative_error")]
        verdict = f"{row['verdict']}: {row['chosen']}"
        lines.append(f"| {name} | {row['target']} | {' | '.join(cells)} | {verdict} |")
    return _table(("model", "target", "size", "time", "agree", "error", "verdict"), lines)


def _refused(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        for refused in row.get("refused", ()):
            at = f"; {refused['broken_at']}" if refused["broken_at"] else ""
            reason = _short(refused["reason"] + at)
            lines.append(f"| {row['model']} | {row['target']} | {refused['candidate']} | {reason} |")
    return _table(("model", "target", "candidate", "reason"), lines)


def _peers(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        for peer in row.get("peers", ()):
            if "failed" in peer:
                lines.append(f"| {row['model']} | {peer['name']} | | | | | {_short(peer['failed'])} |")
                continue
            keys = ("size_ratio", "latency_ratio", "agreement", "relative_error")
            spread = f"{peer['spread'][0]} to {peer['spread'][1]}"
            cells = " | ".join(_number(peer[key]) for key in keys)
            lines.append(f"| {row['model']} | {peer['name']} | {cells} | {spread} |")
    return _table(("model", "by", "size", "time", "agree", "error", "spread of time"), lines)


def _table(heads: Sequence[str], lines: Sequence[str]) -> str:
    return "\n".join([f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *lines, ""])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _short(text: str) -> str:
    flat = " ".join(text.replace("|", "/").split())
    return flat if len(flat) <= 200 else f"{flat[:197]}..."
