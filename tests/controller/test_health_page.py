"""The seven answers as a person gets them: by the API, on the page, by the command."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from edgewright.controller.api.app import create_app
from edgewright.controller.cli.program import main
from tests.controller.parts import TOKEN, Parts, make_parts
from tests.controller.served import served
from tests.controller.storyline import ALARM, MODEL, tell

KEYS = ["performance", "bounds", "changes", "devices", "done", "cost", "next"]
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """Services over a new data folder."""
    made = make_parts(tmp_path)
    yield made
    made.db.close()


@pytest.fixture
def client(parts: Parts) -> TestClient:
    """A client of the application."""
    opened = TestClient(create_app(parts), base_url="http://127.0.0.1", follow_redirects=True)
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
    """Without harm the command ends with 0; while an alarm is open, with the number of ``HarmError``."""
    told(parts, ALARM + 1.0)
    with served(parts):
        with pytest.raises(SystemExit) as ended:
            main(["health", MODEL, "--data", str(parts.data)])
        said = capsys.readouterr()
        assert ended.value.code == 19
        assert f"{MODEL} v1 does harm." in said.out
        assert said.err.startswith("E019 ")
        print(said.out)
