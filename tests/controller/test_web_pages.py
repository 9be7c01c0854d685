"""The pages as documents: what they hold, that they are well formed, and what their live stream sends."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from fastapi.testclient import TestClient

from edgewright.controller.api.app import create_app
from edgewright.controller.database.tables import Device, Event, Outcome, Position, Rollup
from edgewright.controller.ingest.told import Told
from edgewright.controller.people.person import Person
from edgewright.controller.people.roles import Role
from edgewright.controller.web import rows
from edgewright.controller.web.entry import STATIC_FILES
from edgewright.controller.web.live import open_live
from edgewright.controller.web.references import References
from edgewright.controller.web.views import LARGE_FLEET, VIEWS, load_charts
from edgewright.wire import messages
from tests.controller.parts import TOKEN, Parts, make_parts
from tests.controller.storyline import MODEL, tell

VOID = {"meta", "link", "input", "br", "rect", "circle"}
PAGES = [
    "/",
    "/?since=86400",
    "/models",
    f"/models/{MODEL}",
    f"/models/{MODEL}/health",
    f"/models/{MODEL}/compare",
    f"/models/{MODEL}/compare?versions=1,2",
    "/targets",
    "/rollouts",
    "/rollouts/2",
    "/devices/robot-1",
]


@dataclass
class Document(HTMLParser):
    """A parsed page: elements with attributes, headings with text; complains about broken nesting."""

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["script"]:
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def parse(html: str) -> Document:
    """Read a page; every element has to be closed."""
    document = Document()
    document.feed(html)
    document.close()
    assert document.open == []
    return document


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


def admin() -> Person:
    """Whoever may order everything."""
    return Person("local", "local admin", Role.ADMIN)


def told(parts: Parts, until: float = 362.0) -> None:
    """Tell the story until now."""
    tell(parts.db, parts.blobs, time.time() - until, until)


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_a_sound_document(client: TestClient, parts: Parts, path: str) -> None:
    """One language, one h1, one main, scoped headers, unique ids, nothing inline to run or to style."""
    told(parts)
    answer = client.get(path)
    assert answer.status_code == 200
    page = parse(answer.text)
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == len(page.all("main")) == 1
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all("scope" in attributes for attributes in page.all("th"))
    assert not [a for _, a in page.elements if "style" in a or any(name.startswith("on") for name in a)]
    assert all("src" in a or a.get("type") == "application/json" for a in page.all("script"))
    for svg in page.all("svg"):
        assert "aria-label" in svg or svg.get("aria-hidden") == "true"
    for bar in page.all("progress"):
        assert bar["aria-label"]
        assert 0 <= float(bar["value"] or "") <= 1


@pytest.mark.parametrize("path", PAGES)
def test_no_page_asks_another_host(client: TestClient, parts: Parts, path: str) -> None:
    """All that a page loads lies below its own root and is there."""
    told(parts)
    page = parse(client.get(path).text)
    addresses = [
        a.get("src") or a.get("href") or "" for tag in ("script", "link", "a") for a in page.all(tag)
    ]
    for address in filter(None, addresses):
        assert address[0] in "/?#", address
        if address.startswith("/static/"):
            assert address.removeprefix("/static/") in STATIC_FILES


def test_links_between_pages_lead_somewhere(client: TestClient, parts: Parts) -> None:
    """Every link of the overview, the model, the rollout and the device answers."""
    told(parts)
    seen = set()
    for path in ("/", "/models", f"/models/{MODEL}", "/rollouts", "/rollouts/2", "/devices/robot-1"):
        seen |= {
            a["href"] for a in parse(client.get(path).text).all("a") if (a["href"] or "").startswith("/")
        }
    assert len(seen) >= 9
    for address in sorted(filter(None, seen)):
        assert client.get(address).status_code == 200, address


def test_the_overview_tells_the_story(client: TestClient, parts: Parts) -> None:
    """In the middle of the fix: the headline, each robot with its version, the wave's gate, the events."""
    told(parts)
    words = parse(client.get("/").text).words
    assert f"Rolling out the fix, {MODEL} v2: 1 of 4 robots run it." in words
    assert "4 / 4" in words
    assert "3 on v1, 1 on v2" in words
    assert "41 of 41 labelled items right on robot-1" in words
    assert f"Rebuild 1 of {MODEL} is queued." in words
    for robot in ("robot-1", "robot-2", "robot-3", "robot-4"):
        assert robot in words


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/", "edgewright token"),
        ("/models", "edgewright push models/garment-packing"),
        ("/rollouts", "edgewright push models/garment-packing --rollout"),
    ],
)
def test_an_empty_page_says_what_to_do_next(client: TestClient, path: str, said: str) -> None:
    """Where there is nothing yet, the page names the command that changes it."""
    assert said in parse(client.get(path).text).words


