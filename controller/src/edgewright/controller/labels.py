"""What items truly are, as people and programs tell the controller: the only writer of ``Label``.

Each label has a source: ``audit`` where a person looked at the frame, else the name of the program or file
that told it. A source says one thing of an item, so telling the same again changes nothing, and telling
something else replaces what it said before; the audit log keeps both. A label may come before its sample: it
waits, and is joined when the sample comes (``join``). One that no sample ever joins is forgotten after
``UNJOINED_S``: most items of a line are never captured, and what the model decided on them is not known here.
An audit needs the frame: it has the frame's chance of being drawn, and is the word of one person.

What a sample counts as (``effective_truth``): what a person saw in it; else what the sources say that audits
have proven; else what the line told its device; else what the other sources say, but for those that audits
have set aside. So a new name outvotes nobody. A person who cannot tell adds no truth and takes none away.
Sources of one rank that contradict each other are no truth: it takes a person.

Programs can lie, and lists can be old. ``source_agreement`` counts how often a source says what audits of
random frames say; ``evidence.sources`` judges from it whether the source is believed (``judged_sources``).
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec

from edgewright.controller.database import Session, and_, case, col, delete, func, select
from edgewright.controller.database.bulk import put_labels
from edgewright.controller.database.evidencetables import Label
from edgewright.controller.database.tables import Device, Model, Sample
from edgewright.controller.errors import InvalidRequestError, UnknownModelError
from edgewright.controller.evidence.sources import SourceVerdict, judge_source
from edgewright.controller.labeltext import why_no_label

AUDIT: Final = "audit"
"""Source of labels that a person gave who looked at the frame."""
LINE: Final = "line"
"""The name, among sources, of what lines tell their devices; nobody else may tell by it."""

UNJOINED_S: Final = 7 * 24 * 3600.0
"""As long as pieces of pictures wait for the rest: a device that is back later sends its samples again."""

MOST_CHARACTERS: Final = 64
"""Of a source's name."""

_SOURCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

BATCH: Final = 500
"""Labels that are looked up and written at once; SQLite takes a thousand parameters in any build."""


class LabelOutcome(StrEnum):
    """What became of a label that was told."""

    JOINED = "joined"
    """New, and its sample is here."""
    UNKNOWN_ITEM = "unknown-item"
    """New, and waits for its sample."""
    REPEATED = "repeated"
    """The source had said so before; nothing changed."""
    CHANGED = "changed"
    """The source had said something else before."""


class Told(msgspec.Struct, frozen=True):
    """A label as somebody tells it.

    Attributes:
        truth: the class; empty where a person could not tell.
        probability: chance with which the item was chosen to be labelled; 0 where nobody can name it.
    """

    device: str
    item: str
    truth: str
    probability: float = 1.0


class Answer(NamedTuple):
    """What became of one told label.

    Attributes:
        outcome: None where it was refused.
        refused: why, as a sentence; empty where it was not.
        before: the truth that it replaced, where it changed one.
    """

    outcome: LabelOutcome | None
    refused: str = ""
    before: str = ""


class Truth(NamedTuple):
    """What a sample counts as, and who says so: ``audit``, ``line`` or names of sources."""

    truth: str
    source: str


class Agreement(NamedTuple):
    """How often a source said what a person saw, of the items of which both told."""

    agree: int
    compared: int


def tell(
    session: Session,
    device: str,
    item: str,
    truth: str,
    source: str,
    told_by: str,
    probability: float,
    at: float,
    *,
    model: str,
) -> LabelOutcome:
    """Take one label; the entry in the audit log is its caller's.

    Raises:
        UnknownModelError: there is no such model.
        InvalidRequestError: the label cannot be taken, with the reason.
    """
    told = Told(device, item, truth, probability)
    [answer] = tell_many(session, model, [told], source=source, told_by=told_by, at=at)
    if answer.outcome is None:
        raise InvalidRequestError(answer.refused)
    return answer.outcome


def tell_many(
    session: Session, model: str, told: Sequence[Told], *, source: str, told_by: str, at: float
) -> list[Answer]:
    """Take labels, one answer each in their order; one that cannot be taken does not stop the others.

    Raises:
        UnknownModelError: there is no such model.
        InvalidRequestError: the source's name is none.
    """
    verify_source(source)
    verify_model(session, model)
    answers: list[Answer] = []
    for start in range(0, len(told), BATCH):
        batch = _Batch(session, model, source, told[start : start + BATCH])
        answers += [batch.take(label, told_by, at) for label in told[start : start + BATCH]]
        put_labels(session, batch.rows())
    return answers


