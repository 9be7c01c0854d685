"""What the pages say, shaped from values without a database."""

from typing import Any

import pytest

from edgewright.controller.database.evidencetables import Alarm, Rebuild
from edgewright.controller.database.tables import Device, Rollout, RolloutDevice
from edgewright.controller.web.activity import BUCKET_S, CELLS, Activity, recent, strip
from edgewright.controller.web.charts import BUCKETS_S, Moment, Reference, Sums, bucket_for, shape_charts
from edgewright.controller.web.fleet import FleetCounts
from edgewright.controller.web.overview import device_word, harm_tone, rollout_card
from edgewright.controller.web.story import headline, is_current, steps_of
from edgewright.controller.web.words import DEPLOYMENTS
from edgewright.wire.deployment import State

NOW = 1_000_000.0
QUIET = recent([], NOW)


def _device(name: str, version: int = 1, *, connected: bool = True, state: str = "committed") -> Device:
    return Device(
        id=name,
        target="t",
        connected=connected,
        last_seen=NOW,
        active_model="m" if version else "",
        active_version=version,
        state=state,
    )


def _alarm(closed_at: float = 0.0) -> Alarm:
    return Alarm(
        id=1,
        model="m",
        version=1,
        raised_at=100.0,
        closed_at=closed_at,
        signal="error-rate",
        sentence="Numbers.",
    )


def _rebuild(**changes: Any) -> Rebuild:
    values: dict[str, Any] = {"queued_at": 100.5, "started_at": 102.0, "alarm": 1, "rung": "head", **changes}
    return Rebuild(id=1, model="m", from_version=1, cause="harm", state="training", **values)


def _rollout(state: str, wave: int = 0, version: int = 2) -> Rollout:
    waves = [{"name": "first", "gate": "quality"}, {"name": "rest", "gate": "install"}]
    return Rollout(
        id=3,
        model="m",
        version=version,
        state=state,
        waves=waves,
        wave=wave,
        created_at=120.0,
        gate={"sentence": "Wait."},
    )


def _say(
    devices: list[Device], model: str = "m", alarm: Alarm | None = None, rollout: Rollout | None = None
) -> str:
    return headline(_counted(devices), model, alarm, rollout, (0, 2), QUIET, None).sentence


def _counted(devices: list[Device]) -> FleetCounts:
    running = [d.active_version for d in devices if d.active_version]
    away = tuple(d.id for d in devices if not d.connected)
    versions = {version: running.count(version) for version in running}
    return FleetCounts(
        len(devices), len(devices) - len(away), versions, away, devices[0].id if devices else ""
    )


def test_the_headline_says_what_matters_most() -> None:
    """Empty, waiting, calm, split, away, alarmed, being fixed: each has its own sentence."""
    both = [_device("a"), _device("b")]
    assert _say([]) == "No robot is enrolled yet."
    assert _say(both, model="") == "2 robots wait for a first model."
    assert _say(both) == "All 2 robots run m v1."
    assert _say([_device("a"), _device("b", 2)]) == "The robots run m v1, v2."
    assert _say([_device("a"), _device("b", connected=False)]) == "1 of 2 robots are connected."
    assert _say(both, alarm=_alarm()) == "m v1 packs more items wrong than it promised."
    assert _say(both, alarm=_alarm(), rollout=_rollout("running")).startswith("Rolling out the fix, m v2")
    assert _say(both, rollout=_rollout("paused")).startswith("Paused: rolling out m v2")
    assert _say(both, alarm=_alarm(closed_at=5.0)) == "All 2 robots run m v1."


def test_an_alarms_numbers_stand_below_the_headline() -> None:
    """While an alarm is open, the sentence with its evidence is on the page, whatever the headline says."""
    for rollout in (None, _rollout("running")):
        said = headline(_counted([_device("a")]), "m", _alarm(), rollout, (0, 1), QUIET, None)
        assert said.evidence == "Numbers."


def _states(*arguments: Alarm | Rebuild | Rollout | None) -> list[str]:
    return [step.state for step in steps_of(*arguments)]  # type: ignore[arg-type]  # any may be None


def test_the_steps_follow_the_story() -> None:
    """Each row that appears moves the story on by one step; a failure is shown where it happened."""
    assert _states(None, None, None) == []
    assert _states(_alarm(), None, None) == ["now", "todo", "todo", "todo", "todo"]
    queued = _rebuild(started_at=0.0)
    assert _states(_alarm(), queued, None) == ["done", "now", "todo", "todo", "todo"]
    assert _states(_alarm(), _rebuild(), None) == ["done", "done", "now", "todo", "todo"]
    made = _rebuild(new_version=2)
    assert _states(_alarm(), made, _rollout("running")) == ["done", "done", "done", "now", "todo"]
    assert _states(_alarm(150.0), made, _rollout("finished")) == ["done"] * 5
    gave_up = _rebuild(finished_at=110.0)
    assert _states(_alarm(), gave_up, None) == ["done", "done", "failed", "todo", "todo"]
    assert _states(_alarm(), made, _rollout("stopped"))[3] == "failed"


def test_a_step_tells_how_long_after_the_one_before() -> None:
    """The times between the steps are differences of the rows' times."""
    steps = steps_of(_alarm(150.0), _rebuild(new_version=2), _rollout("finished"))
    assert [step.took for step in steps] == [None, 0.5, 1.5, 18.0, 30.0]


