"""Versions side by side: the rules over values, the API, the command line and the page."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from fastapi.testclient import TestClient

from edgewright.controller import aliases
from edgewright.controller.api.app import create_app
from edgewright.controller.cli import main
from edgewright.controller.comparison import NOISE, ArtifactFacts, Cell, Comparison, Facts, Row, compare
from edgewright.controller.database.tables import Artifact, Device, ModelVersion, Rollout
from edgewright.controller.versionfacts import gather
from edgewright.controller.web.versiontree import tree_of
from tests.controller.parts import TOKEN, Parts, make_parts
from tests.controller.served import served
from tests.controller.storyline import MODEL, TARGETS, tell

TARGET = TARGETS[0]
NUMBERS = {"agreement": 0.99, "latency_us": 400.0, "latency_ratio": 0.5, "memory_mb": 20.0, "novel": 3.0}
BASE = Facts(
    version=1,
    state="ready",
    labels=("red", "green"),
    metrics={"holdout_accuracy": 0.9},
    gates={"top1_agreement": 0.98, "precisions": ["int8", "fp32"]},
    data={"recipe": "a" * 64, "holdout frames": "b" * 64},
    artifacts=(ArtifactFacts(TARGET, "int8", "onnx", "emulated", 1000, {}, NUMBERS, ("ort 1.31",)),),
    robots=4,
)


def _with(**said: float) -> Facts:
    """The base as version 2, with other numbers of its one artifact."""
    artifact = msgspec.structs.replace(BASE.artifacts[0], numbers={**NUMBERS, **said})
    return msgspec.structs.replace(BASE, version=2, artifacts=(artifact,))


def _row(found: Comparison, title: str, what: str) -> Row:
    (section,) = (section for section in found.sections if section.title == title)
    (row,) = (row for row in section.rows if row.what == what)
    return row


def _cell(found: Comparison, title: str, what: str) -> Cell:
    return _row(found, title, what).cells[1]


def test_a_version_beside_itself() -> None:
    """Nothing differs, and no cell is better or worse."""
    assert compare(MODEL, [BASE, msgspec.structs.replace(BASE, version=2)]).different == ()


@pytest.mark.parametrize(
    ("name", "what", "value", "mark", "by"),
    [
        ("agreement", "Agreement with fp32", 1.0, "better", "1.0 points"),
        ("agreement", "Agreement with fp32", 0.9, "worse", "9.0 points"),
        ("agreement", "Agreement with fp32", 0.99 + 1e-12, "same", ""),
        ("latency_us", "Latency", 300.0, "better", "25 %"),
        ("latency_us", "Latency", 400.0 * (1 + 0.9 * NOISE), "same", ""),
        ("latency_us", "Latency", 400.0 * (1 + 1.1 * NOISE), "worse", "6 %"),
        ("memory_mb", "Memory", 30.0, "worse", "50 %"),
        ("novel", "Novel", 4.0, "other", ""),
    ],
)
def test_which_way_is_up(name: str, what: str, value: float, mark: str, by: str) -> None:
    """A figure is judged by its own direction and noise; one that nobody knows is only other."""
    cell = _cell(compare(MODEL, [BASE, _with(**{name: value})]), TARGET, what)
    assert (cell.mark, cell.by) == (mark, by)


def test_classes_gates_and_data() -> None:
    """Added and removed classes are named, a changed threshold and another file are other, and what stays
    is the same.
    """
    other = msgspec.structs.replace(
        BASE,
        version=2,
        labels=("green", "blue"),
        gates={"top1_agreement": 0.95, "precisions": ["int8", "fp32"]},
        data={"recipe": "a" * 64, "holdout frames": "c" * 64},
    )
    found = compare(MODEL, [BASE, other])
    assert _cell(found, "Versions", "Classes added").text == "blue"
    assert _cell(found, "Versions", "Classes removed").text == "red"
    assert _cell(found, "Gates", "Top1 agreement").mark == "other"
    assert _cell(found, "Gates", "Precisions").mark == "same"
    assert _cell(found, "Data", "Recipe").mark == "same"
    assert _cell(found, "Data", "Holdout frames").mark == "other"


def test_a_target_that_one_of_them_lacks() -> None:
    """The missing artifact is dashes that are other, never a figure that is better."""
    found = compare(MODEL, [BASE, msgspec.structs.replace(BASE, version=2, artifacts=())])
    marks = {row.what: row.cells[1] for s in found.sections if s.title == TARGET for row in s.rows}
    assert (marks["Artifact"].text, marks["Artifact"].mark) == ("–", "other")
    assert {cell.mark for cell in marks.values()} == {"other", ""}


def test_zero_is_no_divisor() -> None:
    """Where the base measured nothing at all a change has a direction and no percentage."""
    zero = _with(logit_error=0.0)
    cell = _cell(compare(MODEL, [zero, _with(logit_error=0.5)]), TARGET, "Relative error")
    assert (cell.mark, cell.by) == ("worse", "")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """The end of the story with measured artifacts, a champion, and one robot that was left behind."""
    made = make_parts(tmp_path_factory.mktemp("data"))
    tell(made.db, made.blobs, time.time() - 400.0, 400.0)
    with made.db.session() as session:
        aliases.crown(session, session.get_one(Rollout, 2))
        session.get_one(Device, "robot-4").active_version = 1
        for version, latency in ((1, 400.0), (2, 300.0)):
            row = session.get_one(Artifact, (MODEL, version, TARGET))
            row.numbers, row.proven_on = {"latency_us": latency}, ["onnxruntime 1.31.1 CPU"]
    with served(made):
        yield made
    made.db.close()


@pytest.fixture
def client(parts: Parts) -> TestClient:
    """A client of the application."""
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    return TestClient(create_app(parts), base_url="http://127.0.0.1", headers=bearer)


def test_the_facts_come_from_the_registry(parts: Parts) -> None:
    """Robots are counted by version and target, and a word may be a number or an alias."""
    with parts.db.reading() as session:
        first, second = gather(session, parts.blobs, MODEL, ("1", "champion"))
    assert (first.version, first.robots, second.version, second.robots) == (1, 1, 2, 3)
    assert {a.target: a.robots for a in second.artifacts} == {TARGETS[0]: 3, TARGETS[1]: 0}
    assert second.aliases == ("champion",)


@pytest.mark.parametrize("versions", ["1", "1,v1", "1,9", "1,nobody", ",".join(map(str, range(1, 12)))])
def test_what_cannot_be_compared(client: TestClient, versions: str) -> None:
    """One version, one named twice, and one that is not here are refused with a number."""
    answer = client.get(f"/api/v1/models/{MODEL}/compare", params={"versions": versions})
    assert answer.json()["number"] in (90, 99, 112)


def _run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, output.out + output.err


def test_the_terminal_shows_what_differs(
    parts: Parts, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a colour a reader sees which row differs and which way; JSON has the values."""
    monkeypatch.setenv("COLUMNS", "160")
    words = ("compare", f"{MODEL}@1", f"{MODEL}@champion", "--data", parts.data)
    status, said = _run(capsys, *words)
    assert status == 0
    (line,) = (line for line in said.splitlines() if line.startswith("* Latency"))
    assert line.rstrip().split("  ")[-1] == "300 us ▲ better, 25 %"
    assert any(line.startswith("  Precision") for line in said.splitlines())
    found = json.loads(_run(capsys, *words, "--json")[1])
    assert found["versions"] == [1, 2]
    assert _run(capsys, "compare", f"{MODEL}@1", "other@2", "--data", parts.data)[0] == 99


