"""Questions 1, 2 and 6: how right it is, whether its output is what testing showed, what mistakes cost.

Three witnesses speak of the error rate, and a sentence names which one it rests on: labels that a source told
(many, and as good as their source), audits by people (few, and true), and the version's own confidence (no
label at all, and blind where the truth itself changed). They are never mixed without saying so, nor are the
labels of two sources.
"""

from math import ceil
from typing import Final

from edgewright.controller.evidence.confidence_sequence import Interval
from edgewright.controller.health.answer import QUESTIONS, Answer, Detail, Key, Witness
from edgewright.controller.health.facts import Facts, LabelFree, Promise, Signal, Told
from edgewright.controller.labels import AUDIT
from edgewright.controller.web.words import Tone, clock, count, percent, plural

SURE: Final = "95 % certain at every look where mistakes do not come in runs"

FEW_FRAMES: Final = 100
"""Below so many frames the share that lies outside of a range says little."""

MUCH_OUTSIDE: Final = 0.05
"""Share of frames outside the central 99 % of testing that colours the answer. It only colours: alarms come
from the monitor's evidence."""

OUTPUTS: Final = {
    "confidence": "confidence",
    "margin": "margin between the two best classes",
    "entropy": "entropy",
    "latency_us": "latency",
}
"""Signals of the output, and what a sentence calls them."""


def performance(facts: Facts) -> Answer:
    """Question 1."""
    promise, labels = facts.promise, facts.labels
    if promise is None:
        return _unknown(
            Key.PERFORMANCE,
            f"Not known, because v{facts.version} has no reference profile from its tests; a new build of it "
            "makes one.",
        )
    if facts.audits and (labels is None or not labels.labelled) and facts.audits.labelled:
        labels = facts.audits
    if labels is None or not labels.labelled:
        return _without_labels(facts, promise)
    tone, verdict = _verdict(facts, promise, labels)
    return Answer(
        key=Key.PERFORMANCE,
        question=QUESTIONS[Key.PERFORMANCE],
        sentence=f"{verdict} {_told(labels)} Testing showed {percent(promise.error_rate)} on "
        f"{plural(promise.tested, 'frame')}, and harm begins at {percent(promise.harm_rate)}.",
        tone=tone,
        certainty=_certainty(facts, labels),
        numbers=_rates(labels.interval, promise) | {"labelled": labels.labelled, "wrong": labels.wrong},
        since=_onset(facts) if tone == "bad" else labels.since,
        details=_witnesses(facts),
    )


def witnesses(facts: Facts) -> tuple[Witness, ...]:
    """All estimates of the error rate that there are, for their picture."""
    found = [
        ("by labels", facts.labels.interval if facts.labels else None),
        ("by audits", facts.audits.interval if facts.audits else None),
        ("with confidence", facts.powered.interval if facts.powered else None),
        ("by confidence", facts.label_free.interval if facts.label_free else None),
    ]
    return tuple(Witness(name, *interval) for name, interval in found if interval is not None)


def _verdict(facts: Facts, promise: Promise, labels: Told) -> tuple[Tone, str]:
    if facts.is_at_fault:
        return "bad", "No."
    if labels.interval.low > promise.harm_rate:
        return "bad", "No, as far as the labels of now show."
    if labels.interval.high <= promise.harm_rate:
        return "good", "Yes."
    return "quiet", f"Nothing speaks against it, but it is not shown yet{_how_many(promise, labels)}."


def _how_many(promise: Promise, labels: Told) -> str:
    """How many more labels the interval would take to lie below the rate of harm, if the rate stays."""
    gap = promise.harm_rate - labels.interval.estimate
    if gap <= 0 or labels.interval.high <= labels.interval.estimate:
        return ""
    needed = labels.labelled * ((labels.interval.high - labels.interval.estimate) / gap) ** 2
    more = ceil(max(needed - labels.labelled, 1))
    return f"; about {plural(_round_up(more), 'more label')} like these would show it"


