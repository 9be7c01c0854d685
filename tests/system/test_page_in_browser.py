"""The page in a real browser: it draws, stays live, fits a phone, and asks nobody else."""

import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgewright.controller.database.tables import Event
from edgewright.controller.people.service import People
from tests.controller.parts import TOKEN, Parts, make_parts
from tests.controller.served import served
from tests.controller.storyline import MODEL, tell
from tests.system.browser import CHROMIUM, Browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed"),
]

PAGES = (
    "/",
    "/models",
    f"/models/{MODEL}",
    f"/models/{MODEL}/compare?versions=1,2",
    "/targets",
    "/rollouts",
    "/rollouts/2",
    "/devices/robot-1",
    "/devices/nobody",
    "/people",
    "/audit",
)
# A page that is still being parsed has no lamp yet: that is "not live", not a fault.
IS_LIVE = "document.getElementById('live')?.dataset.state === 'on'"
IS_DRAWN = "document.querySelectorAll('.plot canvas').length === 2"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """A controller's application in the middle of the story."""
    made = make_parts(tmp_path_factory.mktemp("data"))
    tell(made.db, made.blobs, time.time() - 362.0, 362.0)
    yield made
    made.db.close()


@pytest.fixture(scope="module")
def address(parts: Parts) -> Iterator[str]:
    """Where it listens."""
    with served(parts) as listening:
        yield listening


@pytest.fixture(scope="module")
def viewer(parts: Parts) -> str:
    """Token of somebody who may look and nothing else."""
    return People(parts.db, parts.data / "api-token").tokens.add("Wall screen", "viewer").text


@pytest.fixture
def browser(tmp_path: Path, address: str) -> Iterator[Browser]:
    """A browser with a session."""
    with Browser(tmp_path / "profile") as opened:
        opened.look(1440, 1000)
        opened.open(f"{address}/?token={TOKEN}")
        yield opened


def test_the_overview_draws_its_charts(browser: Browser) -> None:
    """Both charts are drawn, with a legend a version, and no script complains."""
    browser.until(IS_DRAWN)
    legend = browser.evaluate("document.querySelector('[data-legend=mispack]').textContent")
    assert "v1" in legend
    assert "v2" in legend
    assert browser.evaluate("document.querySelectorAll('#fleet tbody tr').length") == 4
    assert browser.evaluate("document.fonts.check('14px Inter')")
    assert browser.complaints == []


def log_in(browser: Browser, address: str, token: str) -> None:
    """Type a token at the login and wait for what comes."""
    browser.open(f"{address}/login")
    browser.evaluate(f"document.getElementById('token').value = '{token}'")
    browser.evaluate("document.querySelector('form').requestSubmit()")
    browser.until(
        "document.readyState === 'complete'"
        " && (location.pathname === '/' || document.getElementById('failed') !== null)"
    )


def visit(browser: Browser, address: str, path: str) -> None:
    """Open a page, query included, and wait until it is whole."""
    browser.open(address + path)
    browser.until(f"document.readyState === 'complete' && location.pathname + location.search === '{path}'")


def test_a_viewer_sees_and_orders_nothing(browser: Browser, address: str, viewer: str) -> None:
    """After logging in with a viewer's token every page is there, and the only order is the logout."""
    log_in(browser, address, viewer)
    for path in PAGES:
        visit(browser, address, path)
        # A form that only asks, such as the choice of versions to compare, is no order.
        orders = "[...document.forms].filter((form) => form.method !== 'get')"
        actions = browser.evaluate(f"{orders}.map((form) => form.getAttribute('action'))")
        assert set(actions) <= {"/logout"}, path
    assert browser.evaluate("document.body.innerText.includes('takes an admin')")
    browser.open(f"{address}/")
    links = browser.evaluate("[...document.querySelectorAll('.top nav a')].map((a) => a.textContent)")
    assert links == ["Fleet", "Models", "Targets", "Rollouts"]


