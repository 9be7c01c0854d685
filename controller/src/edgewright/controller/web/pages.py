"""The pages' routes: HTML by GET, orders by forms, the login, and the static files."""

from collections.abc import Callable
from typing import Annotated, Any, Final
from urllib.parse import parse_qs, urlencode

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from sse_starlette import EventSourceResponse

from edgewright.controller.api.access import (
    COOKIE,
    COOKIE_LIFE_S,
    access_of,
    authorise,
    authorise_form,
    verify_origin,
)
from edgewright.controller.api.seams import RolloutOrders, Services
from edgewright.controller.errors import NotAuthorisedError, UnknownAddressError
from edgewright.controller.web import rows
from edgewright.controller.web.charts import DEFAULT_SINCE_S, MAX_SINCE_S
from edgewright.controller.web.live import open_live, stream
from edgewright.controller.web.references import References
from edgewright.controller.web.rendering import ASSETS, STATIC, render
from edgewright.controller.web.views import VIEWS, Source

Since = Annotated[int, Query(ge=60, le=MAX_SINCE_S)]
MAX_PAGE: Final = 1_000_000
PageNumber = Annotated[int, Query(ge=1, le=MAX_PAGE)]

MAX_LOGIN_BYTES: Final = 4096
ORDERED_BY: Final = "Ordered on the page."

ORDERS: Final[dict[str, Callable[[RolloutOrders, int], Any]]] = {
    "pause": lambda rollouts, number: rollouts.pause(number, ORDERED_BY),
    "resume": lambda rollouts, number: rollouts.resume(number),
    "abort": lambda rollouts, number: rollouts.abort(number, ORDERED_BY),
    "rollback": lambda rollouts, number: rollouts.rollback(number),
}
"""What each button of a rollout's page does."""

STATIC_FILES: Final = {
    **{name: STATIC / name for name in ("edgewright.css", "edgewright.js", "favicon.svg")},
    **{
        name: ASSETS / name
        for name in (
            "htmx.min.js",
            "htmx-ext-sse.min.js",
            "idiomorph-ext.min.js",
            "uplot.iife.min.js",
            "uplot.min.css",
            "inter.woff2",
        )
    },
}
"""Everything that is served beside pages; no path of a request ever reaches the file system."""


def create_pages(services: Services, references: References) -> APIRouter:
    """All routes of the pages."""
    router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    _add_open_routes(router)
    _add_views(router, services, references)
    _add_orders(router, services)
    return router


def _add_open_routes(router: APIRouter) -> None:
    @router.get("/static/{name}")
    def static_file(name: str) -> Response:
        path = STATIC_FILES.get(name)
        if path is None or not path.is_file():
            raise UnknownAddressError(f"There is no static file {name!r}.")
        return FileResponse(path, headers={"Cache-Control": "no-cache"})

    @router.get("/login")
    def login() -> str:
        return render("login.html", {"failed": False})

    @router.post("/login", dependencies=[Depends(verify_origin)])
    async def log_in(request: Request) -> Response:
        # One short field; a form parser would be one more dependency.
        fields = parse_qs((await request.body())[:MAX_LOGIN_BYTES].decode(errors="replace"))
        if not access_of(request).knows_token(fields.get("token", [""])[0].strip()):
            return HTMLResponse(render("login.html", {"failed": True}), 401)
        return _with_session(request, "/")


def _with_session(request: Request, target: str) -> Response:
    answer = RedirectResponse(target, 303)
    answer.set_cookie(
        COOKIE, access_of(request).session, max_age=COOKIE_LIFE_S, httponly=True, samesite="strict"
    )
    return answer


def _add_views(router: APIRouter, services: Services, references: References) -> None:
    def page(name: str, key: str, since_s: int, number: int = 1) -> str:
        view = VIEWS[name]
        context = view.load(Source(services, references, rows.now(), number), key, since_s)
        query = urlencode({"key": key, "since": since_s, "page": number})
        return render(view.template, {**context, "live": f"/live/{name}?{query}"})

    @router.get("/")
    def overview(
        request: Request,
        since: Since = DEFAULT_SINCE_S,
        model: str = "",
        token: str = "",
        number: Annotated[int, Query(ge=1, le=MAX_PAGE, alias="page")] = 1,
    ) -> Response:
        if token:
            if not access_of(request).knows_token(token):
                raise NotAuthorisedError("The token in the address is wrong.")
            return _with_session(request, "/")
        authorise(request)
        return HTMLResponse(page("overview", model, since, number))

    reading = [Depends(authorise)]
    lists = {"/models": "models", "/rollouts": "rollouts"}
    for address, name in lists.items():
        router.add_api_route(address, _list_page(page, name), dependencies=reading)
    details = {"/devices/{key}": "device", "/models/{key}": "model", "/rollouts/{key}": "rollout"}
    for address, name in details.items():
        router.add_api_route(address, _detail_page(page, name), dependencies=reading)

    @router.get("/live/{name}", dependencies=reading)
    async def live(
        name: str, key: str = "", since: Since = DEFAULT_SINCE_S, page: PageNumber = 1
    ) -> EventSourceResponse:
        if name not in VIEWS:
            raise UnknownAddressError(f"There is no live page {name!r}.")
        source = open_live(VIEWS[name], services, references, key, since, page)
        return EventSourceResponse(stream(source), headers={"Cache-Control": "no-store"})


def _list_page(page: Callable[[str, str, int], str], name: str) -> Callable[[], str]:
    def show() -> str:
        return page(name, "", DEFAULT_SINCE_S)

    return show


def _detail_page(page: Callable[[str, str, int], str], name: str) -> Callable[..., str]:
    def show(key: str, since: Since = DEFAULT_SINCE_S) -> str:
        return page(name, key, since)

    return show


def _add_orders(router: APIRouter, services: Services) -> None:
    @router.post("/rollouts/{number}/{order}", dependencies=[Depends(authorise_form)])
    def order_rollout(number: int, order: str) -> Response:
        if order not in ORDERS:
            raise UnknownAddressError(f"A rollout takes no order {order!r}.")
        following = ORDERS[order](services.rollouts, number)
        return RedirectResponse(f"/rollouts/{following or number}", 303)