def _round_up(number: int) -> int:
    """Two digits, so that a live page does not change with every label.

    >>> _round_up(7), _round_up(341), _round_up(1_234)
    (10, 350, 1300)
    """
    step = 10 ** max(len(str(number)) - 2, 0) if number >= 1000 else 50 if number >= 100 else 10
    return ceil(number / step) * step


def _told(labels: Told) -> str:
    taken = "of frames taken" if labels.source == AUDIT else "told"
    weighted = "; weighted by how they were chosen" if labels.weighted else ""
    return (
        f"Of {plural(labels.labelled, 'labelled decision')}, {taken} since {clock(labels.since)}, "
        f"{count(labels.wrong)} {'was' if labels.wrong == 1 else 'were'} wrong{weighted}: "
        f"{percent(labels.interval.estimate)} ({_between(labels.interval)})."
    )


def _between(interval: Interval) -> str:
    return f"{percent(interval.low)} to {percent(interval.high)}"


def _certainty(facts: Facts, labels: Told) -> str:
    if not labels.from_onset or facts.weighed is None:
        return f"{SURE}, from {_source(labels)}."
    return (
        f"By chance once in {facts.weighed.threshold:,.0f} windows, from labels of trusted sources. They are "
        "counted from where the rise most likely began, so the rate is rather too high than too low."
    )


def _source(labels: Told) -> str:
    if labels.source == AUDIT:
        return "audits by people of frames of the last day, if its rate is the same all day"
    return f"labels that {labels.source or 'the line'} told"


def _without_labels(facts: Facts, promise: Promise) -> Answer:
    free = facts.label_free
    if free is None:
        what = "nobody told whether a decision was right"
        if facts.distrusted:
            what = "audits have set aside who tells whether decisions were right"
        elif not facts.frames:
            what = "it decided nothing lately"
        elif facts.older_audits:
            what = f"{plural(facts.older_audits, 'audit')} of earlier days say nothing of now"
        return _unknown(
            Key.PERFORMANCE,
            f"Not known, because {what}; labels of the line or an audit of a few random frames would show "
            f"it. Testing showed {percent(promise.error_rate)} wrong.",
        )
    harmed = facts.is_at_fault or free.interval.low > promise.harm_rate
    fine = free.interval.high <= promise.harm_rate and free.trusted
    verdict = (
        "Probably not." if harmed else "Probably." if fine else "It cannot be told from confidence alone."
    )
    return Answer(
        key=Key.PERFORMANCE,
        question=QUESTIONS[Key.PERFORMANCE],
        sentence=f"{verdict} By its own calibrated confidence {percent(free.interval.estimate)} of its "
        f"decisions are wrong ({_between(free.interval)}); testing showed {percent(promise.error_rate)}, and "
        f"harm begins at {percent(promise.harm_rate)}.",
        tone="bad" if harmed else "good" if fine else "quiet",
        certainty=f"From the confidence of {plural(free.frames, 'frame')} alone{_stretched(free)}: it does "
        "not see where the truth itself has changed. An audit of a few random frames would.",
        numbers=_rates(free.interval, promise) | {"frames": free.frames},
        details=_witnesses(facts),
    )


def _stretched(free: LabelFree) -> str:
    return "" if free.trusted else f", {percent(free.unseen)} of them unlike all of testing, so it is a guess"


def _witnesses(facts: Facts) -> tuple[Detail, ...]:
    found = [Detail(f"Set aside: {sentence}", "warn") for sentence in facts.distrusted]
    if facts.weighed and facts.weighed.harmed:
        found.append(Detail(facts.weighed.harm_sentence, "bad", _onset(facts)))
    found += [Detail(f"By {told.source or 'the line'} alone. {_told(told)}") for told in facts.others]
    found += _by_audits(facts)
    if facts.label_free:
        free = facts.label_free
        found.append(
            Detail(
                f"Without any label, by its calibrated confidence: {percent(free.interval.estimate)} wrong "
                f"({_between(free.interval)}) of {plural(free.frames, 'frame')}{_stretched(free)}."
            )
        )
    if facts.weighed:
        weighed = facts.weighed
        found.append(
            Detail(
                f"Evidence of harm stands at {weighed.evidence:.3g}; {weighed.threshold:,.0f} raises an "
                f"alarm, which chance alone does once in so many windows."
            )
        )
    return tuple(found)