class _Known(NamedTuple):
    """What is known of an item by its sample, or by a label that a source gave it.

    Attributes:
        chance: with which the sample was drawn; 0 where something odd was why.
        told_by: who gave the label.
    """

    model: str
    truth: str
    version: int
    decided: str
    tag: str
    chance: float = 0.0
    told_by: str = ""


_SAMPLE: Final[tuple[Any, ...]] = (
    *(Sample.item, Sample.model, Sample.truth, Sample.version, Sample.label, Sample.tag),
    case((col(Sample.reason) == "random", col(Sample.probability)), else_=0.0),
)
_LABEL: Final[tuple[Any, ...]] = (
    *(Label.item, Label.model, Label.truth, Label.version, Label.decided, Label.tag),
    *(Label.probability, Label.told_by),
)


class _Batch:
    """What is known of a batch's items, read at once, and the labels that are to be written."""

    def __init__(self, session: Session, model: str, source: str, told: Sequence[Told]) -> None:
        self._model, self._source = model, source
        items: dict[str, list[str]] = defaultdict(list)
        for label in told:
            items[label.device].append(label.item)
        self._devices = set(session.exec(select(Device.id).where(col(Device.id).in_(list(items)))))
        self._samples: dict[tuple[str, str], _Known] = {}
        self._said: dict[tuple[str, str], _Known] = {}
        self._rows: dict[tuple[str, str], dict[str, Any]] = {}
        for device in self._devices:
            here = select(*_SAMPLE).where(Sample.device == device, col(Sample.item).in_(items[device]))
            self._samples |= {(device, item): _Known(*row) for item, *row in session.exec(here)}
            said = select(*_LABEL).where(Label.device == device, col(Label.item).in_(items[device]))
            mine = session.exec(said.where(Label.source == source))
            self._said |= {(device, item): _Known(*row) for item, *row in mine}

    def take(self, told: Told, told_by: str, at: float) -> Answer:
        """Take one label."""
        key = (told.device, told.item)
        sample, before = self._samples.get(key), self._said.get(key)
        refused = self._why_not(told, sample, before) or self._why_no_audit(told_by, sample, before)
        if refused:
            return Answer(None, refused)
        if before is not None and before.truth == told.truth:
            return Answer(LabelOutcome.REPEATED)
        known = sample or before or _Known(self._model, "", 0, "", "")
        chance = told.probability if self._source != AUDIT or sample is None else sample.chance
        self._rows[key] = {
            **msgspec.structs.asdict(told),
            "probability": chance,
            "source": self._source,
            "model": self._model,
            "version": known.version,
            "decided": known.decided,
            "tag": known.tag,
            "at": at,
            "told_by": told_by,
        }
        self._said[key] = known._replace(truth=told.truth, told_by=told_by)
        if before is not None:
            return Answer(LabelOutcome.CHANGED, before=before.truth)
        return Answer(LabelOutcome.UNKNOWN_ITEM if sample is None else LabelOutcome.JOINED)

    def rows(self) -> list[dict[str, Any]]:
        """What is to be written."""
        return list(self._rows.values())

    def _why_not(self, told: Told, sample: _Known | None, before: _Known | None) -> str:
        # A frame that is here may have any name: whoever sees it has to be able to label it.
        item = told.item if sample is None else None
        refused = why_no_label(item, told.truth, told.probability, may_be_empty=self._source == AUDIT)
        if refused:
            return refused
        if told.device not in self._devices:
            return f"There is no device {told.device[:80]!r}."
        other = next((known.model for known in (sample, before) if known and known.model != self._model), "")
        return f"The item {told.item!r} of {told.device} is one of {other}." if other else ""

    def _why_no_audit(self, told_by: str, sample: _Known | None, before: _Known | None) -> str:
        if self._source != AUDIT:
            return ""
        if sample is None:
            return f"{self._model} has no such frame."
        if before is not None and before.told_by != told_by:
            return f"{before.told_by} has labelled this frame meanwhile."
        return ""


def join(session: Session, sample: Sample) -> int:
    """Join labels that came before their sample; how many did."""
    waiting = select(Label).where(Label.device == sample.device, Label.item == sample.item)
    joined = session.exec(waiting.where(Label.model == sample.model, *_unjoined())).all()
    for label in joined:
        label.version, label.decided, label.tag = sample.version, sample.label, sample.tag
        session.add(label)
    return len(joined)


