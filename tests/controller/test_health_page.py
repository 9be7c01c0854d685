"""The seven answers as a person gets them: by the API, on the page, by the command."""

import json
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlmodel import SQLModel

from edgewright.controller.api.app import create_app
from edgewright.controller.cli.program import main
from edgewright.controller.database import col, select
from edgewright.controller.database.evidencetables import Finding, Label
from edgewright.controller.database.tables import Artifact, AuditEntry, Device, Sample, Window
from edgewright.controller.labels import AUDIT
from edgewright.wire import messages
from edgewright.wire.histograms import Histogram
from edgewright.wire.messages import decode_up
from tests.controller.health_line import Line, fill
from tests.controller.parts import TOKEN, Parts, make_parts
from tests.controller.served import served
from tests.controller.storyline import ALARM, MODEL, tell

KEYS = ["performance", "bounds", "changes", "devices", "done", "cost", "next"]
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """Services for all tests of this file: their keys take longer than the tests."""
    made = make_parts(tmp_path_factory.mktemp("health"))
    yield made
    made.db.close()


@pytest.fixture(scope="module")
def app(made: Parts) -> FastAPI:
    """Their application."""
    return create_app(made)


@pytest.fixture
def parts(made: Parts) -> Parts:
    """The services over an empty database."""
    with made.db.session() as session:
        for table in reversed(SQLModel.metadata.sorted_tables):
            if table.name != AuditEntry.__tablename__:
                session.connection().execute(table.delete())
    return made


@pytest.fixture
def client(parts: Parts, app: FastAPI) -> TestClient:
    """A client of the application."""
    del parts
    opened = TestClient(app, base_url="http://127.0.0.1", follow_redirects=True)
    opened.get("/", params={"token": TOKEN})
    return opened


def told(parts: Parts, until: float) -> None:
    """Tell the line's story until now."""
    tell(parts.db, parts.blobs, time.time() - until, until)


def test_the_api_answers_all_seven(client: TestClient, parts: Parts) -> None:
    """The answers come in their order, each with a question and a sentence."""
    told(parts, 200.0)
    found = client.get(f"/api/v1/models/{MODEL}/health", headers=HEADERS).json()
    assert [answer["key"] for answer in found["answers"]] == KEYS
    assert all(answer["question"].endswith("?") and answer["sentence"] for answer in found["answers"])
    assert (found["model"], found["version"], found["status"]) == (MODEL, 1, "healthy")
    for answer in found["answers"]:
        print(answer["sentence"], answer["certainty"], answer["details"])


def test_harm_is_an_exit_status(parts: Parts, capsys: pytest.CaptureFixture[str]) -> None:
    """Without harm the command ends with 0; while harm is found, with the number of ``HarmError``."""
    told(parts, ALARM - 1.0)
    with served(parts):
        with pytest.raises(SystemExit) as ended:
            main(["health", MODEL, "--data", str(parts.data), "--json"])
        assert ended.value.code == 0
        assert json.loads(capsys.readouterr().out)["status"] == "healthy"
        with parts.db.session() as session:
            found: dict[str, Any] = {"opened_at": 1.0, "cause": "concept", "sentence": "S.", "remedy": "R."}
            session.add(Finding(model=MODEL, version=1, harm=True, **found))
        with pytest.raises(SystemExit) as ended:
            main(["health", f"{MODEL}@1", "--data", str(parts.data)])
        said = capsys.readouterr()
        assert ended.value.code == 19
        assert f"{MODEL} v1 does harm." in said.out
        assert "7 What is the next step?" in said.out
        assert said.err.startswith("E019 ")


def test_the_page_answers_with_pictures(client: TestClient, parts: Parts) -> None:
    """Darker pictures and a robot of its own show on the page: in words and in pictures."""
    line = Line(dark=0.2, bad="robot-2", seconds=300)
    fill(parts, line, time.time())
    page = client.get(f"/models/{MODEL}/health").text
    words = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    assert "the newest windows look otherwise than testing: brightness." in words
    assert "robot-2 differs" in words
    pictures = re.findall(r'<svg[^>]*role="img"[^>]*aria-label="([^"]*)"', page)
    assert any(re.match(r"Brightness now 3\d\.\d %, in testing 5\d\.\d %", said) for said in pictures)
    assert any(said.startswith("robot-2: ") for said in pictures)
    assert any(said.startswith("t-shirt: 42.9 % of the decisions, 40.0 %") for said in pictures)
    assert f'href="/models/{MODEL}/health"' in client.get(f"/models/{MODEL}").text


def test_label_free_accuracy_answers_where_nothing_is_labelled(client: TestClient, parts: Parts) -> None:
    """A line that labels nothing gets the estimate from calibrated confidence, near the rate of testing."""
    fill(parts, Line(labelled=False, seconds=300), time.time())
    found = client.get(f"/api/v1/models/{MODEL}/health", headers=HEADERS).json()
    performance = found["answers"][0]
    assert performance["sentence"].startswith(("Probably.", "It cannot be told from confidence alone."))
    assert performance["numbers"]["error_rate"] == pytest.approx(0.014, abs=0.006)
    assert found["answers"][6]["sentence"].startswith("Let somebody label a few random frames")


