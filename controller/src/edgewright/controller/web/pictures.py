"""Pictures of the seven answers as coordinates: histograms beside testing, intervals on one scale, devices.

Everything is drawn on the server as SVG, so the page needs no script to show it; each picture has a sentence
that says the same to whoever cannot see it. Coordinates are in hundredths of a picture's width and height.
"""

from collections.abc import Sequence
from math import isfinite
from typing import Final

import msgspec

from edgewright.controller.health.answer import Dot, Health
from edgewright.controller.health.facts import ClassShare, Signal
from edgewright.controller.health.performance import OUTPUTS, amount, is_beyond
from edgewright.controller.web.words import Tone, percent, plural
from edgewright.wire.histograms import SCHEMAS

BARS: Final = 32
"""Bars of a histogram at most: two of the wire's bins each where all are used."""

FAINT: Final = 0.001
"""Bins beyond the first and the last that hold this share are left out."""

ROWS: Final = 12
"""Devices with a row of their own; more are one strip of dots."""

MOST_CLASSES: Final = 8


class Bar(msgspec.Struct, frozen=True):
    """One bar: where it begins, how wide it is, and its heights now and in testing."""

    x: float
    width: float
    now: float
    then: float


class Histogram(msgspec.Struct, frozen=True):
    """A signal's picture; ``low`` and ``high`` are what its ends stand for."""

    name: str
    bars: tuple[Bar, ...]
    low: str
    high: str
    said: str
    compared: bool
    tone: Tone


class Line(msgspec.Struct, frozen=True):
    """One interval on a scale: its ends and its estimate."""

    name: str
    low: float
    middle: float
    high: float
    said: str
    tone: Tone = "quiet"
    href: str = ""


class Tick(msgspec.Struct, frozen=True):
    """A mark on a scale."""

    at: float
    name: str
    kind: str


class Scale(msgspec.Struct, frozen=True):
    """Intervals of rates, one under the other, from zero to ``end``."""

    lines: tuple[Line, ...]
    ticks: tuple[Tick, ...]
    end: str


class Share(msgspec.Struct, frozen=True):
    """A class's part of the decisions; ``then`` is None where testing has none."""

    label: str
    now: float
    then: float | None
    said: str


class Pictures(msgspec.Struct, frozen=True):
    """All of a page's pictures."""

    outputs: tuple[Histogram, ...]
    inputs: tuple[Histogram, ...]
    rates: Scale
    devices: Scale
    strip: tuple[Line, ...]
    strip_said: str
    classes: tuple[Share, ...]


def pictures(health: Health) -> Pictures:
    """The pictures of a model's answers."""
    shown = [dot for dot in health.dots if dot.rate is not None]
    scale = _scale(shown, health)
    large = len(shown) > ROWS
    rows = [line for line in scale.lines if line.tone != "quiet" or not large][:ROWS]
    rates = [dot.rate or 0.0 for dot in shown]
    return Pictures(
        outputs=tuple(histogram(s) for s in health.signals if s.side == "output" and s.frames),
        inputs=tuple(histogram(s) for s in health.signals if s.side == "input" and s.frames),
        rates=_rates(health),
        devices=Scale(tuple(rows), scale.ticks, scale.end),
        strip=scale.lines if large else (),
        strip_said=f"Error rates of {plural(len(shown), 'device')}, from {percent(min(rates))} to "
        f"{percent(max(rates))}"
        if rates
        else "",
        classes=tuple(_share(share) for share in health.classes[:MOST_CLASSES]),
    )


def histogram(signal: Signal) -> Histogram:
    """A signal now, beside testing where that is known."""
    now, then = _shares(signal.now), _shares(signal.then) if signal.then else [0.0] * len(signal.now)
    first, last = _used(now, then)
    step = -(-(last - first + 1) // BARS)
    groups = [range(i, min(i + step, last + 1)) for i in range(first, last + 1, step)]
    heights = [(sum(now[i] for i in group), sum(then[i] for i in group)) for group in groups]
    top = max((max(pair) for pair in heights), default=0.0) or 1.0
    width = 100.0 / len(groups)
    bars = tuple(
        Bar(round(i * width, 2), round(width, 2), round(100 * a / top, 1), round(100 * b / top, 1))
        for i, (a, b) in enumerate(heights)
    )
    low, high = _ends(signal, first, last)
    return Histogram(
        name=signal.name.removesuffix("_us"),
        bars=bars,
        low=amount(signal, low),
        high=amount(signal, high),
        said=_in_words(signal),
        compared=bool(signal.then),
        tone="warn" if is_beyond(signal) else "quiet",
    )


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts) or 1
    return [count / total for count in counts]


def _used(now: Sequence[float], then: Sequence[float]) -> tuple[int, int]:
    used = [i for i, pair in enumerate(zip(now, then, strict=True)) if max(pair) >= FAINT]
    return (used[0], used[-1]) if used else (0, len(now) - 1)


def _ends(signal: Signal, first: int, last: int) -> tuple[float, float]:
    schema = SCHEMAS[signal.schema]
    bounds = (schema.low, *schema.edges, schema.high)
    return bounds[first], bounds[last + 1]


def _in_words(signal: Signal) -> str:
    now, then = signal.typical
    said = f"{OUTPUTS.get(signal.name, signal.name).capitalize()} now {amount(signal, now)}"
    return f"{said}, in testing {amount(signal, then)}" if isfinite(then) else said


def _rates(health: Health) -> Scale:
    found = [
        (w.name, w.low, w.estimate, w.high, _above(w.estimate, health.harm_rate), "")
        for w in health.witnesses
    ]
    return _on_scale(found, health)


def _above(rate: float, harm: float | None) -> Tone:
    return "bad" if harm is not None and rate > harm else "good"


def _scale(dots: Sequence[Dot], health: Health) -> Scale:
    return _on_scale(
        [
            (dot.device, dot.low, dot.rate or 0.0, dot.high, _tone(dot), f"/devices/{dot.device}")
            for dot in dots
        ],
        health,
    )


def _tone(dot: Dot) -> Tone:
    return "bad" if dot.differs else "quiet"


def _on_scale(found: Sequence[tuple[str, float, float, float, Tone, str]], health: Health) -> Scale:
    """Rates on a scale that ends above the largest of them."""
    if not found:
        return Scale((), (), "")
    marks = [(health.promised, "testing", "promised"), (health.harm_rate, "harm from", "harm")]
    known = [(at, name, kind) for at, name, kind in marks if at is not None]
    end = min(1.0, 1.1 * max(*(high for _, _, _, high, _, _ in found), *(at for at, _, _ in known), 0.01))
    lines = tuple(
        Line(
            name=name,
            low=round(100 * low / end, 2),
            middle=round(100 * middle / end, 2),
            high=round(100 * high / end, 2),
            said=f"{name}: {percent(middle)} wrong, from {percent(low)} to {percent(high)}",
            tone=tone,
            href=href,
        )
        for name, low, middle, high, tone, href in found
    )
    ticks = tuple(Tick(round(100 * at / end, 2), f"{name} {percent(at)}", kind) for at, name, kind in known)
    return Scale(lines, ticks, percent(end))


def _share(share: ClassShare) -> Share:
    then = f", {percent(share.then)} in testing" if share.then is not None else ""
    said = f"{share.label}: {percent(share.now)} of the decisions{then}"
    before = round(100 * share.then, 2) if share.then is not None else None
    return Share(share.label, round(100 * share.now, 2), before, said)
