"""The seven answers as pure functions of facts: what they say, what they refuse to say, what comes next."""

from typing import Any

import msgspec
import pytest

from edgewright.controller.evidence.confidence_sequence import Interval, rate_interval
from edgewright.controller.evidence.verdict import REMEDIES, Cause
from edgewright.controller.health.answer import QUESTIONS, Answer, Health, Key
from edgewright.controller.health.facts import (
    Action,
    Change,
    Facts,
    Fleet,
    LabelFree,
    Labels,
    Promise,
    Robot,
    Signal,
    Told,
)
from edgewright.controller.health.judging import answer
from edgewright.controller.health.steps import STEPS, Situation, situation_of
from edgewright.controller.model_toml import DriftPart
from edgewright.controller.rebuild.states import RebuildState
from edgewright.wire.histograms import Histogram

NOW = 1_700_000_000.0
PROMISE = Promise(0.014, 2000, 0.039, 0.94)


def told(labelled: int, wrong: int) -> Told:
    """Labels since ten minutes ago."""
    return Told(labelled, wrong, rate_interval(labelled, wrong, 0.05), NOW - 600)


def signal(centre: float, name: str = "confidence", **more: Any) -> Signal:
    """A signal that lay between 0.8 and 0.95 in testing, and lies around a centre now."""
    now, then = Histogram("unit"), Histogram("unit")
    for i in range(400):
        now.add(centre + (i % 40 - 20) / 400)
        then.add(0.875 + (i % 40 - 20) / 250)
    return Signal(name, "output", "unit", tuple(now.counts), tuple(then.counts), **more)


def facts(**more: Any) -> Facts:
    """A version that does well on four devices."""
    usual: dict[str, Any] = {
        "labels": told(3000, 40),
        "promise": PROMISE,
        "fleet": Fleet(4, 4, 4),
        "signals": (signal(0.875),),
        "windows": 40,
        "frames": 400,
        "frames_an_hour": 1000.0,
        "robots": tuple(Robot(f"robot-{i}", 100, 0, Labels(750, 10), 0.9) for i in range(1, 5)),
        "span_s": 600.0,
    }
    return Facts(model="m", version=2, state="ready", now=NOW, **(usual | more))


def of(key: Key, **more: Any) -> Answer:
    """One answer."""
    return answer(facts(**more)).answer(key)


def harm(cause: Cause, device: str = "", tag: str = "") -> Change:
    """A harmful finding."""
    said, remedy = "m v2 does harm.", REMEDIES[cause]
    return Change(
        cause=cause, harm=True, sentence=said, remedy=remedy, since=NOW - 300, device=device, tag=tag
    )


def test_all_seven_are_answered_in_order() -> None:
    """Whatever is known, there are seven answers, one a question, in the order of the questions."""
    nothing = Facts(model="m", version=1, state="building", now=NOW)
    for found in (answer(facts()), answer(nothing)):
        assert [a.key for a in found.answers] == list(Key)
        assert [a.question for a in found.answers] == list(QUESTIONS.values())
        assert all(a.sentence for a in found.answers)


def test_what_is_not_known_says_why_and_what_would_help() -> None:
    """Of a version without profile, windows, labels and devices nothing is claimed; each answer says why."""
    found = answer(Facts(model="m", version=1, state="building", now=NOW))
    unknown = [a for a in found.answers if not a.known]
    assert {a.key for a in unknown} == {Key.PERFORMANCE, Key.BOUNDS, Key.CHANGES, Key.DEVICES, Key.COST}
    assert all("Not known, because" in a.sentence and a.tone == "quiet" for a in unknown)
    assert found.status == "unknown"


@pytest.mark.parametrize(
    ("labels", "said", "tone"),
    [
        (told(3000, 40), "Yes.", "good"),
        (told(60, 1), "Nothing speaks against it, but it is not shown yet; about", "quiet"),
        (told(3000, 400), "No, as far as the labels of now show.", "bad"),
    ],
)
def test_performance_says_what_labels_show(labels: Told, said: str, tone: str) -> None:
    """Yes and no need an interval on one side of the rate of harm; between them more labels are asked for."""
    found = of(Key.PERFORMANCE, labels=labels)
    assert found.sentence.startswith(said)
    assert found.tone == tone
    assert found.numbers["labelled"] == labels.labelled


