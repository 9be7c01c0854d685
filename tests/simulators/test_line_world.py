"""The cell's ground truth: every item becomes exactly one thing, at times that the test tells."""

import numpy as np
import pytest

from edgewright.agent.preprocess import look
from edgewright.wire.cell import Decision, Frame
from simulators.line.goods import KNOWN_CLASSES, Goods, Phase, load_goods
from simulators.line.orders import OPTICS, Order, read_order
from simulators.line.world import TRANSPORT_S, CellSettings, World

DEADLINE_S = 0.2


@pytest.fixture(scope="module")
def goods() -> Goods:
    """The committed stream pool."""
    return load_goods()


def _world(goods: Goods, scanner_share: float = 0.0) -> World:
    settings = CellSettings("r1", 1, 20.0, scanner_share, scanner_delay_s=1.0, deadline_ms=DEADLINE_S * 1000)
    return World(goods, settings)


def _answer(frame: Frame, label: str, version: int = 1) -> Decision:
    return Decision(item=frame.item, label=label, confidence=0.9, source="active", version=version)


def _truth(world: World, frame: Frame) -> str:
    return world._waiting[frame.item].truth


def test_right_and_wrong_decisions(goods: Goods) -> None:
    """A decision for another class than the true one is a mispack of the version that made it."""
    world = _world(goods)
    right, wrong = world.photograph(0.0), world.photograph(0.05)
    other = next(name for name in KNOWN_CLASSES if name != _truth(world, wrong))
    world.decided(_answer(right, _truth(world, right), version=1))
    world.decided(_answer(wrong, other, version=2))
    report = world.counters[Phase.BEFORE].report()
    assert (report["sent"], report["decided"], report["mispacked"], report["dropped"]) == (2, 2, 1, 0)
    assert report["by_version"] == {
        "1": {"decided": 1, "mispacked": 0},
        "2": {"decided": 1, "mispacked": 1},
    }


def test_fallback_is_no_mispack(goods: Goods) -> None:
    """An item that goes to the manual lane is decided, and in no wrong carton."""
    world = _world(goods)
    frame = world.photograph(0.0)
    world.decided(
        Decision(item=frame.item, label="manual lane", confidence=0.0, source="fallback", version=0)
    )
    report = world.counters[Phase.BEFORE].report()
    assert (report["decided"], report["fallback"], report["mispacked"]) == (1, 1, 0)
    assert report["by_version"] == {}


def test_no_decision_by_the_deadline_is_a_drop(goods: Goods) -> None:
    """An item without a decision in time is dropped once, and a later answer changes nothing."""
    world = _world(goods)
    frame = world.photograph(0.0)
    truth = _truth(world, frame)
    world.expire(DEADLINE_S + TRANSPORT_S)
    assert world.counters[Phase.BEFORE].report()["dropped"] == 0
    world.expire(DEADLINE_S + TRANSPORT_S + 0.001)
    world.decided(_answer(frame, truth))
    report = world.counters[Phase.BEFORE].report()
    assert not world.is_waiting
    assert (report["sent"], report["decided"], report["dropped"]) == (1, 0, 1)


def test_one_frame_counts_one_decision(goods: Goods) -> None:
    """A second answer for an item, or one for an item of another cell, is not counted."""
    world = _world(goods)
    frame = world.photograph(0.0)
    for _ in range(2):
        world.decided(_answer(frame, "Coat"))
    world.decided(Decision(item="r2-000001", label="Coat", confidence=1.0, source="active", version=1))
    assert world.counters[Phase.BEFORE].report()["decided"] == 1


def test_items_count_in_the_phase_of_their_photograph(goods: Goods) -> None:
    """A decision that comes after the change of phase counts for the phase before it."""
    world = _world(goods)
    frame = world.photograph(0.0)
    world.obey(Order(phase=Phase.DRIFTED))
    world.photograph(0.05)
    world.decided(_answer(frame, "Coat"))
    assert world.counters[Phase.BEFORE].report()["decided"] == 1
    assert world.counters[Phase.DRIFTED].report()["sent"] == 1
    assert world.counters[Phase.DRIFTED].report()["decided"] == 0


def test_scanner_tells_a_share_late(goods: Goods) -> None:
    """The scanner tells the truth of about its share of items, half to one and a half delays later."""
    world = _world(goods, scanner_share=0.5)
    truths = {}
    for _ in range(200):
        frame = world.photograph(10.0)
        truths[frame.item] = _truth(world, frame)
    assert world.scan(10.49, heard=True) == []
    outcomes = [*world.scan(11.0, heard=True), *world.scan(11.5, heard=True)]
    assert 70 < len(outcomes) < 130
    assert all(truths[outcome.item] == outcome.truth for outcome in outcomes)
    assert world.counters[Phase.BEFORE].report()["labelled"] == len(outcomes)


