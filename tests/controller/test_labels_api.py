"""Labels by the API and in files: who may tell them, what is refused, and what the audit log keeps."""

import csv
import io
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from edgewright.controller import labelfile
from edgewright.controller.api import labels as operations
from edgewright.controller.database import select
from edgewright.controller.database.evidencetables import Label
from edgewright.controller.database.tables import AuditEntry, Sample
from edgewright.controller.labelfile import LINE_BYTES_AT_MOST, read_labels
from edgewright.controller.labels import judged_sources
from edgewright.controller.people.roles import Role
from edgewright.controller.samplepictures import is_picture
from tests.controller.labelled_line import (
    MODEL,
    OTHER,
    add_frames,
    begun_again,
    frame,
    new_site,
    picture,
)
from tests.controller.people_rig import Plant, bearer

LABELS = f"/api/v1/models/{MODEL}/labels"
FILE = f"{LABELS}.csv"
GOOD = b"device,item,truth\nrobot-1,random-0,bag\nrobot-2,random-1,boot\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """An application with people, two models and two robots."""
    with new_site(tmp_path_factory.mktemp("data")) as plant:
        yield plant


@pytest.fixture
def plant(site: Plant) -> Plant:
    """The same with captured frames, and nothing told of them."""
    blobs = site.parts.blobs
    with begun_again(site) as session:
        add_frames(session, blobs, 4)
        add_frames(session, blobs, 2, "uncertain")
        session.add(frame("theirs", model=OTHER, image_sha256=blobs.put(picture(1))))
    return site


@pytest.fixture
def operator(plant: Plant) -> TestClient:
    """Somebody who may label."""
    return plant.client(plant.tokens[Role.OPERATOR])


def tell(
    client: TestClient, *labels: tuple[str, str, str], source: str = "mes", model: str = MODEL
) -> tuple[int, Any]:
    """Tell labels; status and answer."""
    told = [{"device": device, "item": item, "truth": truth} for device, item, truth in labels]
    answer = client.post(f"/api/v1/models/{model}/labels", json={"source": source, "labels": told})
    return answer.status_code, answer.json()


def stored(plant: Plant) -> set[tuple[str, str, str]]:
    """Item, source and truth of all labels."""
    with plant.parts.db.reading() as session:
        return {(row.item, row.source, row.truth) for row in session.exec(select(Label))}


def entries(plant: Plant) -> list[AuditEntry]:
    """The audit log."""
    with plant.parts.db.reading() as session:
        return list(session.exec(select(AuditEntry).order_by("seq")))


def test_a_list_is_taken_with_one_entry(plant: Plant, operator: TestClient) -> None:
    """The receipt counts every label and names what is new to the model; the log has one entry of it."""
    before = len(entries(plant))
    status, receipt = tell(
        operator, ("robot-1", "random-0", "bag"), ("robot-1", "x", "hat"), ("nobody", "y", "bag")
    )
    assert status == 200
    assert receipt == {
        "told": 3,
        "joined": 1,
        "unknown_items": 1,
        "repeated": 0,
        "changed": 0,
        "refused": 1,
        "refusals": [{"place": 3, "why": "There is no device 'nobody'."}],
        "new_classes": {"hat": 1},
    }
    tell(operator, ("robot-1", "random-0", "boot"))
    first, second = entries(plant)[before:]
    assert (first.action, first.subject, first.detail["joined"]) == ("label.tell", MODEL, 1)
    assert second.detail["changes"] == ["robot-1 random-0: 'bag' became 'boot'"]


def test_a_list_of_refused_labels_is_refused(plant: Plant, operator: TestClient) -> None:
    """Where nothing can be taken the answer is a problem with the first reason, and nothing is stored."""
    status, problem = tell(operator, ("robot-1", "theirs", "bag"))
    assert (status, problem["number"]) == (422, 99)
    assert tell(operator, ("robot-1", "a", "bag"), source="line")[0] == 422
    assert tell(operator, ("robot-1", "a", "bag"), model="nothing")[0] == 404
    assert operator.post(LABELS, json={"source": "mes", "labels": []}).status_code == 422
    assert stored(plant) == set()


def test_a_viewer_counts_and_neither_tells_nor_looks(plant: Plant) -> None:
    """How far the audit is may be seen by all; labels, files and pictures take an operator."""
    viewer = plant.client(plant.tokens[Role.VIEWER])
    assert viewer.get(LABELS).json()["waiting_random"] == 4
    picture_of = f"/api/v1/models/{MODEL}/picture?device=robot-1&item=random-0"
    for address in (f"{LABELS}/next", FILE, picture_of):
        assert viewer.get(address).status_code == 403
    assert tell(viewer, ("robot-1", "random-0", "bag"))[0] == 403
    assert viewer.post(f"{FILE}?source=mes", content=GOOD).status_code == 403
    assert stored(plant) == set()


def test_a_token_for_another_model_labels_nothing_here(plant: Plant) -> None:
    """The scope of a token holds for labels and for files of them."""
    scoped = plant.client(plant.people.tokens.add("theirs", "operator", (OTHER,)).text)
    assert tell(scoped, ("robot-1", "random-0", "bag"))[0] == 403
    assert scoped.post(f"{FILE}?source=mes", content=GOOD).status_code == 403
    assert tell(scoped, ("robot-1", "theirs", "bag"), model=OTHER)[0] == 200


def test_a_file_is_taken_whole_and_twice_changes_nothing(plant: Plant, operator: TestClient) -> None:
    """A spreadsheet's file, with its mark, semicolons and decimal commas, is read; again it is repeated."""
    rows = ('random-0;"bag; ""red""";x;robot-1;0,5', "", "b;x;y;robot-1;", "")
    text = "\r\n".join(("\ufeffitem;Truth;note;DEVICE;probability", *rows))
    first = operator.post(f"{FILE}?source=mes.2026", content=text.encode()).json()
    assert (first["joined"], first["unknown_items"], first["refused"]) == (1, 1, 0)
    again = operator.post(f"{FILE}?source=mes.2026", content=text.encode()).json()
    assert (again["repeated"], again["told"]) == (2, 2)
    assert ("random-0", "mes.2026", 'bag; "red"') in stored(plant)
    begun, done = [entry for entry in entries(plant) if entry.action == "label.import"][-4:-2]
    assert (begun.detail["rows"], len(begun.detail["sha256"])) == (2, 64)
    assert (done.detail["event"], done.detail["joined"]) == ("label.tell", 1)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no column 'device'"),
        (b"device,item\n", "no column 'truth'"),
        (b"device,item,truth,item\n", "'item' twice"),
        ("device,item,truth\nrobot-1,a,Gr\u00f6\u00dfe\n".encode("latin-1"), "Line 2 is no text in UTF-8"),
        ("device,item,truth\nrobot-1,a,bag\n".encode("utf-16"), "Line 1 is no text in UTF-8"),
        (GOOD + b"robot-1,a\0,bag\n", "Line 4 is no text"),
        (GOOD + b'robot-1,"a,bag\n', "cannot be read"),
        (GOOD + b"robot-1,a," + b"x" * LINE_BYTES_AT_MOST + b"\n", "more than 8192 bytes"),
    ],
)
def test_a_file_that_cannot_be_read_changes_nothing(
    plant: Plant, operator: TestClient, content: bytes, why: str
) -> None:
    """Another encoding, null bytes, an endless quote and wrong headers refuse the file, with the line."""
    answer = operator.post(f"{FILE}?source=mes", content=content)
    assert (answer.status_code, answer.json()["number"]) == (422, 99)
    assert why in answer.json()["detail"]
    assert stored(plant) == set()