def test_without_labels_confidence_speaks_and_says_what_it_cannot_see() -> None:
    """A label-free answer is a probable one, and names concept drift as its blind spot."""
    free = LabelFree(Interval(0.005, 0.012, 0.03), 4000)
    found = of(Key.PERFORMANCE, labels=None, label_free=free)
    assert found.sentence.startswith("Probably.")
    assert "truth itself has changed" in found.certainty
    stretched = of(
        Key.PERFORMANCE, labels=None, label_free=LabelFree(free.interval, 4000, 0.3, trusted=False)
    )
    assert stretched.sentence.startswith("It cannot be told from confidence alone.")
    assert "30.0 % of them unlike all of testing" in stretched.certainty


def test_audits_speak_where_no_line_labels() -> None:
    """Without labels of the line the answer rests on audits, and says so."""
    found = of(Key.PERFORMANCE, labels=None, audits=msgspec.structs.replace(told(400, 5), source="audit"))
    assert "audits by people" in found.certainty


def test_bounds_name_the_output_that_left_them() -> None:
    """An output with most of its frames beside the range of testing is told with that share."""
    found = of(Key.BOUNDS, signals=(signal(0.875), signal(0.4, "margin")))
    assert found.sentence.startswith("No: 100 % of 400 frames have their margin")
    assert found.tone == "warn"
    assert of(Key.BOUNDS).tone == "good"


def test_bounds_count_what_is_no_number() -> None:
    """A single output that is no number leaves the bounds."""
    found = of(Key.BOUNDS, signals=(signal(0.875, invalid=1),))
    assert "1 decision had an output that is no number." in found.sentence
    assert found.tone == "warn"


def test_a_finding_says_what_where_and_since_when() -> None:
    """The first harmful finding is told with its place and its time; the others follow."""
    benign = msgspec.structs.replace(harm(Cause.BENIGN, tag="SKU 7"), harm=False, sentence="Other light.")
    found = of(Key.CHANGES, changes=(benign, harm(Cause.OPTICS, "robot-3")))
    assert "It is on robot-3 only, since" in found.sentence
    assert "And 1 more finding below." in found.sentence
    assert (found.since, found.tone) == (NOW - 300, "bad")
    assert found.details[0].sentence.startswith("Other light.")


def test_a_device_above_its_siblings_stands_out() -> None:
    """One device with 30 % wrong beside 39 with 1.3 % is named; the same fleet without it has none."""
    fleet = tuple(Robot(f"robot-{i}", 100, 0, Labels(300, 4), 0.9) for i in range(1, 40))
    bad = Robot("robot-40", 100, 0, Labels(300, 90), 0.9)
    found = of(Key.DEVICES, robots=(*fleet, bad), fleet=Fleet(40, 40, 40))
    assert found.sentence.startswith(
        "robot-40 differs: 30.0 % of robot-40's labelled decisions were wrong, 1.3 %"
    )
    alike = of(Key.DEVICES, robots=fleet, fleet=Fleet(39, 39, 39))
    assert alike.sentence.startswith("None of 39 devices stands out")


def test_an_unlucky_device_does_not_stand_out() -> None:
    """With few labels a rate three times the others' names nobody."""
    fleet = tuple(Robot(f"robot-{i}", 100, 0, Labels(300, 4), 0.9) for i in range(1, 40))
    found = of(
        Key.DEVICES, robots=(*fleet, Robot("robot-40", 100, 0, Labels(24, 1), 0.9)), fleet=Fleet(40, 40, 40)
    )
    assert found.tone == "good"


def test_a_lone_device_has_no_siblings() -> None:
    """With one device there is nobody to compare it with, and away devices are counted as such."""
    one = (Robot("robot-1", 100, 0, Labels(300, 4), 0.9),)
    assert "no siblings" in of(Key.DEVICES, robots=one, fleet=Fleet(1, 1, 1)).sentence
    assert "1 device of 4 cannot be asked" in of(Key.DEVICES, fleet=Fleet(4, 3, 4)).sentence


def test_cost_is_excess_times_decisions() -> None:
    """The cost is what is wrong beyond the promise, an hour, and in money only where a price was given."""
    bad = told(1000, 214)
    free = of(Key.COST, labels=bad, changes=(harm(Cause.CONCEPT),))
    assert free.numbers["more_wrong_an_hour"] == pytest.approx(200.0)
    assert "What one costs is not known" in free.sentence
    priced = of(Key.COST, labels=bad, drift=DriftPart(price_per_mistake=0.4, currency="EUR"))
    assert "At 0.4 EUR each that is 80 EUR an hour, 1\u202f920 EUR a day." in priced.sentence
    assert priced.numbers["money_an_hour"] == pytest.approx(80.0)