def test_a_large_fleet_comes_in_pages_with_the_troubled_first(tmp_path: Path) -> None:
    """Fifty robots a page, failed and lost ones first; each stands on one page, and the counts are of all."""
    parts = make_parts(tmp_path)
    with parts.db.session() as session:
        for i in range(120):
            session.add(
                Device(
                    id=f"r{i:03d}", target="t", last_seen=1.0, connected=i != 110, active_version=1 + i % 2
                )
            )
        session.flush()
        session.get_one(Device, "r115").state = "failed"
    client = TestClient(create_app(parts), base_url="http://127.0.0.1", follow_redirects=True)
    client.get(f"/?token={TOKEN}")
    listed: list[str] = []
    for number, size in ((1, 50), (2, 50), (9, 20)):
        document = parse(client.get(f"/?page={number}").text)
        shown = [str(a["id"]) for a in document.all("tr") if str(a.get("id")).startswith("device-")]
        assert len(shown) == size
        listed += shown
        assert "119 / 120" in document.words
        assert "60 on v1, 60 on v2" in document.words
    assert listed[:3] == ["device-r115", "device-r110", "device-r000"]
    assert len(set(listed)) == 120
    parts.db.close()


def test_present_figures_are_of_the_versions_that_run(tmp_path: Path) -> None:
    """What a replaced version did in the last minute does not colour the present figures."""
    parts = make_parts(tmp_path)
    with parts.db.session() as session:
        session.add(Device(id="a", target="t", active_model="m", active_version=2))
        for version, wrong in ((1, 10), (2, 1)):
            session.add(
                Outcome(
                    model="m", version=version, ts=95.0, device="a", seq=version, labelled=10, wrong=wrong
                )
            )
    with parts.db.reading() as session:
        found = rows.fleet_activity(session, 90.0)
    assert (found.labelled, found.wrong, found.frames) == (10, 1, 0)
    parts.db.close()


def test_a_large_fleet_is_charted_from_the_sums_per_minute(tmp_path: Path) -> None:
    """The chart of a large fleet reads rollups although its span is short; a small one's reads windows."""
    parts = make_parts(tmp_path)
    with parts.db.session() as session:
        session.add(
            Rollup(
                bucket=120.0, resolution=60, model="m", version=1, labelled=10, wrong=1, confidence_count=1
            )
        )
    with parts.db.reading() as session:
        assert not load_charts(session, "m", 300, {}, 200.0).mispack
    with parts.db.session() as session:
        for i in range(LARGE_FLEET + 1):
            session.add(Device(id=f"r{i}", target="t"))
    with parts.db.reading() as session:
        (series,) = load_charts(session, "m", 300, {}, 200.0).mispack
    assert 0.1 in series.values
    parts.db.close()


def test_the_charts_are_readable_without_scripts(client: TestClient, parts: Parts) -> None:
    """Both charts stand on the page as tables for a browser that runs no script."""
    told(parts)
    html = client.get("/").text
    assert html.count("<noscript>") == 2
    table = html.split("<noscript>")[1].split("</noscript>")[0]
    assert table.count("<tr>") == 13
    assert "v2" in table


def test_a_robots_page_has_its_history(client: TestClient, parts: Parts) -> None:
    """Each deployment with bytes and swap gap, newest first."""
    told(parts)
    words = parse(client.get("/devices/robot-1").text).words
    assert words.index("Rollout 2") < words.index("Rollout 1")
    assert "9.1 kB" in words
    assert "2.1 ms" in words


def test_a_robots_page_says_what_is_missing(client: TestClient, parts: Parts) -> None:
    """What waits on the device, what it gave up and when, whatever numbers it tells."""
    told(parts)
    with parts.db.session() as session:
        row = session.get_one(Device, "robot-1")
        row.stream = "s"
        session.add(Position(device="robot-1", stream="s", accounts={"window": [20, 3, 12]}))
        lost = messages.Lost(
            device="robot-1",
            stream="s",
            seq=1,
            what="window",
            since=1e9,
            until=2.0**53,
            messages=12,
            frames=99,
            why="The outbox was full.",
        )
        Told(session, 0.0).loss(row, lost)
        Told(session, 0.0).loss(row, msgspec.structs.replace(lost, seq=2, until=1e9 + 60))
    words = parse(client.get("/devices/robot-1").text).words
    assert "3 windows" in words
    assert "12 windows between 9 Sep 2001" in words
    assert "given up by the device" in words
    answer = client.get("/api/v1/devices/robot-1/telemetry").json()
    assert (answer["waiting"], answer["given_up"]) == ({"window": 3}, {"window": 12})
    assert [loss["frames"] for loss in answer["losses"]] == [99, 99]


