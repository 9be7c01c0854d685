"""What asks for rebuilds by itself and what labels are believed, over a real database."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.controller import labels, registry
from edgewright.controller.database import Session, select
from edgewright.controller.database.evidencetables import Alarm, Finding, Rebuild
from edgewright.controller.database.tables import Device, Sample
from edgewright.controller.model_toml import RebuildPart
from edgewright.controller.rebuild.asking import Asking
from edgewright.controller.rebuild.dataset import count_new, gather
from edgewright.controller.rebuild.orders import past_of, queue_rebuild
from edgewright.controller.rebuild.policy import hold
from edgewright.controller.rebuild.trigger import Asked, Trigger
from tests.controller.colour_plant import MODEL, Plant


class Desk:
    """Takes what is asked, and queues it without an engine."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self.asked: list[tuple[str, int]] = []

    def enqueue(self, model: str, cause: str, asked: Asked) -> int:
        """Queue it."""
        self.asked.append((asked.trigger, asked.from_version))
        with self._plant.db.session() as session:
            row = queue_rebuild(session, model, cause, asked)
            session.flush()
            return row.id or 0


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    """A plant with version 1, and the robot that its samples name."""
    plant = Plant(tmp_path)
    plant.push()
    with plant.db.session() as session:
        session.add(Device(id="r1", target="t"))
    yield plant
    plant.db.close()


def end_all(plant: Plant, state: str) -> None:
    """Every rebuild has ended just now."""
    with plant.db.session() as session:
        for row in session.exec(select(Rebuild)).all():
            row.state, row.finished_at = state, time.time()


def test_new_data_asks_once_until_more_comes(plant: Plant) -> None:
    """Thirty labelled frames ask for a rebuild; after it they ask for none, and thirty later ones do."""
    plant.change_rules(("automatic = true", "automatic = true\nnew_samples = 30"))
    desk = Desk(plant)
    asking = Asking(plant.db, plant.blobs, desk.enqueue)
    for round_ in (1, 2):
        plant.capture(29, taken_at=1000.0 * round_)
        _came_now(plant)
        asking.step()
        assert len(desk.asked) == round_ - 1
        plant.capture(1, taken_at=1000.0 * round_ + 500.0)
        _came_now(plant)
        asking.step()
        asking.step()
        assert desk.asked == [("data", 0)] * round_
        end_all(plant, "done")
        time.sleep(0.01)


def _came_now(plant: Plant) -> None:
    """Samples without a time of coming have come now."""
    with plant.db.session() as session:
        for row in session.exec(select(Sample).where(Sample.at == 0.0)).all():
            row.at = time.time()


def test_a_push_of_a_recipe_alone_asks_once(plant: Plant) -> None:
    """A version that differs from the one before in its recipe alone is rebuilt once; another is not."""
    plant.change_rules(("automatic = true", "automatic = true\non_recipe_change = true"))
    with plant.db.reading() as session:
        files = registry.find_version(session, MODEL, 1).files
    desk = Desk(plant)
    asking = Asking(plant.db, plant.blobs, desk.enqueue)
    for version, changed in ((2, "holdout.npz"), (3, "recipe.py")):
        with plant.db.session() as session:
            files = {**files, changed: plant.blobs.put(f"{version}".encode())}
            assert registry.add_version(session, MODEL, files, "push") == version
            registry.find_version(session, MODEL, version).state = "ready"
        asking.step()
    assert desk.asked == [("recipe", 3)]
    end_all(plant, "failed")
    asking.step()
    assert desk.asked == [("recipe", 3)]


def add_harm(session: Session, version: int = 1, patience_s: float = 0.0) -> None:
    """An open alarm with its open finding, as the monitor stores them."""
    session.add(
        Alarm(
            model=MODEL,
            version=version,
            raised_at=1.0,
            signal="error-rate",
            sentence="Blue is wrong.",
            evidence={"patience_s": patience_s},
        )
    )
    session.add(
        Finding(
            model=MODEL, version=version, cause="product", harm=True, opened_at=1.0, sentence="", remedy=""
        )
    )


def test_harm_that_stays_asks_again_and_a_cancelled_one_does_not(plant: Plant) -> None:
    """An open alarm whose rebuild was refused asks again; once a person has cancelled it, it does not."""
    with plant.db.session() as session:
        add_harm(session)
        queue_rebuild(session, MODEL, "first.", Asked(Trigger.HARM, alarm=1, from_version=1))
    desk = Desk(plant)
    asking = Asking(plant.db, plant.blobs, desk.enqueue)
    asking.step()
    assert desk.asked == []  # it is under way
    end_all(plant, "refused")
    asking.step()
    assert desk.asked == [("harm", 1)]
    end_all(plant, "cancelled")
    asking.step()
    assert len(desk.asked) == 1