def test_an_admin_is_asked_before_a_device_is_revoked(browser: Browser, address: str) -> None:
    """The button opens a form with what will happen; the browser itself wants the reason."""
    browser.open(f"{address}/devices/robot-1")
    browser.until("location.pathname === '/devices/robot-1'")
    form = "document.querySelector('form[action$=\"/revoke\"]')"
    assert not browser.evaluate(f"{form}.checkVisibility()")
    browser.evaluate("document.querySelector('.ask summary').click()")
    assert browser.evaluate(f"{form}.checkVisibility()")
    assert not browser.evaluate(f"{form}.checkValidity()")
    assert "comes back by a new enrolment" in browser.evaluate(f"{form}.innerText")


def test_a_live_page_ends_with_its_session(browser: Browser, address: str, parts: Parts, viewer: str) -> None:
    """When the token is revoked the open page stops being live, and the next click leads to the login."""
    log_in(browser, address, viewer)
    browser.until(IS_LIVE)
    People(parts.db, parts.data / "api-token").tokens.revoke(viewer.split("_")[1])
    browser.until("document.getElementById('live')?.dataset.state === 'off'")
    browser.open(f"{address}/models")
    browser.until("location.pathname === '/login'")


def test_nobody_else_is_asked(browser: Browser, address: str) -> None:
    """Everything that the page loads comes from the controller."""
    browser.until(IS_DRAWN)
    assert len(browser.requested) >= 9
    own = (address, "about:", "data:")
    assert [asked for asked in browser.requested if not asked.startswith(own)] == []


def test_what_happens_appears_by_itself(browser: Browser, parts: Parts) -> None:
    """A new event stands on the open page without a reload."""
    browser.until(IS_LIVE)
    browser.evaluate("window.untouched = true")
    with parts.db.session() as session:
        session.add(Event(at=time.time(), kind="device.event", sentence="A robot waved.", device="robot-1"))
    browser.until("document.getElementById('feed')?.textContent.includes('A robot waved.')")
    assert browser.evaluate("window.untouched")
    assert browser.complaints == []


def test_a_hidden_page_holds_no_stream(browser: Browser) -> None:
    """The stream is closed while the page is hidden and open again when it is shown."""
    browser.until(IS_LIVE)
    hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
    tell_page = "document.dispatchEvent(new Event('visibilitychange'))"
    browser.evaluate(hide % "true" + tell_page)
    assert browser.evaluate("document.getElementById('live').textContent") == "paused"
    browser.evaluate(hide % "false" + tell_page)
    browser.until(IS_LIVE)


@pytest.mark.parametrize("width", [390, 768, 1440])
def test_no_page_is_wider_than_its_screen(browser: Browser, address: str, width: int) -> None:
    """On a phone, a tablet and a desk nothing has to be scrolled sideways."""
    browser.look(width, 844)
    for path in PAGES:
        visit(browser, address, path)
        assert browser.evaluate("document.documentElement.scrollWidth") <= width, path


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_follows_the_colour_scheme(browser: Browser, dark: bool) -> None:
    """The picture is light by day and dark by night, and is no blank sheet."""
    browser.look(1440, 1000, dark=dark)
    browser.until(IS_DRAWN)
    image = cv2.imdecode(np.frombuffer(browser.picture(), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    assert image.shape == (1000, 1440)
    assert (np.median(image) < 60) if dark else (np.median(image) > 200)
    assert len(np.unique(image)) > 50


def test_the_page_reads_without_scripts(browser: Browser, address: str) -> None:
    """With scripts off the page still tells the story, charts included."""
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(f"{address}/")
    text = browser.evaluate("document.body.innerText")
    assert f"Rolling out the fix, {MODEL} v2" in text
    assert text.count("No telemetry in this range yet.") == 0
    assert browser.evaluate("document.querySelectorAll('noscript table').length") == 2