def _by_audits(facts: Facts) -> list[Detail]:
    found = []
    if facts.audits and facts.audits.labelled:
        audits = facts.audits
        found.append(
            Detail(
                f"Audits: {count(audits.wrong)} of {plural(audits.labelled, 'random frame')} of the last day "
                f"wrong, {percent(audits.interval.estimate)} ({_between(audits.interval)}).",
                at=audits.since,
            )
        )
    if facts.powered:
        powered = facts.powered
        found.append(
            Detail(
                f"{plural(powered.audits, 'audit')} with the confidences of all frames of the day as a help "
                f"(prediction-powered inference): {percent(powered.interval.estimate)} wrong "
                f"({_between(powered.interval)}), 95 % certain at one look."
            )
        )
    if facts.older_audits:
        found.append(Detail(f"{plural(facts.older_audits, 'audit')} of earlier days say nothing of now."))
    return found


def _rates(interval: Interval, promise: Promise) -> dict[str, float]:
    return {
        "error_rate": interval.estimate,
        "error_rate_low": interval.low,
        "error_rate_high": interval.high,
        "promised_error_rate": promise.error_rate,
        "harm_rate": promise.harm_rate,
    }


def _onset(facts: Facts) -> float:
    weighed = facts.weighed
    if weighed is not None and weighed.harmed and weighed.onset_at:
        return weighed.onset_at
    harmful = [change.since for change in facts.open_changes if change.harm]
    return min(harmful, default=facts.action.raised_at)


def bounds(facts: Facts) -> Answer:
    """Question 2."""
    outputs = [signal for signal in facts.signals if signal.side == "output"]
    if not facts.frames:
        return _unknown(
            Key.BOUNDS,
            f"Not known, because no window of v{facts.version} came in the last day; a device that runs it "
            "sends one by itself.",
        )
    judged = [signal for signal in outputs if signal.outside is not None]
    if not judged:
        return _unknown(
            Key.BOUNDS,
            f"Not known, because v{facts.version} has no reference profile to compare with; a new build of "
            "it makes one.",
        )
    beyond = [signal for signal in judged if is_beyond(signal)]
    faults = _faults(facts, outputs)
    fallen = facts.weighed is not None and facts.weighed.changed
    tone: Tone = "warn" if beyond or fallen or faults else "good"
    worst = max(judged, key=lambda signal: signal.outside or 0.0)
    sentence = (
        f"{'No' if tone == 'warn' else 'Yes'}: {percent(worst.outside)} of {plural(worst.frames, 'frame')} "
        f"have their {OUTPUTS[worst.name]} outside the range that held 99 % of the frames in testing"
        f"{', the most of all its outputs' if len(judged) > 1 else ''}."
    )
    numbers = {f"{signal.name}_outside": signal.outside or 0.0 for signal in judged}
    return Answer(
        key=Key.BOUNDS,
        question=QUESTIONS[Key.BOUNDS],
        sentence=" ".join([sentence, *(fault.sentence for fault in faults)]),
        tone=tone,
        certainty=f"Counted in the newest {facts.counted}; 1 % outside is what testing itself had.",
        numbers=numbers | {"fallback": facts.fallback, "frames": facts.frames},
        details=tuple(_said(signal) for signal in judged),
    )


def is_beyond(signal: Signal) -> bool:
    """Whether a signal's share outside of the expected range is worth a colour."""
    return signal.frames >= FEW_FRAMES and (signal.outside or 0.0) > MUCH_OUTSIDE


