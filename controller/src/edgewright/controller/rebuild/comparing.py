"""Runs side by side: ``compare_runs(runs) -> Comparison``, in the form and by the rules of ``comparison``.

The first run that is named is the base. Parameters that differ are just other; metrics are better or worse
where everybody agrees which way is up.

>>> from edgewright.controller.database.evidencetables import RebuildRun
>>> runs = [RebuildRun(id=i, model="m", rung="head", metrics={"forgotten": i / 100}) for i in (1, 2)]
>>> [(row.what, [cell.text for cell in row.cells]) for row in compare_runs(runs).different]
[('Accuracy lost on old frames', ['1.0 %', '2.0 %'])]
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from edgewright.controller.comparison import COUNT, NOISE, Comparison, Figure, Row, Section
from edgewright.controller.comparison import number_row as number
from edgewright.controller.comparison import word_row as words
from edgewright.controller.database.evidencetables import RebuildRun
from edgewright.controller.errors import InvalidRequestError
from edgewright.controller.web.words import day, duration, percent

_DIGITS: Final = 12
"""Of a digest, for people; JSON has all of it."""

METRICS: Final[dict[str, Figure]] = {
    "fresh_accuracy": Figure("Accuracy on fresh frames", percent, 1),
    "fresh_accuracy_before": Figure("The running version's there", percent),
    "gain_at_least": Figure("Gain of at least", percent, 1),
    "old_accuracy": Figure("Accuracy on old frames", percent, 1),
    "old_accuracy_before": Figure("The running version's there", percent),
    "forgotten": Figure("Accuracy lost on old frames", percent, -1),
    "forgotten_worst_class": Figure("Lost in the worst class", percent, -1),
    "took_s": Figure("Took", duration, -1, NOISE),
}
"""What every run measures, in the order in which it is shown; a recipe's own figures follow by name."""

_COUNTED: Final = ("fit", "gate", "audited")


def compare_runs(runs: Sequence[RebuildRun]) -> Comparison:
    """Two runs or more of one model side by side; the first is the base.

    Raises:
        InvalidRequestError: they are of several models, or there are fewer than two.
    """
    models = sorted({run.model for run in runs})
    if len(models) != 1 or len(runs) < 2:
        raise InvalidRequestError("Name two runs or more, all of one model.")
    sections = (
        Section("Runs", tuple(_about(runs))),
        Section("Parameters", tuple(_parameters(runs))),
        Section("Metrics", tuple(_metrics(runs))),
        Section("Artifacts", tuple(_artifacts(runs))),
    )
    numbers = tuple(run.id or 0 for run in runs)
    return Comparison(models[0], numbers, tuple(section for section in sections if section.rows))


def _about(runs: Sequence[RebuildRun]) -> Iterable[Row]:
    yield words("Rebuild", [str(run.rebuild or "") for run in runs], judged=False)
    yield words("Rung", [run.rung for run in runs])
    yield words("Attempt", [str(run.attempt or "") for run in runs])
    yield words("Begun", [day(run.started_at) if run.started_at else "" for run in runs], judged=False)
    yield words("Outcome", [run.outcome for run in runs])
    yield words("Said", [run.detail for run in runs], judged=False)


def _parameters(runs: Sequence[RebuildRun]) -> Iterable[Row]:
    for name in dict.fromkeys(name for run in runs for name in run.parameters):
        values = [run.parameters.get(name) for run in runs]
        label = name.replace("_", " ").capitalize()
        if name in _COUNTED:
            yield number("", values, Figure(label, COUNT.show))
        else:
            yield words(label, [_told(value) for value in values])


def _metrics(runs: Sequence[RebuildRun]) -> Iterable[Row]:
    names = {name for run in runs for name in run.metrics}
    for name in [*(n for n in METRICS if n in names), *sorted(names - METRICS.keys())]:
        label = name.replace("_", " ").capitalize()
        figure = METRICS.get(name, Figure(label, lambda value: f"{value:.4g}"))
        yield number("", [run.metrics.get(name) for run in runs], figure)


def _artifacts(runs: Sequence[RebuildRun]) -> Iterable[Row]:
    for name in dict.fromkeys(name for run in runs for name in run.artifacts):
        yield words(name.capitalize(), [run.artifacts.get(name, "")[:_DIGITS] for run in runs])


def _told(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    text = f"{value:g}" if isinstance(value, float) else str("" if value is None else value)
    return text[:_DIGITS] if len(text) == 64 else text
