"""Server-sent events: a page's regions and charts, pushed when they changed, at most once a second.

A browser opens at most six such streams over HTTP/1.1, so the page closes its stream while it is hidden
(edgewright.js) and gets the present state with the first event after it is shown again.
"""

import logging
from collections.abc import AsyncIterator, Callable
from typing import Final

import anyio
import anyio.to_thread
import msgspec
from sse_starlette import ServerSentEvent

from edgewright.controller.api.seams import Services
from edgewright.controller.people.person import Person
from edgewright.controller.web import rows
from edgewright.controller.web.references import References
from edgewright.controller.web.rendering import render
from edgewright.controller.web.views import Source, View
from edgewright.wire.errors import EdgewrightError

logger = logging.getLogger(__name__)

PERIOD_S: Final = 1.0
CHARTS: Final = "charts"
"""Name of the event that carries the charts' data as JSON."""


class Live:
    """One page's stream: remembers what it sent."""

    def __init__(self, load: Callable[[], dict[str, str]]) -> None:
        self._load = load
        self._sent: dict[str, str] = {}

    def changes(self) -> dict[str, str]:
        """Regions that differ from what was sent last, by name."""
        present = self._load()
        changed = {name: text for name, text in present.items() if self._sent.get(name) != text}
        self._sent = present
        return changed


def open_live(
    view: View,
    services: Services,
    references: References,
    who: Callable[[], Person],
    key: str,
    since_s: int,
    page: int = 1,
) -> Live:
    """The stream of one page; ``who`` says whose it is, and raises once nobody is known any more."""

    def load() -> dict[str, str]:
        context = view.load(Source(services, references, rows.now(), who(), page), key, since_s)
        texts = {name: render(template, context) for name, template in view.regions.items()}
        if "charts" in context:
            texts[CHARTS] = msgspec.json.encode(context["charts"]).decode()
        return texts

    return Live(load)


async def stream(live: Live) -> AsyncIterator[ServerSentEvent]:
    """Events until the browser goes away or the page's subject does."""
    while True:
        try:
            changed = await anyio.to_thread.run_sync(live.changes)
        except EdgewrightError as error:
            logger.info("a live page ends: %s", error.sentence)
            return
        for name, text in changed.items():
            yield ServerSentEvent(text, event=name)
        await anyio.sleep(PERIOD_S)