def test_unheard_outcomes_are_lost(goods: Goods) -> None:
    """What the scanner says while no line is there reaches nobody and is not counted."""
    world = _world(goods, scanner_share=1.0)
    world.photograph(0.0)
    assert world.scan(2.0, heard=False) == []
    assert world.scan(3.0, heard=True) == []
    assert world.counters[Phase.BEFORE].report()["labelled"] == 0


def test_a_changeover_changes_tag_and_goods(goods: Goods) -> None:
    """After the order every frame carries the new tag, and only the named kinds lie on the belt."""
    world = _world(goods)
    assert world.photograph(0.0).tag == ""
    world.obey(read_order(b'{"tag": "tops", "kinds": ["Shirt", "Coat"]}'))
    frames = [world.photograph(0.0) for _ in range(40)]
    assert {frame.tag for frame in frames} == {"tops"}
    assert {_truth(world, frame) for frame in frames} == {"Shirt", "Coat"}


def _looks(world: World) -> np.ndarray:
    """Median brightness, contrast, sharpness and saturation of twenty frames."""
    frames = [world.photograph(0.0) for _ in range(20)]
    pixels = [np.frombuffer(frame.pixels, np.uint8).reshape(frame.shape) for frame in frames]
    return np.median([look(each).statistics for each in pixels], axis=0)


@pytest.mark.parametrize(
    ("optics", "signal", "factor"),
    [
        ("dirty-lens", 1, 0.6),
        ("dim-lamp", 0, 0.6),
        ("bright-lamp", 3, 20.0),
        ("flat-light", 1, 0.85),
        ("noisy-sensor", 2, 4.0),
    ],
)
def test_optics_show_in_their_signal(goods: Goods, optics: str, signal: int, factor: float) -> None:
    """Each trouble of camera or lamp moves the statistic that is named for it, and cleaning ends it."""
    world = _world(goods)
    before = _looks(world)[signal] + 1e-3
    world.obey(Order(optics=optics))
    share = (_looks(world)[signal] + 1e-3) / before
    assert share < factor if factor < 1 else share > factor
    world.obey(Order(optics="clean"))
    assert (_looks(world)[signal] + 1e-3) / before == pytest.approx(1.0, abs=0.35)


def test_single_conditions_change_and_stay(goods: Goods) -> None:
    """An order for one range leaves the others as they were, and later orders leave it."""
    world = _world(goods)
    bright = _looks(world)[0]
    world.obey(Order(conditions={"brightness": (0.4, 0.4)}))
    world.obey(Order(tag="a"))
    assert _looks(world)[0] < 0.6 * bright


def test_a_relabelled_class_changes_what_is_right(goods: Goods) -> None:
    """When coats shall go with the pullovers, truth and scans say so, and the pictures stay the same."""
    worlds = [_world(goods, scanner_share=1.0) for _ in range(2)]
    worlds[1].obey(Order(relabel={"Coat": "Pullover"}))
    frames = [[world.photograph(0.0) for _ in range(40)] for world in worlds]
    assert [each.pixels for each in frames[0]] == [each.pixels for each in frames[1]]
    told = [{outcome.truth for outcome in world.scan(9.0, heard=True)} for world in worlds]
    assert "Coat" in told[0]
    assert told[1] == told[0] - {"Coat"}


def test_a_scanner_can_be_wrong(goods: Goods) -> None:
    """Of a scanner that is wrong in three of ten, about so many scans differ from the ground truth."""
    world = _world(goods, scanner_share=1.0)
    world.obey(Order(scanner_wrong=0.3))
    truths = {frame.item: _truth(world, frame) for frame in (world.photograph(0.0) for _ in range(300))}
    wrong = sum(outcome.truth != truths[outcome.item] for outcome in world.scan(9.0, heard=True))
    assert 60 < wrong < 120


@pytest.mark.parametrize(
    "order",
    [Order(optics="broken"), Order(conditions={"colour": (0.0, 1.0)}), Order(kinds=("Hat",))],
    ids=["optics", "conditions", "kinds"],
)
def test_orders_name_what_exists(goods: Goods, order: Order) -> None:
    """An order for optics, a range or a class that do not exist is refused by name and changes nothing."""
    world = _world(goods)
    frame = world.photograph(0.0)
    with pytest.raises(ValueError, match=r"broken|colour|Hat"):
        world.obey(order)
    again = _world(goods)
    again.photograph(0.0)
    assert world.photograph(0.1) == again.photograph(0.1) != frame


@pytest.mark.parametrize("optics", OPTICS)
def test_every_optics_still_shows_the_item(goods: Goods, optics: str) -> None:
    """Under all optics two items still differ by more than noise: the picture is worse, not gone."""
    world = _world(goods)
    world.obey(Order(optics=optics))
    assert _looks(world)[1] > 0.03


def test_frames_are_the_same_for_the_same_seed(goods: Goods) -> None:
    """Two worlds of one seed photograph the same pixels, whatever the scanner does."""
    frames = [_world(goods, share).photograph(0.0) for share in (0.0, 1.0)]
    assert frames[0] == frames[1]
    assert np.frombuffer(frames[0].pixels, np.uint8).size == 96 * 96 * 3
