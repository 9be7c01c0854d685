"""May a rebuild begin now, and may its version go to the line without a person? Pure decisions over values.

*Begin.* Two rebuilds of a model are a cooldown apart, and only so many begin in a day: a rebuild that leads
nowhere must not be repeated for ever, and data that somebody poisons gets few tries. A person who asks is let
through; a call of the API is not, because programs call it. Harm has a budget of its own, which no clock and
no program can spend (``orders.past_of``).

*Automatic within limits.* A version goes to the line by itself where model.toml says so and nothing about
the change is out of the ordinary: few new classes, and a gain that was shown on frames that a person has
labelled, or, where too few of them judge, a gain that is larger than labels nobody has checked could fake by
a few slips; and the frames come from more than one robot where there are several. Everything else waits for
a person.

>>> rules, past = RebuildPart(cooldown_s=60.0, most_per_day=1), Past(last_end=1000.0, begun=())
>>> hold(Trigger.HARM, rules, past, now=1010.0)
Hold(until=1060.0, sentence='waits for the cooldown of 60 s after the last rebuild.')
>>> hold(Trigger.PERSON, rules, past, now=1010.0)
>>> why_a_person(RebuildPart(), Change(new_labels=0, audited=3, gain_at_least=0.04))
'3 audited frames judged it, not 60, and the gain is at least 4 points, not more than 5.'
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from edgewright.controller.model_toml import RebuildPart
from edgewright.controller.rebuild.trigger import Trigger

DAY_S: Final = 24 * 3600.0


class Past(msgspec.Struct, frozen=True):
    """Rebuilds of the model before this one.

    Attributes:
        last_end: when the last one ended; 0 for never.
        begun: when those of the last day began that count against this one's budget.
    """

    last_end: float
    begun: tuple[float, ...]


class Hold(msgspec.Struct, frozen=True):
    """Until when a rebuild waits for its turn, and why."""

    until: float
    sentence: str


class Change(msgspec.Struct, frozen=True):
    """What would go to the line.

    Attributes:
        new_labels: classes that the running version does not know.
        audited: frames labelled by a person among those that judged.
        gain_at_least: lower bound of the gain in accuracy on the frames that judged.
        one_device: the robot that supplied more than its share; empty for none.
        forgets: it loses more on old frames than a gate lets pass.
    """

    new_labels: int
    audited: int
    gain_at_least: float
    one_device: str = ""
    forgets: bool = False


def hold(trigger: str, rules: RebuildPart, past: Past, now: float) -> Hold | None:
    """Why a rebuild does not begin now; None where it does."""
    if trigger == Trigger.PERSON:
        return None
    if past.last_end and now < past.last_end + rules.cooldown_s:
        sentence = f"waits for the cooldown of {rules.cooldown_s:.0f} s after the last rebuild."
        return Hold(past.last_end + rules.cooldown_s, sentence)
    today = sorted(at for at in past.begun if at > now - DAY_S)
    if len(today) >= rules.most_per_day:
        until = today[-rules.most_per_day] + DAY_S
        return Hold(until, f"waits: {len(today)} rebuilds have begun within 24 hours, as many as may.")
    return None


def why_a_person(rules: RebuildPart, change: Change) -> str:
    """Why a person has to approve a change, in a sentence; empty where it may go by itself."""
    if rules.approval == "person":
        return "model.toml leaves it to a person."
    reasons: Sequence[str] = (
        _too_new(rules, change),
        _too_little_shown(rules, change),
        f"{change.one_device} supplied most of what it learned from." if change.one_device else "",
        "It loses more on old frames than may be: do their labels still hold?" if change.forgets else "",
    )
    return " ".join(reason for reason in reasons if reason)


def lacks_evidence(rules: RebuildPart, change: Change) -> bool:
    """Whether a person would have to approve only because the gain is not shown to be large enough yet.

    More frames may show it, so a rebuild that can still collect does so before it asks for somebody's time.
    """
    if rules.approval == "person" or _too_new(rules, change) or change.one_device:
        return False
    return bool(_too_little_shown(rules, change))


def _too_new(rules: RebuildPart, change: Change) -> str:
    if change.new_labels <= rules.most_new_labels:
        return ""
    return f"It has {change.new_labels} new classes, more than {rules.most_new_labels}."


def _too_little_shown(rules: RebuildPart, change: Change) -> str:
    if change.audited >= rules.minimum_audited or change.gain_at_least > rules.unaudited_margin:
        return ""
    bound, margin = 100 * change.gain_at_least, 100 * rules.unaudited_margin
    return (
        f"{change.audited} audited frames judged it, not {rules.minimum_audited}, and the gain is at least "
        f"{bound:.0f} points, not more than {margin:.0f}."
    )
