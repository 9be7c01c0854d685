"""How far the looking at random frames has come for a model, and how the other sources hold against it."""

import time
from datetime import datetime
from typing import Any, Final

import msgspec

from edgewright.controller.database import Session, case, col, func, select
from edgewright.controller.database.evidencetables import Label
from edgewright.controller.database.tables import Sample
from edgewright.controller.evidence.confidence_sequence import rate_interval
from edgewright.controller.evidence.sources import judge_source
from edgewright.controller.labelling import ENOUGH
from edgewright.controller.labels import AUDIT, LINE, has_audit, source_agreement, sources, verify_model

ALPHA: Final = 0.05
"""Of the interval, which holds at all times at once: a person may look at it after every label."""


class VersionLooks(msgspec.Struct, frozen=True):
    """Looks at frames on which one version decided.

    Attributes:
        random: looks at random frames in which a person could tell; ``wrong`` of them contradict the version.
        other: looks at frames that were captured because something was odd about them.
        cannot_tell: random frames in which a person could not tell.
        low, rate, high: the version's error rate on the line; ``rate`` is None before the first look.
        needed: random looks to go until there are enough.
    """

    version: int
    random: int
    wrong: int
    other: int
    cannot_tell: int
    low: float
    rate: float | None
    high: float
    needed: int


class PersonLooks(msgspec.Struct, frozen=True):
    """How many labels somebody gave, and when the last."""

    name: str
    labels: int
    last: float


class SourceLooks(msgspec.Struct, frozen=True):
    """What a source told, and how often it said what a person saw.

    Attributes:
        labels: told of this model; ``unjoined`` of them wait for their sample.
        agree, compared: of the items of which both told.
        believed: False where audits have shown that it errs more often than is tolerated.
        sentence: the same for a person.
    """

    source: str
    labels: int
    unjoined: int
    agree: int
    compared: int
    believed: bool
    sentence: str


class LabelStatus(msgspec.Struct, frozen=True):
    """All of it; versions and people with the newest look first."""

    model: str
    enough: int
    waiting_random: int
    waiting_other: int
    versions: tuple[VersionLooks, ...]
    people: tuple[PersonLooks, ...]
    sources: tuple[SourceLooks, ...]


def label_status(session: Session, model: str) -> LabelStatus:
    """How far the looking has come.

    Raises:
        UnknownModelError: there is no such model.
    """
    verify_model(session, model)
    random, other = count_waiting(session, model)
    return LabelStatus(
        model=model,
        enough=ENOUGH,
        waiting_random=random,
        waiting_other=other,
        versions=_versions(session, model),
        people=_people(session, model),
        sources=_sources(session, model),
    )


def count_waiting(session: Session, model: str) -> tuple[int, int]:
    """How many random frames and how many others nobody has looked at."""
    random = func.count(case((col(Sample.reason) == "random", 1)))
    counted = select(random, func.count()).select_from(Sample).where(Sample.model == model, ~has_audit())
    found, both = session.exec(counted).one()
    return found, both - found


def count_today(session: Session, model: str, told_by: str = "") -> int:
    """How many frames were labelled since midnight, here and by somebody."""
    midnight = (
        datetime.fromtimestamp(time.time()).astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    )
    counted = select(func.count()).select_from(Label).where(Label.model == model, Label.source == AUDIT)
    counted = counted.where(Label.at >= midnight.timestamp())
    return session.exec(counted.where(Label.told_by == told_by) if told_by else counted).one()


def _versions(session: Session, model: str) -> tuple[VersionLooks, ...]:
    drawn, told = col(Sample.reason) == "random", col(Label.truth) != ""
    wrong = col(Label.truth) != col(Label.decided)
    columns: tuple[Any, ...] = (
        Label.version,
        func.count(case((drawn & told, 1))),
        func.count(case((drawn & told & wrong, 1))),
        func.count(case((~drawn & told, 1))),
        func.count(case((drawn & ~told, 1))),
    )
    same = (col(Sample.device) == col(Label.device)) & (col(Sample.item) == col(Label.item))
    counted = select(*columns).select_from(Label).join(Sample, same)
    counted = counted.where(Label.model == model, Label.source == AUDIT, Sample.model == model)
    rows = session.exec(counted.group_by(Label.version).order_by(col(Label.version).desc()))
    return tuple(_looks(*row) for row in rows)


def _looks(version: int, random: int, wrong: int, other: int, cannot_tell: int) -> VersionLooks:
    interval = rate_interval(random, wrong, ALPHA)
    return VersionLooks(
        version=version,
        random=random,
        wrong=wrong,
        other=other,
        cannot_tell=cannot_tell,
        low=interval.low,
        rate=interval.estimate if random else None,
        high=interval.high,
        needed=max(ENOUGH - random, 0),
    )


def _people(session: Session, model: str) -> tuple[PersonLooks, ...]:
    last = func.max(Label.at)
    counted = select(Label.told_by, func.count(), last).where(Label.model == model, Label.source == AUDIT)
    return tuple(
        PersonLooks(*row) for row in session.exec(counted.group_by(Label.told_by).order_by(last.desc()))
    )


def _sources(session: Session, model: str) -> tuple[SourceLooks, ...]:
    waiting = select(Label.source, func.count()).where(Label.model == model, Label.decided == "")
    unjoined = dict(session.exec(waiting.where(Label.version == 0).group_by(Label.source)).all())
    told = {source: n for source, n in sources(session, model).items() if source != AUDIT}
    by_line = select(func.count()).select_from(Sample).where(Sample.model == model, Sample.truth != "")
    lines = session.exec(by_line).one()
    counts = {LINE: lines, **told} if lines else told
    found: list[SourceLooks] = []
    for source, n in counts.items():
        agreement = source_agreement(session, model, source)
        verdict = judge_source(*agreement)
        waiting_for = unjoined.get(source, 0)
        found.append(SourceLooks(source, n, waiting_for, *agreement, verdict.trusted, verdict.sentence))
    return tuple(found)