def test_lineage_in_the_terminal(parts: Parts, capsys: pytest.CaptureFixture[str]) -> None:
    """The champion stands on top and its root below it."""
    status, said = _run(capsys, "lineage", f"{MODEL}@champion", "--data", parts.data)
    first, *others = said.splitlines()
    assert status == 0
    assert first.startswith(f"{MODEL} v2 (champion), rebuilt from v1")
    assert any(f"── {MODEL} v1, pushed" in line for line in others)


def test_aliases_in_the_terminal(parts: Parts, capsys: pytest.CaptureFixture[str]) -> None:
    """Set, list, use and remove; the champion stays with the rollouts."""
    where = ("--data", parts.data)
    assert _run(capsys, "alias", "set", f"{MODEL}@1", "line-b", *where) == (0, f"{MODEL} v1 is the line-b.\n")
    rows = json.loads(_run(capsys, "alias", "list", "--json", *where)[1])
    assert {row["name"]: row["version"] for row in rows} == {"champion": 2, "line-b": 1}
    nowhere = ("--selector", "site=oslo", *where)
    assert _run(capsys, "rollout", "create", f"{MODEL}@line-b", *nowhere)[0] == 92
    assert _run(capsys, "rollout", "create", MODEL, "nobody", *nowhere)[0] == 112
    assert _run(capsys, "alias", "remove", MODEL, "line-b", *where)[0] == 0
    assert _run(capsys, "alias", "set", f"{MODEL}@1", "champion", *where)[0] == 112


