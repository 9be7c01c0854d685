"""May the next wave start? The quality gate of a rollout, a pure function of labelled outcomes.

The devices of the waves so far (canary, the new version) are compared with the devices that still run the old
one (control), over the same time. The verdict may be asked for after every window: both of its answers are
wrong with probability ``alpha`` at most, over all looks together (see ``evidence.two_rates``).

>>> judge(Counts(60, 5), Counts(180, 62), tolerance=0.02, alpha=0.05, minimum=20).verdict
'proceed'
>>> judge(Counts(60, 5), Counts(180, 16), tolerance=0.02, alpha=0.05, minimum=20).verdict
'wait'
"""

from math import exp
from typing import Final, Literal

import msgspec

from edgewright.controller.evidence.two_rates import Counts, log_evidence_not_worse, log_evidence_worse

__all__ = ["Counts", "GateVerdict", "judge"]

_MAX_LOG: Final = 700.0


class GateVerdict(msgspec.Struct, frozen=True):
    """What the gate says, why, and from which numbers.

    Attributes:
        numbers: ``canary_labelled``, ``canary_wrong``, ``control_labelled``, ``control_wrong``; the e-values
            ``evidence_fit`` and ``evidence_harm``; ``needed``, the e-value at which one of them decides.
    """

    verdict: Literal["proceed", "wait", "stop"]
    sentence: str
    numbers: dict[str, float]


def judge(canary: Counts, control: Counts, *, tolerance: float, alpha: float, minimum: int) -> GateVerdict:
    """Compare error rates.

    Args:
        canary: outcomes of the new version on the devices that have it.
        control: outcomes of the old version on the others, over the same time.
        tolerance: how much worse the new version may be, absolute.
        alpha: probability of a wrong verdict of either kind.
        minimum: labelled canary items before the gate may open; harm stops it at any number.
    """
    fit = exp(min(log_evidence_not_worse(canary, control, tolerance), _MAX_LOG))
    harm = exp(min(log_evidence_worse(canary, control, tolerance), _MAX_LOG))
    needed = 1 / alpha
    numbers = {
        "canary_labelled": canary.labelled,
        "canary_wrong": canary.wrong,
        "control_labelled": control.labelled,
        "control_wrong": control.wrong,
        "evidence_fit": fit,
        "evidence_harm": harm,
        "needed": needed,
    }
    rates = f"{_share(canary)} wrong on the first robots, {_share(control)} on the others"
    if harm >= needed:
        return GateVerdict("stop", f"The new version is worse: {rates}.", numbers)
    if canary.labelled < minimum:
        sentence = f"{canary.labelled} of at least {minimum} labelled items so far: {rates}."
        return GateVerdict("wait", sentence, numbers)
    if fit >= needed:
        return GateVerdict("proceed", f"The new version holds: {rates}.", numbers)
    return GateVerdict("wait", f"Not decided yet, {fit:.2g} of {needed:.2g}: {rates}.", numbers)


def _share(counts: Counts) -> str:
    if not counts.labelled:
        return "none labelled"
    return f"{counts.wrong} of {counts.labelled} ({counts.rate:.0%})"