def audit(
    parts: Parts, looks: int, wrong: int, line_errs: int = 0, days: float = 0.0, name: str = "item"
) -> None:
    """Let a person look at random frames; the line had told the truth of them, or something else of some.

    They were taken some days ago.
    """
    with parts.db.session() as session:
        for i in range(looks):
            truth = "dress" if i < wrong else "coat"
            session.add(
                Sample(
                    device="robot-1",
                    item=f"{name}-{i}",
                    taken_at=time.time() - 60.0 - days * 86400.0,
                    model=MODEL,
                    version=1,
                    label="coat",
                    confidence=0.95,
                    truth="trouser" if i < line_errs else truth,
                    reason="random",
                    probability=0.01,
                    image_sha256="0" * 64,
                )
            )
            session.add(
                Label(
                    device="robot-1",
                    item=f"{name}-{i}",
                    source=AUDIT,
                    model=MODEL,
                    version=1,
                    decided="coat",
                    truth=truth,
                    at=time.time(),
                )
            )


def test_audits_speak_alone_and_with_the_confidences(client: TestClient, parts: Parts) -> None:
    """Of a line that labels nothing 60 audits answer; the confidences of all frames narrow their interval."""
    fill(parts, Line(labelled=False, seconds=120), time.time())
    audit(parts, looks=60, wrong=1)
    found = client.get(f"/api/v1/models/{MODEL}/health", headers=HEADERS).json()
    assert found["answers"][0]["numbers"]["labelled"] == 60
    assert "audits by people" in found["answers"][0]["certainty"]
    widths = {w["name"]: w["high"] - w["low"] for w in found["witnesses"]}
    assert widths["with confidence"] < widths["by audits"]
    assert not any(d["sentence"].startswith("Set aside") for d in found["answers"][0]["details"])


def test_a_line_that_audits_contradict_is_no_witness(client: TestClient, parts: Parts) -> None:
    """Labels of a line that disagrees with a third of the audits are set aside, and the answer says so."""
    fill(parts, Line(seconds=120), time.time())
    audit(parts, looks=90, wrong=1, line_errs=30)
    found = client.get(f"/api/v1/models/{MODEL}/health", headers=HEADERS).json()
    assert found["answers"][0]["numbers"]["labelled"] == 90
    assert found["answers"][0]["details"][0]["sentence"].startswith("Set aside: line. The source disagrees")
    assert [w["name"] for w in found["witnesses"]] == ["by audits", "with confidence", "by confidence"]


def test_audits_of_earlier_days_say_nothing_of_now(client: TestClient, parts: Parts) -> None:
    """560 looks three months ago (5 % wrong) leave an answer about today to the 40 of today (80 % wrong)."""
    fill(parts, Line(labelled=False, seconds=120), time.time())
    audit(parts, looks=560, wrong=28, days=90.0, name="old")
    before = client.get(f"/api/v1/models/{MODEL}/health", headers=HEADERS).json()["answers"][0]
    assert "labelled" not in before["numbers"]
    assert any(d["sentence"].startswith("560 audits of earlier days") for d in before["details"])
    audit(parts, looks=40, wrong=32)
    found = client.get(f"/api/v1/models/{MODEL}/health", headers=HEADERS).json()
    assert (found["answers"][0]["numbers"]["labelled"], found["answers"][0]["numbers"]["wrong"]) == (40, 32)
    assert {w["name"]: w["low"] > 0.5 for w in found["witnesses"] if w["name"] != "by confidence"} == {
        "by audits": True,
        "with confidence": True,
    }


def tell_also(parts: Parts, outcomes: Mapping[str, tuple[messages.Outcomes, ...]]) -> None:
    """Put outcomes in place of those of all windows, by device."""
    with parts.db.session() as session:
        for row in session.exec(select(Window)):
            window = decode_up(row.payload)
            assert isinstance(window, messages.Window)
            row.payload = messages.encode(msgspec.structs.replace(window, outcomes=outcomes[row.device]))
            session.add(row)


def test_labels_are_weighted_and_no_item_counts_twice(client: TestClient, parts: Parts) -> None:
    """Half of the uncertain items wrong, told with chance 1, and the others with .01: 0.5 %, not 25 %."""
    fill(parts, Line(seconds=60, devices=2), time.time())
    uneven = messages.Outcomes(1, 14, 4, "", 707.0, 4.0, 70007.0)
    both = (uneven, messages.Outcomes(1, 14, 4, "scanner"))
    tell_also(parts, {"robot-1": both, "robot-2": (uneven, messages.Outcomes(1, 14, 14, "audit"))})
    found = client.get(f"/api/v1/models/{MODEL}/health", headers=HEADERS).json()
    numbers, details = found["answers"][0]["numbers"], found["answers"][0]["details"]
    assert (numbers["labelled"], numbers["wrong"]) == (168, 48)
    assert numbers["error_rate"] == pytest.approx(4 / 707)
    assert numbers["error_rate_high"] > 3 * numbers["error_rate"]
    assert "weighted by how they were chosen" in found["answers"][0]["sentence"]
    assert [d["sentence"].split(" alone")[0] for d in details if " alone. " in d["sentence"]] == [
        "By scanner"
    ]
    assert [dot["rate"] for dot in found["dots"]] == pytest.approx([4 / 707, 4 / 707])