def _faults(facts: Facts, outputs: list[Signal]) -> list[Detail]:
    found = []
    invalid = max((signal.invalid for signal in outputs), default=0)
    if invalid:
        found.append(Detail(f"{plural(invalid, 'decision')} had an output that is no number.", "bad"))
    slow = next((signal for signal in outputs if signal.name == "latency_us" and signal.frames), None)
    limit = facts.latency_limit_us
    if slow is not None and limit and slow.quantile(0.99) > limit:
        took = f"{slow.quantile(0.99) / 1000:.1f} ms"
        found.append(
            Detail(
                f"One decision in a hundred takes longer than {took}; {limit / 1000:.1f} ms are allowed.",
                "warn",
            )
        )
    if facts.fallback:
        share = facts.fallback / facts.frames
        found.append(
            Detail(f"{percent(share)} of the frames were decided by the fallback, not by the model.", "warn")
        )
    return found


def _said(signal: Signal) -> Detail:
    now, then = signal.typical
    return Detail(
        f"{OUTPUTS.get(signal.name, signal.name).capitalize()}: {amount(signal, now)} now, "
        f"{amount(signal, then)} in testing; {percent(signal.outside)} outside.",
        "warn" if is_beyond(signal) else "quiet",
    )


def amount(signal: Signal, value: float) -> str:
    """A value of a signal in its unit."""
    if signal.name == "latency_us":
        return f"{value / 1000:.1f} ms"
    if signal.schema == "sharpness":
        return count(value) if value >= 100 else f"{value:.3g}"
    return percent(value)


def cost(facts: Facts) -> Answer:
    """Question 6."""
    promise, labels = facts.promise, facts.labels or facts.audits
    if facts.frames_an_hour is None:
        return _unknown(
            Key.COST,
            f"Not known, because v{facts.version} decided nothing in the last hour; it costs nothing while "
            "it does not run.",
        )
    interval = labels.interval if labels and labels.labelled else _free(facts)
    if promise is None or interval is None:
        return _unknown(
            Key.COST,
            "Not known, because its error rate is not known; labels of the line or an audit of a few random "
            "frames would show it.",
        )
    least, likely, most = (
        max(rate - promise.error_rate, 0.0) * facts.frames_an_hour
        for rate in (interval.low, interval.estimate, interval.high)
    )
    numbers = {
        "frames_an_hour": facts.frames_an_hour,
        "more_wrong_an_hour": likely,
        "more_wrong_an_hour_low": least,
        "more_wrong_an_hour_high": most,
    }
    money, priced = _money(facts, likely, least, most)
    return Answer(
        key=Key.COST,
        question=QUESTIONS[Key.COST],
        sentence=_loss(facts, least, likely, most) + money,
        tone="bad" if facts.harmed and likely else "quiet",
        certainty=f"From the error rate of the first answer, as certain as that, and "
        f"{count(facts.frames_an_hour)} decisions an hour in the last hour.",
        numbers=numbers | priced,
    )


def _free(facts: Facts) -> Interval | None:
    return facts.label_free.interval if facts.label_free else None


def _loss(facts: Facts, least: float, likely: float, most: float) -> str:
    if least > 0:
        return (
            f"About {plural(round(likely), 'more wrong decision')} an hour than testing promised "
            f"(from {count(least)} to {count(most)})."
        )
    if facts.harmed:
        return f"Up to {plural(round(most), 'more wrong decision')} an hour than testing promised."
    return (
        f"Nothing that is shown: at most {plural(round(most), 'wrong decision')} an hour beyond the promise."
    )


def _money(facts: Facts, likely: float, least: float, most: float) -> tuple[str, dict[str, float]]:
    price, unit = facts.drift.price_per_mistake, facts.drift.currency
    if not price:
        return " What one costs is not known: `[drift] price_per_mistake` in model.toml says it.", {}
    shown = likely if least > 0 else most
    word = "" if least > 0 else "at most "
    said = f" At {price:g} {unit} each that is {word}{count(shown * price)} {unit} an hour, "
    said += f"{count(shown * price * 24)} {unit} a day."
    return said.replace("  ", " "), {
        "money_an_hour": likely * price,
        "money_an_hour_low": least * price,
        "money_an_hour_high": most * price,
    }


def _unknown(key: Key, sentence: str) -> Answer:
    return Answer(key=key, question=QUESTIONS[key], sentence=sentence, known=False)