def test_a_models_page_has_sizes_deltas_and_verdicts(client: TestClient, parts: Parts) -> None:
    """Artifacts with sizes, deltas as a share, and a sentence for each gate, refused ones included."""
    told(parts)
    words = parse(client.get(f"/models/{MODEL}").text).words
    assert "612 kB" in words
    assert "6.6 kB from v1, 1.1 %" in words
    assert "FAIL: relative logit error 0.1210 (at most 0.1)" in words


def test_what_people_write_is_escaped(client: TestClient, parts: Parts) -> None:
    """A tag, an event or a reason with markup in it stays text."""
    told(parts)
    nasty = "</script><script>alert(1)</script>"
    with parts.db.session() as session:
        robot = session.get(Device, "robot-1")
        assert robot is not None
        robot.tags = {"site": nasty}
        session.add(robot)
        session.add(Event(at=time.time(), kind="alarm.raised", sentence=nasty, model=MODEL, version=1))
    for path in ("/", "/devices/robot-1"):
        assert "<script>alert" not in client.get(path).text


def test_buttons_order_what_they_say(client: TestClient, parts: Parts) -> None:
    """The page's pause button pauses; the page then offers to resume."""
    told(parts)
    own = {"Origin": "http://127.0.0.1"}
    before = parse(client.get("/rollouts/2").text)
    assert {form["action"] for form in before.all("form")} - {"/logout"} == {
        "/rollouts/2/pause",
        "/rollouts/2/abort",
    }
    assert client.post("/rollouts/2/pause", headers=own).status_code == 200
    after = parse(client.get("/rollouts/2").text)
    assert {form["action"] for form in after.all("form")} - {"/logout"} == {
        "/rollouts/2/resume",
        "/rollouts/2/abort",
    }
    assert client.post("/rollouts/2/explode", headers=own).status_code == 404


@pytest.mark.parametrize("name", ["../rendering.py", "..%2f..%2fapi-token", "nothing.js", ""])
def test_only_known_files_are_served(client: TestClient, name: str) -> None:
    """The static address serves its list and no path."""
    assert client.get(f"/static/{name}").status_code == 404


def test_a_live_stream_sends_what_changed_only(parts: Parts) -> None:
    """The first look sends all regions; without a change nothing follows; a change sends what shows it."""
    told(parts)
    live = open_live(VIEWS["rollout"], parts, References(parts.blobs), admin, "2", 900)
    assert set(live.changes()) == {"orders", "rollout", "feed"}
    assert live.changes() == {}
    with parts.db.session() as session:
        session.add(Event(at=time.time(), kind="rollout.wave", sentence="On it goes.", rollout=2))
    changed = live.changes()
    assert set(changed) == {"feed"}
    assert "On it goes." in changed["feed"]


@pytest.mark.parametrize("name", sorted(VIEWS))
def test_the_stream_sends_what_the_page_shows(client: TestClient, parts: Parts, name: str) -> None:
    """Each live region of a page stands on it under its name, with the very markup that the stream sends."""
    told(parts)
    path, key = {
        "overview": ("/", ""),
        "device": ("/devices/robot-3", "robot-3"),
        "models": ("/models", ""),
        "model": (f"/models/{MODEL}", MODEL),
        "health": (f"/models/{MODEL}/health", MODEL),
        "targets": ("/targets", ""),
        "rollouts": ("/rollouts", ""),
        "rollout": ("/rollouts/1", "1"),
    }[name]
    page = client.get(path).text
    regions = {a["sse-swap"] for _, a in parse(page).elements if "sse-swap" in a}
    assert regions == set(VIEWS[name].regions)
    sent = open_live(VIEWS[name], parts, References(parts.blobs), admin, key, 900).changes()
    steady = [
        region for region in regions if region not in ("fleet", "device", "headline", "tiles", "health")
    ]
    for region in steady:
        assert sent[region or ""] in page
