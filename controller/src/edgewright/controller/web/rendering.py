"""Jinja2: the one file that imports it. Templates see frozen values and the words of ``words``."""

from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from edgewright.controller.web import words

HERE: Final = Path(__file__).parent
TEMPLATES: Final = HERE / "templates"
STATIC: Final = HERE / "static"
ASSETS: Final = HERE / "_assets"

VERSION_HUES: Final = 6
"""How many colours versions take turns in; the stylesheet has one variable each."""


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The environment: everything escaped, an unknown name is an error."""
    env = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("percent", "count", "size", "duration", "clock", "day", "iso", "age"):
        env.filters[name] = getattr(words, name)
    env.filters["json_block"] = json_block
    env.filters["hue"] = hue
    env.filters["query"] = query
    env.globals["plural"] = words.plural
    return env


def render(template: str, context: dict[str, Any]) -> str:
    """A template with its values."""
    return environment().get_template(template).render(context)


def hue(version: int) -> int:
    """Which of the version colours a version has, from 1.

    >>> hue(1), hue(7)
    (1, 1)
    """
    return (version - 1) % VERSION_HUES + 1


def query(values: dict[str, str | int]) -> str:
    """An address of the same page with other values; empty ones are left out.

    >>> query({"model": "", "page": 2})
    '?page=2'
    """
    return "?" + urlencode({name: value for name, value in values.items() if value})


def json_block(value: Any) -> Markup:
    """JSON that can stand in a script element: no character in it can end the element."""
    text = msgspec.json.encode(value).decode()
    for character, escape in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026")):
        text = text.replace(character, escape)
    return Markup(text)  # noqa: S704  # escaped just above