def _unjoined() -> tuple[Any, ...]:
    return (col(Label.version) == 0, col(Label.decided) == "")


def forget_unjoined(session: Session, now: float) -> None:
    """Delete labels that no sample joined in time."""
    session.exec(delete(Label).where(*_unjoined(), col(Label.at) < now - UNJOINED_S))


def has_audit() -> Any:
    """The condition of a query for samples that a person looked at them."""
    looked = select(Label.item).where(Label.device == Sample.device, Label.item == Sample.item)
    return looked.where(Label.source == AUDIT, Label.model == Sample.model).exists()


def verify_source(source: str, *reserved: str) -> None:
    """Refuse a name of a source that is none, or that is kept for another way of telling.

    Raises:
        InvalidRequestError: with the reason.
    """
    if source in (LINE, *reserved):
        raise InvalidRequestError(f"Labels cannot be told here as {source!r}.")
    if _SOURCE.fullmatch(source) is None:
        raise InvalidRequestError(
            f"{source[:80]!r} is no name of a source: letters, digits and - . _, 64 at most."
        )


def verify_model(session: Session, model: str) -> None:
    """Refuse a model that there is not.

    Raises:
        UnknownModelError: there is none of that name.
    """
    if session.get(Model, model) is None:
        raise UnknownModelError(f"There is no model {model!r}.")


def effective_truth(
    line: str,
    told: Iterable[Label],
    set_aside: Collection[str] = (),
    proven: Collection[str] = (),
    *,
    said_by: str = "",
) -> Truth | None:
    """What a sample counts as; None where nobody knows.

    Args:
        line: what the line told its device; empty where it told nothing.
        told: labels of the sample, of any source.
        set_aside: sources that are not believed; ``line`` may be among them, ``audit`` is always believed.
        proven: sources that audits have shown to be right; ``line`` may be among them.
        said_by: who told the line; empty where nobody says, then it is ``line``.
    """
    by_line = said_by or LINE
    said = {label.source: label.truth for label in told if label.truth}
    if AUDIT in said:
        return Truth(said[AUDIT], AUDIT)
    if line:
        said[by_line] = line
    believed = {source: truth for source, truth in sorted(said.items()) if source not in set_aside}
    for rank in (
        {s for s in believed if s in proven},
        believed.keys() & ({by_line} if line else set()),
        believed.keys(),
    ):
        if rank:
            truths = {believed[source] for source in rank}
            return Truth(truths.pop(), ", ".join(sorted(rank))) if len(truths) == 1 else None
    return None


def effective_truths(
    session: Session,
    samples: Iterable[Sample],
    set_aside: Collection[str] = (),
    proven: Collection[str] = (),
) -> dict[tuple[str, str], Truth]:
    """What samples count as, by device and item; those of which nobody knows are not in it."""
    samples = list(samples)
    told = labels_of(session, samples)
    known: dict[tuple[str, str], Truth] = {}
    for sample in samples:
        key = (sample.device, sample.item)
        truth = effective_truth(sample.truth, told.get(key, ()), set_aside, proven, said_by=sample.source)
        if truth is not None:
            known[key] = truth
    return known


def labels_of(session: Session, samples: Iterable[Sample]) -> dict[tuple[str, str], list[Label]]:
    """What was told of samples, by device and item."""
    by_device: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_device[sample.device].append(sample)
    told: dict[tuple[str, str], list[Label]] = defaultdict(list)
    for device, mine in by_device.items():
        for start in range(0, len(mine), BATCH):
            part = mine[start : start + BATCH]
            models = {sample.item: sample.model for sample in part}
            for label in session.exec(
                select(Label).where(Label.device == device, col(Label.item).in_(list(models)))
            ):
                if label.model == models[label.item]:
                    told[label.device, label.item].append(label)
    return told


def audited(
    session: Session, model: str, version: int = 0, since: float = 0.0, *, random_only: bool = False
) -> list[tuple[Sample, Label]]:
    """Samples at which a person looked, with what they saw, oldest look first.

    Args:
        session: of the database.
        model: whose samples.
        version: that decided on them; 0 for all.
        since: time of the look, seconds since the epoch.
        random_only: leave out those that were captured because something was odd about them. What is left is
            an unbiased picture of the line, each with the chance ``Label.probability``.

    A label with an empty truth is a person who could not tell.
    """
    statement = select(Sample, Label).where(
        Label.device == Sample.device, Label.item == Sample.item, Label.model == Sample.model
    )
    statement = statement.where(Label.source == AUDIT, Label.model == model, Label.at >= since)
    if version:
        statement = statement.where(Label.version == version)
    if random_only:
        statement = statement.where(Sample.reason == "random")
    return list(session.exec(statement.order_by(col(Label.at), col(Label.device), col(Label.item))))


