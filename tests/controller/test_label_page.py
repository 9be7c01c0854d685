"""The page for labelling without its script: a plain form that says what it has to, to whom it may."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from edgewright.controller.database import select
from edgewright.controller.database.evidencetables import Label
from edgewright.controller.database.tables import AuditEntry, Sample
from edgewright.controller.labelling import CANDIDATES, LEASE_S, Candidate, Desk, merged, order, waiting
from edgewright.controller.people.roles import Role
from tests.controller.labelled_line import MODEL, OTHER, add_frames, begun_again, frame, new_site
from tests.controller.people_rig import OWN, Plant

PAGE = f"/models/{MODEL}/label"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """An application with people, two models and two robots."""
    with new_site(tmp_path_factory.mktemp("data")) as plant:
        yield plant


@pytest.fixture
def plant(site: Plant) -> Plant:
    """The same with captured frames, and nothing told of them."""
    with begun_again(site) as session:
        add_frames(session, site.parts.blobs, 3)
        session.add(frame("theirs", model=OTHER))
    return site


@pytest.fixture
def operator(plant: Plant) -> TestClient:
    """A browser of somebody who may label."""
    return plant.browser(plant.tokens[Role.OPERATOR])


def shown(browser: TestClient) -> tuple[str, str]:
    """Robot and item of the frame on the page."""
    text = browser.get(PAGE).text
    device, item = (text.split(f'name="{field}" value="')[1].split('"')[0] for field in ("device", "item"))
    return device, item


def send(browser: TestClient, key: tuple[str, str], origin: dict[str, str] = OWN, /, **fields: str) -> int:
    """Send the form; the status."""
    answer = browser.post(PAGE, data={"device": key[0], "item": key[1], **fields}, headers=origin)
    return int(answer.status_code)


def stored(plant: Plant) -> dict[str, str]:
    """What was labelled, by item."""
    with plant.parts.db.reading() as session:
        return {row.item: row.truth for row in session.exec(select(Label))}


def test_a_plain_form_labels_and_undoes(plant: Plant, operator: TestClient) -> None:
    """The same frame stays until it is answered; the answer leads to the next, and undo brings it back."""
    first = shown(operator)
    assert shown(operator) == first
    assert send(operator, first, truth="bag") == 303
    second = shown(operator)
    assert second != first
    assert "You said bag. v1 had decided bag." in operator.get(PAGE).text
    assert send(operator, second, new=" hat ") == 303
    assert send(operator, shown(operator), order="cannot-tell") == 303
    assert "No frame waits" in operator.get(PAGE).text
    assert sorted(stored(plant).values()) == ["", "bag", "hat"]
    assert send(operator, ("", ""), order="undo") == 303
    assert sorted(stored(plant).values()) == ["bag", "hat"]
    assert shown(operator) not in (first, second)
    assert "<span>hat</span>" in operator.get(PAGE).text
    with plant.parts.db.reading() as session:
        [*_, before, last] = session.exec(select(AuditEntry).order_by("seq"))
    assert (before.action, before.subject, before.detail["truth"]) == ("label.tell", MODEL, "")
    assert last.detail["event"] == "label.take-back"


def test_the_page_does_not_lead_anybody(operator: TestClient) -> None:
    """Of a random frame the page does not say what was decided, anywhere."""
    text = operator.get(PAGE).text
    assert "after your answer" in text
    assert "had decided" not in text
    assert '"decided":""' in text


def test_skipped_frames_come_back_to_others(plant: Plant, operator: TestClient) -> None:
    """Who skips a frame gets another one, and whoever labels next may have it."""
    first = shown(operator)
    send(operator, first, order="skip")
    assert shown(operator) != first
    assert shown(plant.browser(plant.tokens[Role.ENGINEER])) == first
    assert stored(plant) == {}


def test_the_first_answer_to_a_frame_counts(plant: Plant, operator: TestClient) -> None:
    """Where a lease has ended and another person was faster, the second is told so and changes nothing."""
    first = shown(operator)
    assert send(plant.browser(plant.tokens[Role.ENGINEER]), first, truth="boot") == 303
    answer = operator.post(PAGE, data={"device": first[0], "item": first[1], "truth": "bag"}, headers=OWN)
    assert answer.status_code == 422
    assert "has labelled this frame meanwhile" in answer.text
    assert stored(plant) == {first[1]: "boot"}


def test_who_may_not_label_gets_neither_page_nor_label(plant: Plant) -> None:
    """A viewer, and a token for another model, change nothing and are not offered to."""
    viewer = plant.browser(plant.tokens[Role.VIEWER])
    assert viewer.get(PAGE).status_code == 403
    assert f"{MODEL}/label" not in viewer.get(f"/models/{MODEL}").text
    assert send(viewer, ("robot-1", "random-0"), truth="bag") == 403
    scoped = plant.browser(plant.people.tokens.add("theirs", "operator", (OTHER,)).text)
    assert send(scoped, ("robot-1", "random-0"), truth="bag") == 403
    assert stored(plant) == {}
    assert f"{MODEL}/label" in plant.browser(plant.tokens[Role.OPERATOR]).get(f"/models/{MODEL}").text


def test_a_form_of_another_origin_labels_nothing(plant: Plant, operator: TestClient) -> None:
    """A foreign page cannot label with somebody's session."""
    for origin in ({"Origin": "http://127.0.0.1:9999"}, {"Origin": "null"}, {}):
        assert send(operator, shown(operator), origin, truth="bag") == 422
    assert stored(plant) == {}