def test_one_device_does_not_choose_the_source_that_answers(client: TestClient, parts: Parts) -> None:
    """A name that one robot invents answers for nobody, however many labels it tells under it."""
    fill(parts, Line(seconds=60, devices=3), time.time())
    usual = (messages.Outcomes(1, 7, 0),)
    tell_also(
        parts,
        dict.fromkeys(("robot-2", "robot-3"), usual)
        | {"robot-1": (messages.Outcomes(1, 1000, 1000, "evil"),)},
    )
    numbers = client.get(f"/api/v1/models/{MODEL}/health", headers=HEADERS).json()["answers"][0]["numbers"]
    assert (numbers["labelled"], numbers["wrong"]) == (84, 0)


def test_a_window_with_more_values_than_frames_counts_nothing(client: TestClient, parts: Parts) -> None:
    """10^12 confidences in a window of 14 frames move no picture and no estimate."""
    fill(parts, Line(labelled=False, seconds=60, devices=2), time.time())
    before = client.get(f"/api/v1/models/{MODEL}/health", headers=HEADERS).json()
    with parts.db.session() as session:
        row = session.exec(select(Window).where(Window.device == "robot-1")).first()
        assert row is not None
        window = decode_up(row.payload)
        assert isinstance(window, messages.Window)
        lie = {"confidence": Histogram("confidence", [0] * 60 + [10**12] + [0] * 3).pack()}
        row.payload = messages.encode(msgspec.structs.replace(window, histograms=lie))
        session.add(row)
    found = client.get(f"/api/v1/models/{MODEL}/health", headers=HEADERS).json()
    assert found["windows"] == before["windows"] - 1
    assert found["answers"][1]["numbers"]["frames"] == before["answers"][1]["numbers"]["frames"] - 14


def test_a_targets_windows_are_held_against_its_own_profile(client: TestClient, parts: Parts) -> None:
    """Beside a second target, whose test showed dark pictures, three devices of the first look as tested."""
    fill(parts, Line(seconds=60, labelled=False), time.time())
    with parts.db.session() as session:
        first = session.exec(select(Artifact)).one()
        dark = json.loads(parts.blobs.read(first.profile_sha256)) | {"error_rate": 0.02}
        dark["histograms"]["brightness"] = dark["histograms"]["saturation"]
        other = {"target": "arm64-tflite-cpu", "profile_sha256": parts.blobs.put(json.dumps(dark).encode())}
        session.add(Artifact(**first.model_dump() | other))
        odd = session.get(Device, "robot-4")
        assert odd is not None
        odd.target = "arm64-tflite-cpu"
        session.add(odd)
    found = client.get(f"/api/v1/models/{MODEL}/health", headers=HEADERS).json()
    assert found["promised"] == 0.02
    assert found["windows"] == 18
    assert "18 windows of x86_64-ort-cpu" in found["answers"][1]["certainty"]
    assert next(s["outside"] for s in found["signals"] if s["name"] == "brightness") < 0.05


@pytest.mark.parametrize("line", [Line(profiled=False, seconds=60), Line(seconds=0), Line(devices=0)])
def test_what_is_missing_leaves_a_sound_page(client: TestClient, parts: Parts, line: Line) -> None:
    """Without a profile, without windows or without devices the page stands and says so."""
    fill(parts, line, time.time())
    answer = client.get(f"/models/{MODEL}/health")
    assert answer.status_code == 200
    assert "Not known, because" in answer.text


def test_damaged_and_graceful_windows_are_left_out(client: TestClient, parts: Parts) -> None:
    """A payload that cannot be read and a window in the grace after a changeover count in no picture."""
    fill(parts, Line(seconds=60, devices=1), time.time())
    with parts.db.session() as session:
        rows = list(session.exec(select(Window).order_by(col(Window.seq))))
        rows[0].payload = b"damaged"
        window = decode_up(rows[1].payload)
        assert isinstance(window, messages.Window)
        rows[1].payload = messages.encode(msgspec.structs.replace(window, grace=True))
    found = client.get(f"/api/v1/models/{MODEL}/health", headers=HEADERS).json()
    assert found["windows"] == 4
    assert sum(found["signals"][0]["now"]) == 4 * 14


def test_a_model_that_is_not_there_is_told(client: TestClient, parts: Parts) -> None:
    """Neither API nor page invents a model, nor a version that no database can hold."""
    fill(parts, Line(seconds=0), time.time())
    beyond = {"version": 2**63}
    assert client.get(f"/api/v1/models/{MODEL}/health", headers=HEADERS, params=beyond).status_code == 404
    assert client.get("/api/v1/models/nobody/health", headers=HEADERS).status_code == 404
    assert client.get("/models/nobody/health").status_code == 404
