"""The model card of a version: what a person asks before using it, in Markdown.

It is written from the facts of a compile, after "Model Cards for Model Reporting" (Mitchell et al., 2019):
what the model is, what it was judged on, what it does for each target, what was refused and why, and what
nobody has shown. It is a function of these facts, and what a clock or the operating system gave is left out,
so the same build gives the same bytes and the signed provenance can name the card's digest.
``measured_section`` tells the times and the memory; whoever shows a card may put it behind.

A folder's own ``README.md`` is its author's. It is named with its digest, and never changed.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Final

import numpy as np

from edgewright.controller.compiler.facts import (
    USES,
    CompileFacts,
    TargetFacts,
    chosen_verdict,
    known_limits,
)
from edgewright.controller.compiler.gates import Verdict
from edgewright.controller.compiler.measured import is_measured
from edgewright.controller.compiler.proof import how_proven, was_raced
from edgewright.controller.compiler.subject import Port
from edgewright.controller.model_toml import CARD_NAME

_CELL_PX: Final = 22
_LABEL_PX: Final = 110
_LABEL_CHARACTERS: Final = 16
MAX_DRAWN_CLASSES: Final = 24
"""Above this a picture of the confusions is larger than a page, and the table of classes has to do."""

_NUMBERS: Final = {
    "agreement": ("agrees with fp32", "{:.2%}"),
    "logit_error": ("relative error", "{:.4f}"),
    "worst_class_bound": ("loss in the worst class, at most", "{:.2%}"),
    "size_ratio": ("of fp32's size", "{:.2f}"),
    "latency_ratio": ("of fp32's time", "{:.2f}"),
    "latency_us": ("one inference, µs of CPU time", "{:.0f}"),
    "fp32_latency_us": ("fp32 there, µs", "{:.0f}"),
    "memory_mb": ("memory, MiB", "{:.1f}"),
}
"""Numbers of a verdict by name: how a column is headed, and how its value is written."""


def make_card(facts: CompileFacts) -> bytes:
    """The model card, Markdown in UTF-8."""
    sections = (
        _title(facts),
        _what(facts),
        _data(facts),
        _targets(facts),
        _gates(facts),
        _refused(facts),
        _classes(facts),
        _limits(facts),
        _licences(facts),
        _provenance(facts),
    )
    return ("\n\n".join(filter(None, sections)) + "\n").encode()


def measured_section(facts: CompileFacts) -> bytes:
    """What was measured once, on the machine that compiled: times and memory. Empty where nothing was."""
    names = [
        name for name in _NUMBERS if is_measured(name) and any(name in one.numbers for one in facts.targets)
    ]
    if not names:
        return b""
    head = ("target", *(_NUMBERS[name][0] for name in names))
    rows = ((one.target, *(_number(one, name) for name in names)) for one in facts.targets)
    text = "Another run gives other numbers, so these are not part of what is signed."
    return f"\n## Measured once, on the machine that compiled\n\n{_table(head, rows)}\n\n{text}\n".encode()


def _title(facts: CompileFacts) -> str:
    version = f", version {facts.version}" if facts.version else ""
    own = f" Its author's own text is `{CARD_NAME}` beside it." if facts.own_text else ""
    return f"# {_plain(facts.name)}{version}: model card\n\nWritten by the compiler from what it did.{own}"


def _what(facts: CompileFacts) -> str:
    rows = [("model", f"{facts.source_file}, {facts.source_format}, {_size(facts.source_length)}")]
    rows += [("input", _port(port)) for port in facts.inputs]
    rows += [("output", _port(port, facts.decision)) for port in facts.outputs]
    if image := facts.preprocessing:
        mean, std = (", ".join(f"{value:g}" for value in values) for values in (image.mean, image.std))
        shape = f"{image.width} x {image.height} pixels, {image.colour}, {image.layout}"
        rows.append(("camera frame becomes", shape))
        rows.append(("pixel x becomes", f"(x / 255 - mean) / std; mean {mean}; std {std}"))
    if facts.labels:
        rows.append(("labels", ", ".join(facts.labels)))
    if facts.fallback:
        rows.append(("without a decision", facts.fallback))
    if facts.parent:
        rows.append(("made from", f"version {facts.parent}, by a rebuild"))
    notes = "".join(f"\n- {_plain(note)}" for note in facts.notes)
    return f"## What it is\n\n{_table(('', ''), rows)}" + (f"\n\nOn the way here:\n{notes}" if notes else "")


def _data(facts: CompileFacts) -> str:
    if not facts.data:
        return "## Data\n\nNone came with the model."
    rows = [
        (
            one.use,
            "drawn" if one.synthetic else one.file,
            str(one.rows or "not counted"),
            USES[one.use],
            one.sha256 or "-",
        )
        for one in facts.data
    ]
    table = _table(("set", "file", "examples", "what for", "SHA-256"), rows)
    counted = [one for one in facts.data if one.classes]
    if not counted:
        return f"## Data\n\n{table}"
    labels = facts.labels or tuple(sorted({label for one in counted for label in one.classes}))
    classes = ((label, *(str(one.classes.get(label, 0)) for one in counted)) for label in labels)
    return f"## Data\n\n{table}\n\n{_table(('class', *(one.use for one in counted)), classes)}"


def _targets(facts: CompileFacts) -> str:
    names = [name for name in _NUMBERS if not is_measured(name)]
    names = [name for name in names if any(name in one.numbers for one in facts.targets)]
    head = ("target", "artifact", "size", *(_NUMBERS[name][0] for name in names), "passed", "not judged")
    rows = (
        (
            one.target,
            one.candidate,
            _size(one.length),
            *(_number(one, name) for name in names),
            ", ".join(chosen_verdict(one).passed_gates),
            ", ".join(chosen_verdict(one).unjudged_gates) or "-",
        )
        for one in facts.targets
    )
    proven = (
        (
            one.target,
            ", ".join(one.proven_on) or "-",
            how_proven(one.qualification, was_raced(one.numbers)),
            ", ".join(f"{name} {version}" for name, version in sorted(one.tools.items())) or "-",
            ", ".join(one.left_alone) or "-",
        )
        for one in facts.targets
    )
    proof = _table(("target", "proven on", "how", "made with", "left in float"), proven)
    return f"## What ships for each target\n\n{_table(head, rows)}\n\n{proof}"


def _gates(facts: CompileFacts) -> str:
    gates = facts.gates
    rows: tuple[tuple[str, str], ...] = (
        ("same decisions as fp32", f"at least {gates.top1_agreement:.2%}"),
        ("relative error of the outputs", f"at most {gates.logit_error:g}"),
        ("loss of accuracy in any class, upper 95 % bound", f"at most {gates.per_class_loss:.2%}"),
        ("time relative to fp32 on the same runtime", f"at most {gates.latency_ratio:g}"),
        ("size relative to fp32", f"at most {gates.size_ratio:g}"),
        ("precisions that may ship", ", ".join(gates.precisions)),
    )
    if gates.accuracy:
        rows = (*rows, ("right decisions of fp32 itself", f"at least {gates.accuracy:.2%}"))
    return f"## Gates\n\n{_table(('gate', 'limit'), rows)}"


def _refused(facts: CompileFacts) -> str:
    rows = [
        (one.target, verdict.name, "; ".join(_reasons(verdict)))
        for one in facts.targets
        for verdict in one.verdicts
        if not verdict.passed
    ]
    if not rows:
        return "## Refused\n\nNo candidate that was tried failed a gate."
    return f"## Refused\n\n{_table(('target', 'candidate', 'why'), rows)}"


def _reasons(verdict: Verdict) -> Iterator[str]:
    """Why a candidate failed, without a time or a size of memory that another run would not give."""
    for gate, sentence in zip(verdict.failed_gates, verdict.failures, strict=True):
        yield f"{gate}: above the limit when it was measured" if is_measured(gate) else sentence
    if verdict.broken_at:
        yield f"look at: {verdict.broken_at}"


def _classes(facts: CompileFacts) -> str:
    counts = facts.confusion
    if not counts.size:
        return ""
    total, right = counts.sum(axis=1), counts.diagonal()
    rows = []
    for i, label in enumerate(facts.labels):
        others = counts[i].copy()
        others[i] = 0
        most = int(others.argmax())
        taken = f"{facts.labels[most]} ({others[most]})" if others[most] else "-"
        share = f"{right[i] / total[i]:.1%}" if total[i] else "-"
        rows.append((label, str(total[i]), share, taken))
    table = _table(("class", "holdout examples", "right, fp32", "most often taken for"), rows)
    picture = draw_confusion(facts) if len(facts.labels) <= MAX_DRAWN_CLASSES else ""
    return "\n\n".join(filter(None, ("## By class", table, picture)))


def draw_confusion(facts: CompileFacts) -> str:
    """An SVG of the confusions: a row a true class, a column a decision, darker for a larger share."""
    labels, counts = facts.labels, facts.confusion
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = _LABEL_PX + _CELL_PX * len(labels)
    size = f'width="{side}" height="{side}" viewBox="0 0 {side} {side}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size} font-family="sans-serif" font-size="11">',
        "<title>Decisions on the holdout: true class by row, decision by column</title>",
    ]
    for i, label in enumerate(labels):
        middle = _LABEL_PX + _CELL_PX * i + _CELL_PX // 2 + 4
        text = escape(label if len(label) <= _LABEL_CHARACTERS else f"{label[: _LABEL_CHARACTERS - 1]}…")
        parts.append(f'<text x="{_LABEL_PX - 6}" y="{middle}" text-anchor="end">{text}</text>')
        parts.append(f'<text transform="translate({middle},{_LABEL_PX - 6}) rotate(-60)">{text}</text>')
    parts += [
        f'<rect x="{_LABEL_PX + _CELL_PX * column}" y="{_LABEL_PX + _CELL_PX * row}" width="{_CELL_PX - 1}" '
        f'height="{_CELL_PX - 1}" fill="{"#1f6f4a" if row == column else "#b3261e"}" '
        f'fill-opacity="{shares[row, column]:.2f}"/>'
        for row, column in np.ndindex(*counts.shape)
        if counts[row, column]
    ]
    return "\n".join((*parts, "</svg>"))


def _limits(facts: CompileFacts) -> str:
    lines = "".join(f"\n- {limit}" for limit in known_limits(facts))
    return f"## Known limits\n{lines}" if lines else ""


def _licences(facts: CompileFacts) -> str:
    rows = (
        (one.part.rstrip(","), one.expression or f"unknown: {one.text or 'not stated'}")
        for one in facts.licences
    )
    return f"## Licences\n\n{_table(('of', 'SPDX expression'), rows)}"


def _provenance(facts: CompileFacts) -> str:
    rows = [(facts.source_file, facts.source_sha256)]
    for one in facts.targets:
        what = "encrypted artifact" if facts.confidential else "artifact"
        rows.append((f"{what} for {one.target}", one.sha256))
        rows.append((f"golden vectors for {one.target}", one.golden_sha256))
    if facts.own_text:
        rows.append((CARD_NAME, facts.own_text))
    compilers = ", ".join(f"{name} {version}" for name, version in sorted(facts.compilers.items()))
    return f"## Provenance\n\n{_table(('what', 'SHA-256'), rows)}\n\nCompiled with {compilers}."


def _number(one: TargetFacts, name: str) -> str:
    return _NUMBERS[name][1].format(one.numbers[name]) if name in one.numbers else "-"


def _port(port: Port, decision: str = "") -> str:
    shape = ", ".join(map(str, port.shape))
    return f"{port.name}: {port.dtype} [{shape}]" + (", decides" if port.name == decision else "")


def _size(length: int) -> str:
    return f"{length / 1e6:.2f} MB" if length >= 1_000_000 else f"{length / 1e3:.1f} kB"


def _plain(text: str) -> str:
    """Somebody else's text in one line, as it is: no Markdown and no HTML starts in it."""
    plain = escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*|\[\]])", r"\\\1", plain)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_plain, line))} |" for line in lines)
