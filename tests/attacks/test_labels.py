"""The attacker tells labels: what he says must not become what the model learns, nor run anywhere."""

from collections.abc import Iterator

import pytest

from edgewright.controller import labels
from edgewright.controller.database import select
from edgewright.controller.database.evidencetables import Label
from edgewright.controller.database.tables import Sample
from edgewright.controller.people import audit
from edgewright.controller.people.roles import Role
from tests.controller.labelled_line import MODEL, OTHER, add_frames, begun_again, frame, new_site
from tests.controller.people_rig import OWN, Plant

LABELS = f"/api/v1/models/{MODEL}/labels"
PAGE = f"/models/{MODEL}/label"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """An application with people and two models."""
    with new_site(tmp_path_factory.mktemp("data")) as plant:
        yield plant


@pytest.fixture
def plant(site: Plant) -> Plant:
    """The same, with captured frames of both models and no labels."""
    with begun_again(site) as session:
        add_frames(session, site.parts.blobs, 2)
        session.add(frame("theirs", model=OTHER))
        for i in range(40):
            session.add(frame(f"seen-{i}", truth="bag"))
    return site


def body(source: str, truth: str, *items: str) -> dict[str, object]:
    """A request that tells labels of robot-1."""
    told = [{"device": "robot-1", "item": item, "truth": truth} for item in items]
    return {"source": source, "labels": told}


def stored(plant: Plant) -> int:
    """How many labels there are."""
    with plant.parts.db.reading() as session:
        return len(session.exec(select(Label)).all())


def test_viewer_labels_frames(plant: Plant) -> None:
    """A viewer gets no frame and tells no label, by API, file or page, and the log has the attempt."""
    viewer = plant.client(plant.tokens[Role.VIEWER])
    assert viewer.get(LABELS).status_code == 200
    assert viewer.get(f"{LABELS}/next").status_code == 403
    assert viewer.post(LABELS, json=body("mes", "boot", "random-0")).status_code == 403
    content = b"device,item,truth\nrobot-1,random-0,boot\n"
    assert viewer.post(f"{LABELS}.csv?source=mes", content=content).status_code == 403
    browser = plant.browser(plant.tokens[Role.VIEWER])
    form = {"device": "robot-1", "item": "random-0", "truth": "boot"}
    assert browser.post(PAGE, data=form, headers=OWN).status_code == 403
    assert stored(plant) == 0
    refused = {entry.action for entry in audit.entries(plant.parts.db) if entry.outcome != audit.DONE}
    assert {"label.tell", "label.import"} <= refused


def test_label_for_another_models_frame(plant: Plant) -> None:
    """A token for one model labels no frame of another, neither there nor under its own model."""
    scoped = plant.client(plant.people.tokens.add("theirs", "operator", (OTHER,)).text)
    assert scoped.post(LABELS, json=body("mes", "boot", "random-0")).status_code == 403
    through = f"/api/v1/models/{OTHER}/labels"
    assert scoped.post(through, json=body("mes", "boot", "random-0")).status_code == 422
    assert scoped.post(through, json=body("audit", "boot", "random-0")).status_code == 422
    assert stored(plant) == 0


def test_foreign_page_labels_frames(plant: Plant) -> None:
    """A page of another origin cannot answer in the name of whoever has a session."""
    browser = plant.browser(plant.tokens[Role.OPERATOR])
    form = {"device": "robot-1", "item": "random-0", "truth": "boot"}
    for origin in ("http://127.0.0.1:9999", "null", "https://192.0.2.1"):
        assert browser.post(PAGE, data=form, headers={"Origin": origin}).status_code == 422
    assert stored(plant) == 0
    assert browser.post(PAGE, data=form, headers=OWN).status_code == 303


def test_source_tells_lies(plant: Plant) -> None:
    """A source that says what no person sees is set aside, and its labels are no truth any more."""
    operator = plant.client(plant.tokens[Role.OPERATOR])
    items = [f"seen-{i}" for i in range(40)]
    assert operator.post(LABELS, json=body("poisoner", "boot", *items)).json()["joined"] == 40
    assert operator.post(LABELS, json=body("audit", "bag", *items[:30])).json()["joined"] == 30
    with plant.parts.db.reading() as session:
        judged = labels.judged_sources(session, MODEL)
        aside = {source for source, verdict in judged.items() if not verdict.trusted}
        samples = [session.get(Sample, ("robot-1", item)) for item in items]
        known = labels.effective_truths(session, [s for s in samples if s is not None], aside)
    assert aside == {"poisoner"}
    assert {truth.truth for truth in known.values()} == {"bag"}
    assert len(known) == 40


def test_formula_in_a_label(plant: Plant) -> None:
    """A class that is a spreadsheet's formula is text on the page and text in the export."""
    evil = "=cmd|'/c calc'!A1"
    operator = plant.client(plant.tokens[Role.OPERATOR])
    assert operator.post(LABELS, json=body("audit", evil, "random-0")).status_code == 200
    assert f"random-0,'{evil}" in operator.get(f"{LABELS}.csv").text
    script = "<script>alert(1)</script>"
    assert operator.post(LABELS, json=body("audit", script, "seen-0")).status_code == 200
    assert script not in plant.browser(plant.tokens[Role.OPERATOR]).get(PAGE).text


def test_page_in_place_of_a_picture(plant: Plant) -> None:
    """What a device sent as a frame and is no picture is not served to a browser at all."""
    with plant.parts.db.session() as session:
        digest = plant.parts.blobs.put(b"<html><script>alert(1)</script></html>")
        session.add(frame("page", image_sha256=digest))
    operator = plant.client(plant.tokens[Role.OPERATOR])
    shown = f"/api/v1/models/{MODEL}/picture?device=robot-1&item="
    assert operator.get(f"{shown}random-0").headers["content-type"] == "image/png"
    answer = operator.get(f"{shown}page")
    assert answer.status_code == 404
    assert b"script" not in answer.content