@pytest.fixture
def page(parts: Parts) -> TestClient:
    """A browser's session."""
    opened = TestClient(create_app(parts), base_url="http://127.0.0.1", follow_redirects=True)
    opened.get("/", params={"token": TOKEN})
    return opened


def test_the_page_is_its_address(page: TestClient) -> None:
    """What is compared and which rows are shown stand in the address, as a form or a link writes it."""
    address = f"/models/{MODEL}/compare"
    everything = page.get(f"{address}?versions=1,champion").text
    assert everything == page.get(f"{address}?versions=1&versions=champion").text
    assert "▲ better, 25 %" in everything
    assert everything.count("checked") == 2
    assert "Precision" in everything
    different = page.get(f"{address}?versions=1,2&only=differences").text
    assert "▲ better, 25 %" in different
    assert "Precision" not in different
    assert page.get(f"{address}?versions=1,2&only=other").status_code == 422


def test_the_page_asks_for_what_it_needs(page: TestClient) -> None:
    """With one version or none it offers all of them; what is not here is a problem page."""
    for query in ("", "?versions=1"):
        said = page.get(f"/models/{MODEL}/compare{query}")
        assert said.status_code == 200
        assert "Choose two versions or more" in said.text
    assert page.get(f"/models/{MODEL}/compare?versions=1,9").status_code == 404
    assert page.get("/models/nobody/compare").status_code == 404


def test_the_models_page_tells_of_versions(page: TestClient, parts: Parts) -> None:
    """Aliases stand beside the version, papers where there are any, and the tree has a line of both."""
    with parts.db.session() as session:
        row = session.get_one(ModelVersion, (MODEL, 2))
        row.lineage = {"kind": "rebuild", "rebuild": 1, "rung": "head", "cause": "much <b>is</b> wrong"}
        row.card_sha256 = parts.blobs.put(b"# Card")
    said = page.get(f"/models/{MODEL}").text
    assert '<span class="alias">champion</span>' in said
    assert f'href="/api/v1/models/{MODEL}/versions/2/card"' in said
    assert "/sbom" not in said
    assert "much &lt;b&gt;is&lt;/b&gt; wrong" in said
    assert page.get(f"/api/v1/models/{MODEL}/versions/2/card").text == "# Card"
    assert f"/models/{MODEL}/compare?versions=2,1" in said


def test_a_tree_forks_where_versions_do() -> None:
    """Versions in a row are one line; where one was the parent of two the tree goes on twice, and a version
    whose parent is not here is a root.
    """
    parents = {1: 0, 2: 1, 3: 2, 4: 2, 5: 4, 6: 9}
    rows = [
        ModelVersion(model="m", version=version, state="ready", source="push", parent=parent, created_at=1.0)
        for version, parent in parents.items()
    ]
    orphan, root = tree_of(rows, {3: ("champion",)})
    assert [leaf.version for leaf in orphan.line] == [6]
    assert [leaf.version for leaf in root.line] == [1, 2]
    assert [[leaf.version for leaf in branch.line] for branch in root.branches] == [[4, 5], [3]]
    assert root.branches[1].line[0].aliases == ("champion",)
