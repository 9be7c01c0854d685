"""The licence gate: nothing is compiled whose licence, or that of a part of it, nobody has allowed.

What is judged are SPDX licence expressions (SPDX 3.0.1, annex B, the form that ``packaging`` reads): of the
model itself and of what it was made from, as ``[model] licence`` and ``[licence] parts`` state them, and the
one that the model's own file carries in its metadata. ``[model] licence`` is one text for both::

    Apache-2.0; trained on Fashion-MNIST, MIT

The first clause is the model's own licence; each other names a part and, after its last comma, that part's.
Of an expression with OR one side has to be allowed, of one with AND both. An exception (WITH) only gives more
rights, so it is allowed with the licence that it belongs to.

A licence that is missing or is no SPDX expression is *unknown*. ``[licence] unknown`` says what follows: a
refusal, or a note in the model card and in the bill of materials. A text of one's own is written as
``LicenseRef-NAME``, and allowed by that name.

This is a check of what was stated, not legal advice: nobody here reads a licence's text.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from edgewright.controller.errors import LicenceRefusedError, ModelTomlError
from edgewright.controller.model_toml import LicencePart

THE_MODEL: Final = "the model"
THE_FILE: Final = "the model's file, by its own metadata,"
METADATA_KEYS: Final = ("license", "licence")
"""Under which of these keys exporters write a licence, compared without regard to case."""

_WRITTEN: Final = {
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "bsd 3-clause": "BSD-3-Clause",
}
"""How exporters write the commonest ones where they do not use SPDX's names."""

_UNKNOWN: Final = frozenset({"", "unknown", "noassertion", "none"})
_TOKEN: Final = re.compile(r"[()]|[^\s()]+")

_NAMED: Final = re.compile(
    r"(?P<name>.+?) licen[cs]e(?:[ .,()<>-]|https?://[^ ()<>]++)*+", flags=re.IGNORECASE
)
"""A name, the word that exporters put after it, and nothing else but an address."""


class Stated(NamedTuple):
    """One part and its licence.

    Attributes:
        part: in words.
        expression: canonical SPDX expression, empty where the licence is unknown.
        text: what was written.
    """

    part: str
    expression: str
    text: str


def read_licences(text: str, policy: LicencePart, metadata: str = "") -> tuple[Stated, ...]:
    """What was stated about the model, its parts and, where its metadata tells, its file.

    Args:
        text: ``[model] licence``.
        policy: ``[licence]``, whose ``parts`` come after those in the text.
        metadata: the licence in the model file's own metadata, empty for none.
    """
    first, *others = [clause.strip() for clause in text.split(";")]
    found = [_stated(THE_MODEL, first)]
    for clause in filter(None, others):
        name, _, licence = clause.rpartition(",")
        found.append(_stated(_part_name(name), licence) if name else _stated(_part_name(clause), ""))
    found += [_stated(_part_name(name), licence) for name, licence in sorted(policy.parts.items())]
    if metadata.strip():
        found.append(_stated(THE_FILE, metadata))
    return tuple(found)


def check_licence(text: str, policy: LicencePart, metadata: str = "") -> tuple[str, ...]:
    """The gate. Returns notes: sentences about what was let through although somebody should know of it.

    Args:
        text: ``[model] licence``.
        policy: ``[licence]``.
        metadata: the licence in the model file's own metadata, empty for none.

    Raises:
        LicenceRefusedError: a licence is not allowed, or unknown where unknown ones are refused; the sentence
            names the part.
        ModelTomlError: ``[licence] allow`` has an entry that is no SPDX licence.
    """
    allowed = frozenset(_allowed(policy))
    stated, notes = read_licences(text, policy, metadata), []
    for one in stated:
        if one.expression:
            _check_allowed(one, allowed)
        else:
            notes.append(_unknown_sentence(one))
    if notes and policy.unknown == "refuse":
        raise LicenceRefusedError(notes[0])
    own = stated[0]
    notes += [
        f"The model's file says {one.expression} in its metadata, model.toml says {own.text}."
        for one in stated
        if one.part == THE_FILE and one.expression and one.expression != own.expression
    ]
    return tuple(notes)