def test_a_frame_of_another_model_is_not_here(plant: Plant, operator: TestClient) -> None:
    """The page of one model takes no label for a frame of another, and none without a class."""
    for fields in ({"truth": "bag"}, {"order": "cannot-tell"}):
        assert send(operator, ("robot-1", "theirs"), **fields) == 422
    assert send(operator, shown(operator)) == 422
    assert stored(plant) == {}


def test_random_frames_are_not_ordered_by_what_they_are() -> None:
    """The order of random frames is the same whatever was decided on them; they come before the others."""
    names = [str(i) for i in range(50)]
    sure = [Candidate(("r", name), "random", 0.99) for name in names]
    unsure = [Candidate(("r", name), "random", i / 50) for i, name in enumerate(names)]
    assert order(sure) == order(reversed(unsure))
    assert [key for _, key in order(sure)[0]] != names
    odd = [Candidate(("r", "x"), "uncertain", 0.1), Candidate(("r", "y"), "novel", 0.9)]
    told = Candidate(("r", "z"), "uncertain", 0.5, contested=True)
    random, other = order([*odd, *sure, told])
    assert [name for _, name in other] == ["z", "y", "x"]
    assert merged(random, other, enough=False)[:50] == random


def test_a_busy_robot_leaves_room_for_the_others(plant: Plant) -> None:
    """A robot that sends many frames, and dates them ahead, does not own the queue."""
    with plant.parts.db.session() as session:
        for i in range(CANDIDATES + 50):
            session.add(frame(f"busy-{i}", device="robot-2", taken_at=2e9 + i))
        waits = [candidate.key[0] for candidate in waiting(session, MODEL) if candidate.reason == "random"]
        mine = select(Sample).where(Sample.device == "robot-1", Sample.model == MODEL)
        quiet = len(session.exec(mine).all())
    assert len(waits) == CANDIDATES
    assert waits.count("robot-1") == quiet > 0


def test_a_lease_ends_and_the_pace_is_of_one_sitting() -> None:
    """A frame that nobody answers goes to the next person; a pause begins a new pace."""
    now = [0.0]
    desk = Desk(lambda: now[0])
    keys = [("r", str(i)) for i in range(30)]
    assert desk.lend("m", "mia", keys, 1) == [keys[0]]
    assert desk.lend("m", "tom", keys, 1) == [keys[1]]
    now[0] = LEASE_S + 1
    assert desk.lend("m", "tom", keys, 1) == [keys[0]]
    for key in keys[:10]:
        now[0] += 2.0
        desk.finish("m", "mia", key)
    assert desk.pace("m", "mia") == pytest.approx(30.0)
    now[0] += 600.0
    assert desk.pace("m", "mia") == 0.0
    desk.finish("m", "mia", keys[11])
    assert desk.pace("m", "mia") == 0.0
