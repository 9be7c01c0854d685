"""The pages' routes: HTML by GET, the live streams, and what the other files of this folder add."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, Response
from sse_starlette import EventSourceResponse

from edgewright.controller.api.access import Asking, Need, need, present_person
from edgewright.controller.api.seams import Services
from edgewright.controller.errors import UnknownAddressError
from edgewright.controller.people.person import Person
from edgewright.controller.web import rows
from edgewright.controller.web.charts import DEFAULT_SINCE_S, MAX_SINCE_S
from edgewright.controller.web.comparepage import add_compare_page
from edgewright.controller.web.entry import NeedOrLink, add_entry, with_session
from edgewright.controller.web.labelpage import add_label_page
from edgewright.controller.web.live import open_live, stream
from edgewright.controller.web.orders import add_orders
from edgewright.controller.web.peoplepages import add_people_pages
from edgewright.controller.web.rebuildpage import add_rebuild_page
from edgewright.controller.web.references import References
from edgewright.controller.web.rendering import render
from edgewright.controller.web.views import VIEWS, Source

Since = Annotated[int, Query(ge=60, le=MAX_SINCE_S)]
MAX_PAGE: Final = 1_000_000
PageNumber = Annotated[int, Query(ge=1, le=MAX_PAGE)]

Show = Callable[..., str]
"""Renders for a person: the name of the view, its key, the charts' span in seconds, the page of a list."""


def create_pages(services: Services, references: References) -> APIRouter:
    """All routes of the pages."""
    router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    add_entry(router)
    _add_views(router, services, references)
    _add_live(router, services, references)
    add_orders(router, services)
    add_people_pages(router, services)
    add_compare_page(router, services)
    add_label_page(router, services)
    add_rebuild_page(router, services)
    return router


def _add_views(router: APIRouter, services: Services, references: References) -> None:
    def page(person: Person, name: str, key: str, since_s: int, number: int = 1) -> str:
        view = VIEWS[name]
        context = view.load(Source(services, references, rows.now(), person, number), key, since_s)
        query = urlencode({"key": key, "since": since_s, "page": number})
        return render(view.template, {**context, "live": f"/live/{name}?{query}"})

    @router.get("/", dependencies=[Depends(NeedOrLink("page.read"))])
    def overview(
        request: Request,
        since: Since = DEFAULT_SINCE_S,
        model: str = "",
        token: str = "",
        number: Annotated[int, Query(ge=1, le=MAX_PAGE, alias="page")] = 1,
    ) -> Response:
        if token:
            return with_session(request, token)
        return HTMLResponse(page(present_person(request), "overview", model, since, number))

    reading = [need("page.read")]
    lists = {"/models": "models", "/targets": "targets", "/rollouts": "rollouts"}
    for address, name in lists.items():
        router.add_api_route(address, _list_page(page, name), dependencies=reading)
    details = {
        "/devices/{key}": "device",
        "/models/{key}": "model",
        "/models/{key}/health": "health",
        "/rollouts/{key}": "rollout",
    }
    for address, name in details.items():
        router.add_api_route(address, _detail_page(page, name), dependencies=reading)


def _add_live(router: APIRouter, services: Services, references: References) -> None:
    reads = Need("page.read")

    @router.get("/live/{name}", dependencies=[Depends(reads)])
    async def live(
        request: Request, name: str, key: str = "", since: Since = DEFAULT_SINCE_S, page: PageNumber = 1
    ) -> EventSourceResponse:
        if name not in VIEWS:
            raise UnknownAddressError(f"There is no live page {name!r}.")
        # Asked again for each look, so that a stream ends with its session.
        who = partial(reads.person, request)
        source = open_live(VIEWS[name], services, references, who, key, since, page)
        return EventSourceResponse(stream(source), headers={"Cache-Control": "no-store"})


def _list_page(page: Show, name: str) -> Callable[[Person], str]:
    def show(person: Asking) -> str:
        return page(person, name, "", DEFAULT_SINCE_S)

    return show


def _detail_page(page: Show, name: str) -> Callable[..., str]:
    def show(person: Asking, key: str, since: Since = DEFAULT_SINCE_S) -> str:
        return page(person, name, key, since)

    return show
