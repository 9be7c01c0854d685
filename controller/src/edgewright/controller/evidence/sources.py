"""Whether a source of labels is to be believed, and what labels of unequal chances say.

The machine tells outcomes on its own: a downstream scanner, the gripper, an operator's override. Such labels
are cheap, late, partial and sometimes wrong; somebody may even poison them. A person's audits of the same
items are the yardstick. Two questions, each a function:

- ``judge_source``: does the source disagree with audits more often than is tolerated? The interval is a
  confidence sequence, so asking after every audit sets an honest source aside with probability ``alpha``
  at most, for ever.
- ``weighted_error_rate``: the error rate of labels that were chosen with unequal chances, with Kish's
  effective number.

>>> judge_source(agree=97, compared=100).trusted
True
>>> judge_source(agree=70, compared=100).sentence
'The source disagrees with audits on 30 of 100 items (30 %, at least 17 %); 5 % are tolerated.'
"""

from math import isfinite
from typing import Final, NamedTuple

from scipy.special import betaincinv

from edgewright.controller.evidence.confidence_sequence import Interval, rate_interval

ALPHA: Final = 0.05

TOLERANCE: Final = 0.05
"""Share of items on which a source may disagree with audits; a person errs on one or two in a hundred."""


class SourceVerdict(NamedTuple):
    """What audits say of a source.

    Attributes:
        trusted: it was not shown to disagree more often than is tolerated; also true before any comparison.
        proven: it was shown to disagree no more often than that.
        disagreement: share of compared items, with its confidence sequence.
        sentence: the numbers, for a person.
    """

    trusted: bool
    proven: bool
    disagreement: Interval
    sentence: str


def judge_source(
    agree: int, compared: int, *, tolerance: float = TOLERANCE, alpha: float = ALPHA
) -> SourceVerdict:
    """Judge a source by the items that were audited as well; may be asked after every audit.

    Raises:
        ValueError: the counts or the tolerance make no sense.
    """
    if not 0 <= agree <= compared:
        raise ValueError("A source agrees on between 0 and all of the compared items.")
    if not 0.0 <= tolerance < 1.0:
        raise ValueError(f"The tolerated share lies in [0, 1), not {tolerance}.")
    interval = rate_interval(compared, compared - agree, alpha)
    trusted, proven = interval.low <= tolerance, interval.high <= tolerance
    return SourceVerdict(trusted, proven, interval, _sentence(agree, compared, tolerance, interval))


def _sentence(agree: int, compared: int, tolerance: float, interval: Interval) -> str:
    if not compared:
        return "No item of the source was audited yet."
    wrong = compared - agree
    bound = (
        f"at least {_percent(interval.low)}"
        if interval.low > tolerance
        else f"at most {_percent(interval.high)}"
    )
    return (
        f"The source disagrees with audits on {wrong} of {compared} items ({_percent(wrong / compared)}, "
        f"{bound}); {_percent(tolerance)} are tolerated."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


class WeightedRate(NamedTuple):
    """An error rate of weighted labels.

    Attributes:
        rate: estimate and interval, for one look.
        effective: how many evenly chosen labels would say as much (Kish 1965).
    """

    rate: Interval
    effective: float


def weighted_error_rate(
    labelled: int,
    wrong: int,
    weight: float = 0.0,
    wrong_weight: float = 0.0,
    weight_squares: float = 0.0,
    *,
    alpha: float = ALPHA,
) -> WeightedRate:
    """Error rate of labels chosen with known, unequal chances, from the sums of ``Outcomes``.

    Hajek's ratio of the Horvitz-Thompson sums, with the exact interval of Clopper and Pearson at Kish's
    effective number. An agent that counts no weights sends zeros; then the labels are taken as evenly chosen.

    Raises:
        ValueError: the sums cannot come from such labels.
    """
    if not 0 <= wrong <= labelled:
        raise ValueError("Between 0 and all of the labelled items are wrong.")
    if weight == 0.0:
        weight, wrong_weight, weight_squares = float(labelled), float(wrong), float(labelled)
    sums = (weight, wrong_weight, weight_squares)
    if not all(isfinite(value) and value >= 0.0 for value in sums) or wrong_weight > weight * (1 + 1e-9):
        raise ValueError("The sums of weights are finite, and those of wrong items at most those of all.")
    if not labelled:
        return WeightedRate(Interval(0.0, 0.5, 1.0), 0.0)
    # Cauchy and Schwarz: no labels of this number have a larger ratio.
    effective = min(weight**2 / weight_squares, float(labelled)) if weight_squares > 0.0 else 0.0
    if not effective > 0.0:
        raise ValueError("Weights without squares.")
    return WeightedRate(_exact(wrong_weight / weight, effective, alpha), effective)


def _exact(rate: float, n: float, alpha: float) -> Interval:
    """Clopper and Pearson 1934, for a number of items that need not be whole."""
    rate = min(max(rate, 0.0), 1.0)
    wrong, right = rate * n, (1.0 - rate) * n
    low = float(betaincinv(wrong, right + 1.0, alpha / 2)) if wrong > 0.0 else 0.0
    high = float(betaincinv(wrong + 1.0, right, 1.0 - alpha / 2)) if right > 0.0 else 1.0
    return Interval(low, rate, high)