def test_rows_that_say_nothing_are_refused_alone(plant: Plant, operator: TestClient) -> None:
    """A row with too few columns, no class or no chance is told by its line, and the others are taken."""
    content = (
        b"device,item,truth,probability\nrobot-1,a\nrobot-1,b,,1\nrobot-1,c,bag,often\nrobot-1,d,bag,1\n"
    )
    receipt = operator.post(f"{FILE}?source=mes", content=content).json()
    assert (receipt["told"], receipt["refused"]) == (4, 3)
    assert sorted(refusal["place"] for refusal in receipt["refusals"]) == [2, 3, 4]
    assert stored(plant) == {("d", "mes", "bag")}


def test_a_file_is_no_audit(plant: Plant, operator: TestClient) -> None:
    """What stands in a file was not seen by anybody here."""
    assert operator.post(f"{FILE}?source=audit", content=GOOD).status_code == 422
    assert operator.post(FILE, content=GOOD).status_code == 422
    assert stored(plant) == set()


def test_a_file_has_bounds(plant: Plant, operator: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may be larger than other requests, and has its own bounds of bytes and of lines."""
    large = GOOD + b"".join(b"robot-1,%d,%s\n" % (i, b"x" * 250) for i in range(4200))
    assert len(large) > 1 << 20
    receipt = operator.post(f"{FILE}?source=mes", content=large).json()
    assert (receipt["told"], receipt["joined"]) == (4202, 2)
    monkeypatch.setattr(operations, "BYTES_AT_MOST", 1 << 20)
    assert "1 MiB at most" in operator.post(f"{FILE}?source=b", content=large).json()["detail"]
    monkeypatch.setattr(labelfile, "LINES_AT_MOST", 3)
    assert len(list(read_labels(io.BytesIO(GOOD)))) == 2
    assert operator.post(f"{FILE}?source=b", content=GOOD + b"robot-1,z,bag\n").status_code == 422


def test_an_export_runs_no_formula(plant: Plant, operator: TestClient) -> None:
    """All labels come back as a file, by source, and no cell of it begins as a formula."""
    evil = '=HYPERLINK("http://192.0.2.1","x")'
    tell(operator, ("robot-1", "random-0", evil), ("robot-1", "+1", "bag"))
    tell(operator, ("robot-1", "random-0", "bag"), source="audit")
    answer = operator.get(FILE)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    header, *rows = list(csv.reader(io.StringIO(answer.text)))
    assert header[:3] == ["device", "item", "truth"]
    assert [(row[1], row[2], row[4]) for row in rows] == [
        ("random-0", "bag", "audit"),
        ("'+1", "bag", "mes"),
        ("random-0", f"'{evil}", "mes"),
    ]


def test_a_random_frame_hides_what_was_decided(plant: Plant, operator: TestClient) -> None:
    """Random frames come first and without the model's word; others come with it."""
    frames = operator.get(f"{LABELS}/next?count=6").json()
    assert [found["random"] for found in frames] == [True] * 4 + [False] * 2
    assert [found["decided"] for found in frames] == [""] * 4 + ["bag"] * 2


def test_two_people_never_have_the_same_frame(plant: Plant, operator: TestClient) -> None:
    """What is lent to one is not given to another; the same person gets the same again."""
    engineer = plant.client(plant.tokens[Role.ENGINEER])
    mine = [f["item"] for f in operator.get(f"{LABELS}/next?count=3").json()]
    theirs = [f["item"] for f in engineer.get(f"{LABELS}/next?count=10").json()]
    assert len(mine) == 3
    assert len(theirs) == 3
    assert not set(mine) & set(theirs)
    assert [f["item"] for f in operator.get(f"{LABELS}/next?count=3").json()] == mine


def test_pictures_are_private_and_pictures(plant: Plant, operator: TestClient) -> None:
    """A frame's PNG is served as such and kept by nobody but the browser; anything else is not there."""
    [found] = operator.get(f"{LABELS}/next").json()
    answer = operator.get(found["picture"])
    assert answer.content.startswith(b"\x89PNG")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "private" in answer.headers["cache-control"]
    blobs = plant.parts.blobs
    with plant.parts.db.session() as session:
        session.add(frame("page", image_sha256=blobs.put(b"<script>alert(1)</script>")))
        session.add(frame("gone"))
        assert session.get(Sample, ("robot-1", "theirs")) is not None
    for item in ("page", "gone", "theirs", "nothing"):
        assert operator.get(f"/api/v1/models/{MODEL}/picture?device=robot-1&item={item}").status_code == 404


def test_a_picture_that_unpacks_to_anything_is_none() -> None:
    """The size that a PNG claims is looked at before a browser unpacks it."""
    assert is_picture(picture(1))
    huge = bytearray(picture(1))
    huge[16:24] = (60_000).to_bytes(4) * 2
    assert not is_picture(bytes(huge))
    assert not is_picture(picture(1)[:20])


def test_the_status_tells_of_versions_people_and_sources(plant: Plant, operator: TestClient) -> None:
    """Random looks give the version's error rate with an interval; sources are held against them."""
    tell(operator, ("robot-1", "random-0", "boot"), ("robot-2", "random-1", "bag"), source="audit")
    tell(operator, ("robot-1", "random-2", ""), ("robot-1", "uncertain-0", "bag"), source="audit")
    tell(operator, ("robot-1", "random-0", "bag"), ("robot-2", "random-1", "bag"), ("robot-1", "q", "bag"))
    status = operator.get(LABELS).json()
    [version] = status["versions"]
    assert {name: version[name] for name in ("random", "wrong", "other", "cannot_tell", "needed")} == {
        "random": 2,
        "wrong": 1,
        "other": 1,
        "cannot_tell": 1,
        "needed": 348,
    }
    assert version["low"] < version["rate"] == 0.5 < version["high"]
    assert (status["waiting_random"], status["waiting_other"]) == (1, 1)
    assert [person["labels"] for person in status["people"]] == [4]
    [source] = status["sources"]
    assert (source["source"], source["labels"], source["unjoined"]) == ("mes", 3, 1)
    assert (source["agree"], source["compared"], source["believed"]) == (1, 2, True)


def test_a_source_that_contradicts_people_is_set_aside(plant: Plant, operator: TestClient) -> None:
    """Once audits show that a source errs too often the status says so, and it is no truth any more."""
    with plant.parts.db.session() as session:
        for i in range(40):
            session.add(frame(f"poisoned-{i}", truth="bag"))
    items = [("robot-1", f"poisoned-{i}") for i in range(40)]
    tell(operator, *((*item, "boot") for item in items), source="poisoner")
    tell(operator, *((*item, "bag") for item in items), source="audit")
    believed = {s["source"]: s["believed"] for s in operator.get(LABELS).json()["sources"]}
    assert believed == {"line": True, "poisoner": False}
    with plant.parts.db.reading() as session:
        judged = judged_sources(session, MODEL)
    assert [source for source, verdict in judged.items() if not verdict.trusted] == ["poisoner"]


def test_no_session_tells_labels_by_the_api(plant: Plant) -> None:
    """A page's cookie reads; what a page tells goes through its own form."""
    browser = plant.browser(plant.tokens[Role.OPERATOR])
    assert browser.get(f"{LABELS}/next").status_code == 200
    assert tell(browser, ("robot-1", "random-0", "bag"))[0] == 401
    assert plant.client().post(LABELS, headers=bearer("wrong")).status_code == 401