def source_agreement(session: Session, model: str, source: str, since: float = 0.0) -> Agreement:
    """How often a source said what a person saw, in looks since a time.

    A name counts whether it told the controller or a line; ``line`` is what lines were told without a name.

    Only looks at random frames count. Of the others people see contested ones first, in which one of two
    sources is wrong by construction: an honest source would be set aside for them.
    """
    saw = _looks(model, since)
    by_line = saw.c.line != "", saw.c.said_by == ("" if source == LINE else source)
    agree = func.count(case((saw.c.line == saw.c.truth, 1)))
    line = session.exec(select(agree, func.count()).select_from(saw).where(*by_line)).one()
    if source == LINE:
        return Agreement(*line)
    agree = func.count(case((col(Label.truth) == saw.c.truth, 1)))
    same = (col(Label.device) == saw.c.device) & (col(Label.item) == saw.c.item)
    told = select(agree, func.count()).select_from(Label).join(saw, same).where(~and_(*by_line))
    told = told.where(Label.truth != "", Label.model == model, Label.source == source)
    agreed, compared = session.exec(told).one()
    return Agreement(line[0] + agreed, line[1] + compared)


def line_agreement(session: Session, model: str, but: Collection[str]) -> Agreement:
    """How often lines said what a person saw, by sources of any name but some; empty is without a name."""
    saw = _looks(model, 0.0)
    agree = func.count(case((saw.c.line == saw.c.truth, 1)))
    line = select(agree, func.count()).select_from(saw)
    return Agreement(*session.exec(line.where(saw.c.line != "", saw.c.said_by.not_in(list(but)))).one())


def _looks(model: str, since: float) -> Any:
    """Looks at random frames: what was seen, what the line said, and who had told the line."""
    columns: tuple[Any, ...] = (
        *(Label.device, Label.item, Label.truth),
        col(Sample.truth).label("line"),
        col(Sample.source).label("said_by"),
    )
    looked = select(*columns).where(
        Label.device == Sample.device, Label.item == Sample.item, Sample.reason == "random"
    )
    looked = looked.where(Label.source == AUDIT, Label.model == model, Sample.model == model)
    return looked.where(Label.truth != "", Label.at >= since).subquery()


def judged_sources(session: Session, model: str) -> dict[str, SourceVerdict]:
    """What audits say of each source of a model, and of the line."""
    told = tellers(session, model)
    return {source: judge_source(*source_agreement(session, model, source)) for source in told}


def tellers(session: Session, model: str) -> tuple[str, ...]:
    """Whom audits can judge: lines, and those who told the controller or, by their name, a line."""
    said_by = _looks(model, 0.0).c.said_by
    named = session.exec(select(said_by).where(said_by != "").distinct()).all()
    return (LINE, *sorted({*sources(session, model), *named} - {AUDIT, LINE}))


def line_source(told: str) -> str:
    """Who told a line, by the name that its device sends; those of people and of lines are no such names."""
    return "" if told in (AUDIT, LINE) else told[:MOST_CHARACTERS]


def sources(session: Session, model: str) -> dict[str, int]:
    """How many labels each source told of a model, audits among them."""
    counted = select(Label.source, func.count()).where(Label.model == model).group_by(Label.source)
    return dict(session.exec(counted.order_by(Label.source)).all())


def labels_after(session: Session, model: str, since: float, batch: int = 1000) -> Iterator[Label]:
    """All labels of a model that were told since a time, by source and then oldest first, read in batches."""
    for source in sources(session, model):
        after: tuple[float, str, str] = (since, "", "")
        while True:
            at, device, item = after
            later = (col(Label.at) > at) | ((col(Label.at) == at) & (col(Label.device) > device))
            later |= (col(Label.at) == at) & (col(Label.device) == device) & (col(Label.item) > item)
            statement = select(Label).where(Label.model == model, Label.source == source, later)
            found = session.exec(
                statement.order_by(col(Label.at), col(Label.device), col(Label.item)).limit(batch)
            ).all()
            yield from found
            if len(found) < batch:
                break
            after = (found[-1].at, found[-1].device, found[-1].item)
            session.expunge_all()
