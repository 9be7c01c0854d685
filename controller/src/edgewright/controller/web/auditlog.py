"""The audit log for the eye: entries as lines, and their number over time as bars."""

import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from edgewright.controller.database.tables import AuditEntry
from edgewright.controller.web.words import Word, audit_sentence, outcome_word, plural


class Span(NamedTuple):
    """How far back the picture goes, and how much time one bar stands for."""

    days: int
    bucket_s: int
    label: str

    def start(self, now: float) -> float:
        """Where the first bar begins: at a whole bucket."""
        return (now // self.bucket_s - self.bars + 1) * self.bucket_s

    @property
    def bars(self) -> int:
        """How many there are."""
        return round(self.days * 86400 / self.bucket_s)


SPANS: Final = (Span(1, 1800, "1 day"), Span(7, 4 * 3600, "1 week"), Span(30, 86400, "30 days"))


class Bar(msgspec.Struct, frozen=True):
    """One step of time.

    Attributes:
        done, refused: numbers of entries.
        height, refused_height: of the bar and of its refused part at the bottom, from 0 to 1.
        said: when, and how many, in words.
    """

    done: int
    refused: int
    height: float
    refused_height: float
    said: str


class Line(msgspec.Struct, frozen=True):
    """One entry."""

    seq: int
    at: float
    actor: str
    role: str
    action: str
    subject: str
    word: Word
    said: str
    sha256: str


def line_of(row: AuditEntry) -> Line:
    """A row in words."""
    return Line(
        seq=row.seq,
        at=row.at,
        actor=row.actor,
        role=row.role,
        action=row.action,
        subject=row.subject,
        word=outcome_word(row.outcome),
        said=audit_sentence(row.detail),
        sha256=row.sha256,
    )


def bars_of(counts: Mapping[int, tuple[int, int]], span: Span, now: float) -> Sequence[Bar]:
    """The picture: one bar a bucket, oldest first, the tallest one as high as the picture."""
    tallest = max((done + refused for done, refused in counts.values()), default=0) or 1
    return [
        _bar(counts.get(i, (0, 0)), tallest, span.start(now) + i * span.bucket_s) for i in range(span.bars)
    ]


def _bar(count: tuple[int, int], tallest: int, at: float) -> Bar:
    done, refused = count
    when = time.strftime("%-d %b %H:%M", time.localtime(at))
    said = f"{when}: {plural(done, 'change')}" + (f", {refused} refused" if refused else "")
    return Bar(done, refused, (done + refused) / tallest, refused / tallest, said)