def spdx_expression(text: str) -> str:
    """The canonical SPDX expression in a text, empty where it holds none.

    >>> spdx_expression("mit or apache-2.0")
    'MIT OR Apache-2.0'
    >>> spdx_expression("AGPL-3.0 License (https://example.com)")
    'AGPL-3.0'
    >>> spdx_expression("MIT License AND GPL-3.0-only")
    ''
    >>> spdx_expression("free for research")
    ''
    """
    text = " ".join(text.split())
    if text.lower() in _UNKNOWN:
        return ""
    written = _WRITTEN.get(text.lower(), text)
    # What follows the word may be another licence: a text that goes on is left to a person.
    named = _NAMED.fullmatch(written)
    for candidate in (written, named["name"] if named else ""):
        try:
            return str(canonicalize_license_expression(candidate))
        except InvalidLicenseExpression:
            continue
    return ""


def is_allowed(expression: str, allowed: frozenset[str]) -> bool:
    """Whether a canonical expression can be used under licences that are all allowed.

    >>> is_allowed("MIT OR GPL-3.0-only", frozenset({"MIT"}))
    True
    >>> is_allowed("MIT AND (GPL-3.0-only OR Apache-2.0)", frozenset({"MIT"}))
    False
    """
    tokens = _Tokens(_TOKEN.findall(expression))
    return _any_of(tokens, allowed)


class _Tokens:
    """Tokens of an expression, read from the left; the grammar is ``OR`` over ``AND`` over ``WITH``."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._rest: Iterator[str] = iter(tokens)
        self.now = next(self._rest, "")

    def take(self) -> str:
        """The present token; moves on."""
        taken, self.now = self.now, next(self._rest, "")
        return taken


def _any_of(tokens: _Tokens, allowed: frozenset[str]) -> bool:
    return any(_operands(tokens, allowed, "OR", _all_of))


def _all_of(tokens: _Tokens, allowed: frozenset[str]) -> bool:
    return all(_operands(tokens, allowed, "AND", _one))


def _operands(
    tokens: _Tokens, allowed: frozenset[str], operator: str, read: Callable[[_Tokens, frozenset[str]], bool]
) -> list[bool]:
    # A list: what stops at the first answer would leave the rest of the expression unread.
    found = [read(tokens, allowed)]
    while tokens.now == operator:
        tokens.take()
        found.append(read(tokens, allowed))
    return found


def _one(tokens: _Tokens, allowed: frozenset[str]) -> bool:
    name = tokens.take()
    if name == "(":
        inside = _any_of(tokens, allowed)
        tokens.take()
        return inside
    if tokens.now == "WITH":
        tokens.take()
        tokens.take()
    # "or any later version" includes the version itself.
    return name in allowed or name.removesuffix("+") in allowed


def _stated(part: str, text: str) -> Stated:
    return Stated(part, spdx_expression(text), text.strip())


def _part_name(words: str) -> str:
    return words.strip().removeprefix("trained on ").strip()


def _allowed(policy: LicencePart) -> Iterator[str]:
    for entry in policy.allow:
        try:
            name = str(canonicalize_license_expression(entry))
        except InvalidLicenseExpression:
            name = ""
        if not name or " " in name:
            raise ModelTomlError(f"[licence] allow: {entry!r} is no SPDX identifier of one licence.")
        yield name


def _check_allowed(one: Stated, allowed: frozenset[str]) -> None:
    if not is_allowed(one.expression, allowed):
        raise LicenceRefusedError(f"The licence of {one.part} is {one.expression}, which is not allowed.")


def _unknown_sentence(one: Stated) -> str:
    if one.text.lower() in _UNKNOWN:
        return f"The licence of {one.part} is not stated."
    return f"The licence of {one.part} is written as {one.text[:80]!r}, which is no SPDX expression."