def test_no_cost_is_claimed_that_is_not_shown() -> None:
    """While the interval reaches down to the promise, only an upper bound is told."""
    assert of(Key.COST).sentence.startswith("Nothing that is shown: at most ")


RUNNING = Action(1, 2, NOW - 300, 0.0, 4, "training", 0, 3, 2, "finished", 4, 4)
CASES: list[tuple[dict[str, Any], Situation]] = [
    ({}, Situation.FINE),
    ({"changes": (msgspec.structs.replace(harm(Cause.BENIGN), harm=False),)}, Situation.BENIGN),
    ({"labels": None}, Situation.NO_LABELS),
    ({"frames_an_hour": None}, Situation.NO_WINDOWS),
    ({"fleet": Fleet(4, 0, 4)}, Situation.AWAY),
    ({"promise": None}, Situation.NO_REFERENCE),
    ({"fleet": Fleet()}, Situation.NOT_RUNNING),
    ({"changes": (harm(Cause.CONCEPT),)}, Situation.HARM_NO_RECIPE),
    ({"changes": (harm(Cause.PRODUCT),), "can_rebuild": True}, Situation.HARM),
    ({"changes": (harm(Cause.ONE_ROBOT, "robot-3"),), "can_rebuild": True}, Situation.ONE_ROBOT),
    ({"changes": (harm(Cause.OPTICS),), "can_rebuild": True}, Situation.OPTICS),
    ({"changes": (harm(Cause.MODEL_FAULT),)}, Situation.MODEL_FAULT_FIRST),
    ({"changes": (harm(Cause.MODEL_FAULT),), "before": 1}, Situation.MODEL_FAULT),
    ({"changes": (harm(Cause.OPTICS),), "action": RUNNING}, Situation.REBUILDING),
    ({"action": msgspec.structs.replace(RUNNING, rollout_state="running")}, Situation.ROLLING_OUT),
    ({"action": msgspec.structs.replace(RUNNING, rollout_state="paused")}, Situation.ROLLOUT_PAUSED),
    (
        {"action": msgspec.structs.replace(RUNNING, rebuild_state=str(RebuildState.WAITING_APPROVAL))},
        Situation.APPROVAL,
    ),
]


@pytest.mark.parametrize(("more", "situation"), CASES, ids=[str(case[1]) for case in CASES])
def test_each_situation_has_its_step(more: dict[str, Any], situation: Situation) -> None:
    """The table gives each situation one step, with all of its names filled in."""
    assert situation_of(facts(**more)) is situation
    found = of(Key.NEXT, **more)
    assert "{" not in found.sentence + found.command + found.href + found.link
    assert found.tone == STEPS[situation].tone


def test_the_cases_are_all_situations() -> None:
    """No situation is without a case above, nor without a step."""
    assert {situation for _, situation in CASES} == set(Situation) == set(STEPS)


def test_healthy_is_what_was_shown() -> None:
    """Only a whole interval below the rate of harm is healthy; few labels, or labels against it, are not."""
    assert answer(facts()).status == "healthy"
    few, against = answer(facts(labels=told(60, 1))), answer(facts(labels=told(3000, 400)))
    assert (few.status, against.status) == ("unknown", "unknown")
    assert few.sentence == "No harm of m v2 is shown; that it does well is not shown either."
    assert against.sentence.startswith("The labels of now speak against m v2")


def test_harm_on_one_robot_is_not_the_versions() -> None:
    """A robot's own harm is harm, said of that robot; the version itself still performs."""
    found: Health = answer(facts(changes=(harm(Cause.ONE_ROBOT, "robot-3"),)))
    assert found.status == "harm"
    assert found.sentence == "m v2 does harm on robot-3, and well elsewhere."
    assert found.answer(Key.PERFORMANCE).sentence.startswith("Yes.")


def test_an_alarm_without_a_finding_is_no_harm_of_now() -> None:
    """Once its findings are closed a version is healthy again, also while an alarm about it is still open."""
    alarm = Action(1, alarm_version=2, raised_at=NOW - 300)
    ended = msgspec.structs.replace(harm(Cause.CONCEPT), closed_at=NOW - 60)
    assert answer(facts(action=alarm, changes=(harm(Cause.CONCEPT),))).status == "harm"
    assert answer(facts(action=alarm, changes=(ended,))).status == "healthy"
    assert situation_of(facts(action=alarm, changes=(ended,))) is Situation.FINE
