"""Whether a model makes sense of its data at all, asked before anything is compiled.

Gates hold candidates against fp32, so whatever is wrong with fp32 is wrong with all of them, and they agree.
Labels in another order, colours in another order, a picture lying on its side: each of these leaves a network
that runs and decides at chance. The labelled holdout tells:

- the declared ``[gates] accuracy`` is held;
- no other order of the labels fits clearly better. It is chosen on one half of the calls and judged on the
  other, because the best of many orders fits a little better by chance alone;
- no other reading of the input fits clearly better: sides exchanged, upside down, colours the other way
  round, channels first or last, values 255 times larger or smaller;
- the share of right decisions, averaged over the classes, is above chance. Averaged, because a model that
  calls everything normal is mostly right where most things are normal.

An honest model is worth more than a caught fault, so only overwhelming evidence refuses one. "Clearly" is a
paired 99.9 % confidence bound. At chance is a model whose decisions could as well have been dealt out to the
calls at random, and of which the calls show with 99 % confidence that it is not even a quarter of the way
from chance to perfect: one call of a rare class proves neither. Where the calls are too few for that, a
sentence says so, as it does where there are no truths and nothing is checked.
"""

from collections.abc import Callable, Iterator, Mapping
from math import sqrt
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgewright.controller.compiler.gates import Z_95, PairedClass, loss_bound
from edgewright.controller.compiler.measure import decisions
from edgewright.controller.compiler.subject import Feeds, Outputs, Port, Subject, take_rows
from edgewright.controller.errors import GateFailedError

Z_999: Final = 3.0902
"""One-sided 99.9 % quantile of the normal distribution."""

Z_99: Final = 2.3263
"""One-sided 99 % quantile of the normal distribution."""

LEAST_OF_USE: Final = 0.25
"""Part of the way from chance to perfect below which a model makes no sense of its data."""

FEWEST_CALLS: Final = 30
"""Labelled calls below which only the declared accuracy is checked."""

LEAST_GAIN_OF_ORDER: Final = 0.2
"""Share of the moved labels' calls by which another order has to be better, by its lower bound."""

LEAST_GAIN_OF_READING: Final = 0.02
"""Share of all calls by which another reading of the input has to be better, by its lower bound."""

CALLS_A_READING: Final = 64

LARGEST_UNSEEN: Final = 0.01
"""Share of the holdout's values that may lie outside of what the calibration shows."""

LARGEST_PINNED: Final = 0.5
"""Share of the calibration's values that may be its smallest or its largest."""

Run = Callable[[Feeds], Outputs]


def check_sense(subject: Subject, reference: Outputs, run: Run) -> tuple[str, ...]:
    """Check a model against its labelled holdout; see the module's text.

    Args:
        subject: what will be compiled.
        reference: the source's outputs for the holdout.
        run: runs the source on other feeds.

    Returns:
        Sentences about what could not be checked, and about doubtful calibration data.

    Raises:
        GateFailedError: the model makes no sense of its data; the sentence says what fits better.
    """
    notes = check_calibration(subject)
    if not subject.decision or not subject.labels or not (subject.truths >= 0).any():
        return (*notes, "Accuracy was not checked: no true labels are known.")
    rows = np.flatnonzero(subject.truths >= 0)
    truths, decided = subject.truths[rows], decisions(reference, subject)[rows]
    accuracy = float(np.mean(decided == truths))
    if accuracy < subject.gates.accuracy:
        raise GateFailedError(
            f"fp32 decides {accuracy:.2%} of the holdout rightly; "
            f"[gates] accuracy asks for {subject.gates.accuracy:.2%}."
        )
    if len(rows) < FEWEST_CALLS:
        return (*notes, f"Sense was not checked: only {len(rows)} calls have a true label.")
    better = [*_better_orders(subject, truths, decided), *_better_readings(subject, rows, run)]
    if better:
        raise GateFailedError(max(better)[1])
    if not is_above_chance(truths, decided):
        _refuse_chance(truths, decided)
        return (
            *notes,
            f"{len(rows)} labelled calls do not tell whether the model decides better than chance.",
        )
    return notes


