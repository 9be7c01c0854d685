"""Labelling in a real browser: frames go by as fast as keys are pressed, and every answer arrives."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.controller.database import select
from edgewright.controller.database.evidencetables import Label
from tests.controller.labelled_line import CLASSES, MODEL, add_frames, add_line
from tests.controller.parts import TOKEN, Parts, make_parts
from tests.controller.served import served
from tests.system.browser import CHROMIUM, Browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed"),
]

FRAMES = 24
SHOWN = "document.querySelector('#answers input[name=item]').value"
LOADED = (
    "(() => { const p = document.getElementById('picture'); return p.complete && p.naturalWidth === 28; })()"
)


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """An application with random frames and others."""
    made = make_parts(tmp_path / "data")
    with made.db.session() as session:
        add_line(session)
        add_frames(session, made.blobs, FRAMES)
        add_frames(session, made.blobs, 2, "uncertain")
    yield made
    made.db.close()


@pytest.fixture
def page(parts: Parts, tmp_path: Path) -> Iterator[Browser]:
    """The page for labelling, open."""
    with served(parts) as address, Browser(tmp_path / "profile") as browser:
        browser.look(1440, 1000)
        browser.open(f"{address}/?token={TOKEN}")
        browser.open(f"{address}/models/{MODEL}/label")
        browser.until(f"location.pathname.endsWith('/label') && {LOADED}")
        yield browser


def press(page: Browser, key: str) -> None:
    """Press a key and let it go."""
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key=key, text=key if kind == "keyDown" else "")


def stored(parts: Parts) -> dict[str, str]:
    """What was labelled, by item."""
    with parts.db.reading() as session:
        return {row.item: row.truth for row in session.exec(select(Label))}


def test_twenty_frames_by_keyboard(page: Browser, parts: Parts) -> None:
    """Each key labels the frame that is shown, and the next is there at once; no script complains."""
    wanted: dict[str, str] = {}
    for i in range(20):
        page.until(LOADED)
        item = page.evaluate(SHOWN)
        assert item not in wanted
        assert item.startswith("random-")
        wanted[item] = CLASSES[i % 9]
        press(page, str(i % 9 + 1))
        page.until(f"{SHOWN} !== '{item}'")
    page.until("document.getElementById('random').textContent === '20 of 350'")
    assert stored(parts) == wanted
    assert page.complaints == []


def test_what_was_decided_is_hidden_until_the_answer(page: Browser) -> None:
    """Nothing on the page and nothing that it loads tells what the model decided on a random frame."""
    assert "bag" not in page.evaluate("document.getElementById('label-data').textContent")
    assert "decided" not in page.evaluate("document.getElementById('last').textContent")
    press(page, "1")
    page.until("document.getElementById('last').textContent.includes('v1 had decided bag')")
    assert "after your answer" in page.evaluate("document.getElementById('why').textContent")


def test_undo_skip_cannot_tell_and_a_new_class(page: Browser, parts: Parts) -> None:
    """Undo brings the frame back, skip brings another, space is no truth, and a class can be typed."""
    first = page.evaluate(SHOWN)
    press(page, "3")
    page.until(f"{SHOWN} !== '{first}'")
    second = page.evaluate(SHOWN)
    press(page, "z")
    page.until(f"{SHOWN} === '{first}'")
    assert stored(parts) == {}
    press(page, "s")
    page.until(f"{SHOWN} === '{second}'")
    press(page, " ")
    page.until(f"{SHOWN} !== '{second}'")
    third = page.evaluate(SHOWN)
    press(page, "n")
    for character in "hat":
        press(page, character)
    assert page.evaluate("document.getElementById('new').value") == "hat"
    page.call(
        "Input.dispatchKeyEvent",
        type="keyDown",
        key="Enter",
        code="Enter",
        windowsVirtualKeyCode=13,
        text="\r",
    )
    page.until("[...document.querySelectorAll('#classes button')].at(-1).value === 'hat'")
    page.until("document.getElementById('last').textContent.startsWith('You said hat')")
    assert stored(parts) == {second: "", third: "hat"}
    assert page.complaints == []


def test_it_fits_a_phone(page: Browser) -> None:
    """On a narrow screen nothing is wider than the screen, and picture and answers are on it."""
    page.look(390, 844)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("document.querySelector('#classes button').getBoundingClientRect().bottom") < 844
