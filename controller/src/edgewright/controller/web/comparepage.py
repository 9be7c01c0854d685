"""The page that holds versions of a model side by side; all of its state is its address."""

from typing import Annotated, Final, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query

from edgewright.controller import aliases
from edgewright.controller.api.access import Asking, need
from edgewright.controller.api.seams import Services
from edgewright.controller.comparison import MOST_VERSIONS, Comparison, Row, Section, compare
from edgewright.controller.database import Session
from edgewright.controller.versionfacts import gather, read_words
from edgewright.controller.web import rows
from edgewright.controller.web.rendering import render
from edgewright.controller.web.words import mark_word, version_word

DIFFERENCES: Final = "differences"


def add_compare_page(router: APIRouter, services: Services) -> None:
    """The route. One version alone, or none, is a page that asks for more."""

    @router.get("/models/{key}/compare", dependencies=[need("page.read")])
    def show(
        person: Asking,
        key: str,
        versions: Annotated[list[str] | None, Query(max_length=20)] = None,
        only: Literal["", "differences"] = "",
    ) -> str:
        words = read_words(versions or ())
        with services.db.reading() as session:
            names = aliases.names_of(aliases.list_aliases(session, key))
            chosen = tuple(dict.fromkeys(aliases.resolve(session, key, word) for word in words))
            facts = gather(session, services.blobs, key, words) if len(chosen) > 1 else []
            offered = _offered(session, key, names)
        found = compare(key, facts) if facts else None
        context = {
            "person": person,
            "name": key,
            "chosen": chosen,
            "offered": offered,
            "found": _kept(found, only) if found else None,
            "names": names,
            "only": only,
            "everything": "?" + urlencode({"versions": ",".join(words)}),
            "differences": "?" + urlencode({"versions": ",".join(words), "only": DIFFERENCES}),
            "mark": mark_word,
            "most": MOST_VERSIONS,
        }
        return render("compare.html", context)


def _offered(session: Session, model: str, names: dict[int, tuple[str, ...]]) -> list[dict[str, object]]:
    return [
        {"version": row.version, "word": version_word(row.state), "aliases": names.get(row.version, ())}
        # The oldest first: a form sends them in this order, and the first is the base.
        for row in reversed(rows.versions(session, model))
    ]


def _kept(found: Comparison, only: str) -> Comparison:
    if only != DIFFERENCES:
        return found
    sections = (Section(s.title, tuple(filter(_differs, s.rows))) for s in found.sections)
    return Comparison(found.model, found.versions, tuple(s for s in sections if s.rows))


def _differs(row: Row) -> bool:
    return row.differs