def check_calibration(subject: Subject) -> tuple[str, ...]:
    """Sentences about calibration data that do not show what the holdout has."""
    notes = []
    for port in subject.inputs:
        shown, seen = subject.calibration.get(port.name), subject.holdout.get(port.name)
        if shown is None or seen is None or not np.issubdtype(shown.dtype, np.floating) or not shown.size:
            continue
        low, high = shown.min(), shown.max()
        unseen = float(np.mean((seen < low) | (seen > high)))
        pinned = float(np.mean((shown == low) | (shown == high)))
        if unseen > LARGEST_UNSEEN:
            notes.append(
                f"{unseen:.0%} of the holdout's values of {port.name} lie outside of the calibration's range."
            )
        if pinned > LARGEST_PINNED:
            notes.append(f"{pinned:.0%} of the calibration's values of {port.name} are saturated.")
    return tuple(notes)


def _better_orders(
    subject: Subject, truths: NDArray[np.intp], decided: NDArray[np.intp]
) -> Iterator[tuple[float, str]]:
    """An order of the labels that fits clearly better: the accuracy with it, and a sentence."""
    orders = [best_order(truths[half::2], decided[half::2]) for half in (0, 1)]
    # Each half's decisions are read by the order that the other half chose.
    other = decided.copy()
    for half, order in enumerate(reversed(orders)):
        other[half::2] = [order.get(int(label), int(label)) for label in decided[half::2]]
    moved = np.isin(truths, [label for order in orders for label in order])
    if _least_gain(truths[moved], decided[moved], other[moved]) > LEAST_GAIN_OF_ORDER:
        before, after = (float(np.mean(said == truths)) for said in (decided, other))
        pairs = ", ".join(
            f"{subject.labels[said]!r} for {subject.labels[true]!r}"
            for said, true in best_order(truths, decided).items()
        )
        sentence = (
            f"The labels are in another order than the model's outputs: it says {pairs}. "
            f"With these exchanged it decides {after:.0%} rightly, instead of {before:.0%}."
        )
        yield after, sentence


def best_order(truths: NDArray[np.intp], decided: NDArray[np.intp]) -> dict[int, int]:
    """Which label to read for which, among those that are more often wrong than right; greedy.

    >>> best_order(np.array([0, 0, 1, 1, 2]), np.array([1, 1, 0, 0, 2]))
    {0: 1, 1: 0}
    """
    labels = [int(label) for label in np.unique(truths) if np.mean(decided[truths == label] == label) < 0.5]
    counts = {
        (said, true): int(np.sum((decided == said) & (truths == true))) for said in labels for true in labels
    }
    order: dict[int, int] = {}
    for said, true in sorted(counts, key=lambda pair: (-counts[pair], pair)):
        if said not in order and true not in order.values() and counts[said, true]:
            order[said] = true
    return {said: true for said, true in sorted(order.items()) if said != true}


def _better_readings(subject: Subject, rows: NDArray[np.intp], run: Run) -> Iterator[tuple[float, str]]:
    """Readings of the input that fit clearly better: the accuracy with each, and a sentence."""
    few = rows[np.linspace(0, len(rows) - 1, min(len(rows), CALLS_A_READING)).astype(int)]
    feeds, truths = take_rows(subject.holdout, few.tolist()), subject.truths[few]
    decided = decisions(run(feeds), subject)
    before = float(np.mean(decided == truths))
    if 1 - before <= LEAST_GAIN_OF_READING:
        return
    for port in subject.inputs:
        for words, values in readings(port, feeds[port.name]):
            other = decisions(run({**feeds, port.name: values}), subject)
            after = float(np.mean(other == truths))
            if _least_gain(truths, decided, other) > LEAST_GAIN_OF_READING:
                sentence = (
                    f"The input {port.name} is read wrongly: with {words} the model decides "
                    f"{after:.0%} rightly, instead of {before:.0%}."
                )
                yield after, sentence