def test_a_story_leaves_the_page_after_a_while() -> None:
    """An open alarm stays, a closed one goes after a quarter of an hour."""
    assert not is_current(None, NOW)
    assert is_current(_alarm(), NOW)
    assert is_current(_alarm(NOW - 60), NOW)
    assert not is_current(_alarm(NOW - 3600), NOW)


def _activity(bucket: float, version: int, labelled: int, wrong: int, device: str = "a") -> Activity:
    return Activity(device, bucket, version, 20, 0, labelled, wrong, 18.0, 20)


def test_the_strip_ends_now_and_shows_gaps() -> None:
    """The last cell is the present bucket; a bucket without frames is a gap, not a zero."""
    last = NOW // BUCKET_S * BUCKET_S
    cells = strip([_activity(last, 2, 10, 5), _activity(last - 3 * BUCKET_S, 1, 10, 0)], NOW)
    assert len(cells) == CELLS
    assert [cell.version for cell in cells[-4:]] == [1, 0, 0, 2]
    assert [cell.height for cell in cells[-4:]] == [0.0, 0.0, 0.0, 1.0]


def test_recent_figures_are_of_the_last_minute() -> None:
    """Older buckets do not colour the present figures."""
    last = NOW // BUCKET_S * BUCKET_S
    figures = recent([_activity(last - 60, 2, 10, 10), _activity(last - 50, 2, 10, 1)], NOW)
    assert (figures.labelled, figures.wrong, figures.mispack, figures.confidence) == (10, 1, 0.1, 0.9)
    assert recent([], NOW).mispack is None


@pytest.mark.parametrize(
    ("labelled", "wrong", "tone"), [(10, 1, "quiet"), (400, 100, "bad"), (400, 8, "quiet")]
)
def test_a_rate_is_coloured_when_it_is_far_from_the_promise(labelled: int, wrong: int, tone: str) -> None:
    """One wrong item of ten is no colour, a quarter of four hundred is."""
    last = NOW // BUCKET_S * BUCKET_S
    figures = recent([_activity(last, 1, labelled, wrong)], NOW)
    assert harm_tone(figures, Reference(1, 0.014, None)) == tone


def test_every_deployment_state_has_a_word() -> None:
    """No state of the wire's table reaches the page without a word."""
    assert set(State) <= set(DEPLOYMENTS)


def test_a_device_is_described_in_one_word() -> None:
    """Absence comes before state, work under way before rest."""
    assert device_word(_device("a", connected=False)).text == "offline"
    assert device_word(_device("a", state="fetching")).text == "fetching"
    assert device_word(_device("a", state="rolled-back")).tone == "bad"
    assert device_word(_device("a")).text == "running"
    assert device_word(_device("a", 0, state="")).text == "no model yet"


def test_a_rollout_is_laid_out_by_waves() -> None:
    """Robots stand in their wave, the gate's sentence with the present one, orders by the state."""
    parts = [
        RolloutDevice(rollout=3, device="a", wave=0, state="committed", assigned_at=1.0),
        RolloutDevice(rollout=3, device="b", wave=1, state="", assigned_at=1.0),
        RolloutDevice(rollout=3, device="c", wave=1),
    ]
    card = rollout_card(_rollout("running", wave=1), {0: (1, 1), 1: (2, 0)}, parts)
    assert [[part.device for part in wave.parts] for wave in card.waves] == [["a"], ["b", "c"]]
    assert [wave.word.text for wave in card.waves] == ["done", "in progress"]
    assert [wave.sentence for wave in card.waves] == ["", "Wait."]
    assert [part.word.text for part in card.waves[1].parts] == ["assigned", "waiting"]
    assert (card.done, card.total, card.may) == (1, 3, ("pause", "abort"))


def test_charts_leave_gaps_where_nothing_was_told() -> None:
    """A bucket without labels has no rate, and a version has values only where it decided."""
    sums = [Sums(0.0, 1, 10, 1, 9.0, 10), Sums(10.0, 1, 0, 0, 8.0, 10), Sums(10.0, 2, 5, 0, 0.0, 0)]
    charts = shape_charts("m", 0.0, 20.0, 10, sums, [], [Reference(1, 0.1, 0.9), Reference(9, 0.1, 0.9)])
    assert charts.times == (0.0, 10.0)
    assert [(s.version, s.values) for s in charts.mispack] == [(1, (0.1, None)), (2, (None, 0.0))]
    assert [(s.version, s.values) for s in charts.confidence] == [(1, (0.9, 0.8))]
    assert [r.version for r in charts.references] == [1]


def test_charts_mark_the_known_moments_in_order() -> None:
    """Moments before the chart or of other kinds are not marked."""
    moments = [
        Moment(15.0, "rollout.started", "b", 2),
        Moment(12.0, "alarm.raised", "a", 1),
        Moment(3.0, "alarm.raised", "early", 1),
        Moment(14.0, "device.connected", "other", 0),
    ]
    charts = shape_charts("m", 10.0, 20.0, 2, [], moments, [])
    assert [(m.label, m.tone) for m in charts.marks] == [("alarm", "bad"), ("rollout v2", "move")]


@pytest.mark.parametrize("span", [1.0, 60.0, 900.0, 86400.0, 90 * 86400.0])
def test_a_chart_has_a_readable_number_of_points(span: float) -> None:
    """Whatever the span, a chart has at most ninety buckets and no needlessly long ones."""
    bucket = bucket_for(span)
    assert span / bucket <= 90
    shorter = [b for b in BUCKETS_S if b < bucket]
    assert all(span / b > 90 for b in shorter)