def test_an_alarm_that_another_rebuild_answered_asks_when_that_led_nowhere(plant: Plant) -> None:
    """The clock's rebuild that is under way when harm comes is the alarm's from then on."""
    with plant.db.session() as session:
        add_harm(session)
        queue_rebuild(session, MODEL, "the clock.", Asked(Trigger.SCHEDULE)).state = "training"
        answer = queue_rebuild(session, MODEL, "harm.", Asked(Trigger.HARM, alarm=1, from_version=1))
        assert (answer.id, answer.alarm, answer.trigger) == (1, 1, "schedule")
    end_all(plant, "refused")
    desk = Desk(plant)
    Asking(plant.db, plant.blobs, desk.enqueue).step()
    assert desk.asked == [("harm", 1)]


def test_an_alarm_that_nothing_answered_asks_after_its_patience(plant: Plant) -> None:
    """An alarm told while another version's rebuild was under way asks by itself, as long as harm lasts."""
    plant.change_rules(("cooldown_s = 0.0", "cooldown_s = 100.0"))
    with plant.db.session() as session:
        add_harm(session, patience_s=900.0)
    desk, now = Desk(plant), 1000.0
    asking = Asking(plant.db, plant.blobs, desk.enqueue, lambda: now)
    asking.step()
    assert desk.asked == []
    now = 1001.0
    with plant.db.session() as session:
        session.exec(select(Finding)).one().closed_at = 1000.0
    asking.step()
    assert desk.asked == []  # harm is over
    with plant.db.session() as session:
        session.exec(select(Finding)).one().closed_at = 0.0
    asking.step()
    assert desk.asked == [("harm", 1)]


def test_harm_takes_over_what_waits_for_its_turn(plant: Plant) -> None:
    """A program's rebuild that the day's budget holds becomes the alarm's, whose budget nobody has spent."""
    with plant.db.session() as session:
        add_harm(session)
        now = time.time()
        for _ in range(6):
            session.add(
                Rebuild(
                    model=MODEL,
                    from_version=1,
                    cause="",
                    state="done",
                    queued_at=1.0,
                    started_at=now - 900.0,
                    finished_at=now - 800.0,
                    trigger="api",
                )
            )
        waiting = queue_rebuild(session, MODEL, "a program.", Asked(Trigger.API, "token"))
        for trigger, is_held in ((Trigger.API, True), (Trigger.HARM, False)):
            past = past_of(session, MODEL, trigger, now)
            assert (hold(trigger, RebuildPart(), past, now) is not None) == is_held
        number = waiting.id
    desk = Desk(plant)
    Asking(plant.db, plant.blobs, desk.enqueue).step()
    assert desk.asked == [("harm", 1)]
    row = plant.rebuild(number or 0)
    assert (row.state, row.trigger, row.alarm) == ("queued", "harm", 1)


def test_a_source_that_lies_is_set_aside_whole(plant: Plant) -> None:
    """Labels of a program that audits contradict teach nothing; what a person saw and the line told do."""
    plant.capture(90)
    with plant.db.session() as session:
        items = [row.item for row in session.exec(select(Sample)).all()]
        lies = [labels.Told("r1", item, "red") for item in items]
        labels.tell_many(session, MODEL, lies, source="camera-7", told_by="", at=2.0)
        seen = [labels.Told("r1", item, ("red", "green", "blue")[i % 3]) for i, item in enumerate(items[:45])]
        before = gather(session, MODEL, 0.0)
        labels.tell_many(session, MODEL, seen, source=labels.AUDIT, told_by="Ada", at=3.0)
        after = gather(session, MODEL, 0.0)
    assert before.set_aside == {}
    assert {item.source for item in before.items} == {"line"}  # nobody had looked: it outvotes no line
    assert list(after.set_aside) == ["camera-7"]
    assert "30 of 45" in after.set_aside["camera-7"]
    assert {item.source for item in after.items} == {"audit", "line"}
    assert sum(item.truth == "red" for item in after.items) == 30


def test_a_label_that_comes_late_counts_as_new_data(plant: Plant) -> None:
    """An old frame that is labelled now is newly labelled, and once however many label it."""
    plant.capture(3)
    with plant.db.session() as session:
        items = [row.item for row in session.exec(select(Sample)).all()]
        for source in ("scanner", labels.AUDIT):
            told = [labels.Told("r1", items[0], "red")]
            labels.tell_many(session, MODEL, told, source=source, told_by="", at=500.0)
        assert count_new(session, MODEL, 400.0) == 1