def readings(port: Port, values: NDArray[Any]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Other readings of a picture, with words for each; none of an input that is no picture.

    Args:
        port: the input, ``[1, channels, height, width]`` or ``[1, height, width, channels]``.
        values: calls, ``[n, *port.shape]``.
    """
    if len(port.shape) != 4 or not np.issubdtype(values.dtype, np.floating):
        return
    first = port.shape[1] in (1, 3, 4)
    if not first and port.shape[3] not in (1, 3, 4):
        return
    # Axes of ``values``, one more than the port has.
    channels, rows, columns = (2, 3, 4) if first else (4, 2, 3)
    if values.shape[rows] == values.shape[columns]:
        yield "height and width exchanged", np.ascontiguousarray(values.swapaxes(rows, columns))
    yield "the picture upside down", np.ascontiguousarray(np.flip(values, rows))
    if values.shape[channels] == 3:
        yield "the colours in the other order", np.ascontiguousarray(np.flip(values, channels))
    if values.shape[channels] > 1:
        yield "the channels at the other end", _as_other_layout(values, first=first)
    yield "values 255 times larger", values * np.asarray(255, values.dtype)
    yield "values 255 times smaller", values / np.asarray(255, values.dtype)


def _as_other_layout(values: NDArray[Any], *, first: bool) -> NDArray[Any]:
    """The numbers as they lie in memory, taken for the other layout and brought into this one."""
    n, one, a, b, c = values.shape
    if first:
        return np.ascontiguousarray(np.moveaxis(values.reshape(n, one, b, c, a), 4, 2))
    return np.ascontiguousarray(np.moveaxis(values.reshape(n, one, c, a, b), 2, 4))


def is_above_chance(truths: NDArray[np.intp], decided: NDArray[np.intp]) -> bool:
    """Whether more is right than if the same decisions had been dealt out to the calls at random (95 %).

    With truths of one class only, nothing can be told apart, and nothing speaks against the model.
    """
    recalls = _recalls(truths, decided)
    if len(recalls) < 2:
        return True
    mean = sum(recall for recall, _ in recalls.values()) / len(recalls)
    shares = {label: float(np.mean(decided == label)) for label in recalls}
    dealt = sum(shares.values()) / len(recalls)
    variance = sum(shares[label] * (1 - shares[label]) / frames for label, (_, frames) in recalls.items())
    return mean > dealt + Z_95 * sqrt(variance) / len(recalls)


def _refuse_chance(truths: NDArray[np.intp], decided: NDArray[np.intp]) -> None:
    """Refuse a model at chance where the calls are enough to know that it is of no use.

    How much the mean scatters is taken from a model that is just of use, not from the decisions: a class
    without one right decision has no variance of its own, and proves less the fewer its calls are.
    """
    recalls = _recalls(truths, decided)
    chance = 1 / len(recalls)
    mean = sum(recall for recall, _ in recalls.values()) / len(recalls)
    useful = chance + LEAST_OF_USE * (1 - chance)
    scatter = sqrt(useful * (1 - useful) * sum(1 / frames for _, frames in recalls.values())) / len(recalls)
    if mean + Z_99 * scatter < useful:
        raise GateFailedError(
            f"The model decides no better than chance: {mean:.0%} rightly, averaged over "
            f"{len(recalls)} classes, on {len(truths)} labelled calls. "
            f"Its labels, its preprocessing or its data are not the ones that it was trained with."
        )


def _recalls(truths: NDArray[np.intp], decided: NDArray[np.intp]) -> Mapping[int, tuple[float, int]]:
    """Share of right decisions and number of calls, by class."""
    return {
        int(label): (float(np.mean(decided[truths == label] == label)), int(np.sum(truths == label)))
        for label in np.unique(truths)
    }


def _least_gain(truths: NDArray[np.intp], decided: NDArray[np.intp], other: NDArray[np.intp]) -> float:
    """Lower 99.9 % confidence bound of how much more often ``other`` is right."""
    right, other_right = decided == truths, other == truths
    lost, won = int(np.sum(right & ~other_right)), int(np.sum(other_right & ~right))
    return -loss_bound(PairedClass(len(truths), lost, won), Z_999)
