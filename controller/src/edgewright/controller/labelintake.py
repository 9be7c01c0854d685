"""Taking labels from programs: a list in a request, or a file; each leaves one entry in the audit log.

A file is read to its end before any of it is kept, so one that cannot be read changes nothing. It is then
stored a batch at a time, because a long transaction would hold up the telemetry. Whoever sends the same file
again after a break changes nothing twice. The entry of its beginning names the file's digest, that of its end
the counts.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import BinaryIO, Final

import msgspec

from edgewright.controller.database import Session, col, select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import ModelVersion
from edgewright.controller.errors import InvalidRequestError
from edgewright.controller.labelfile import Row, read_labels
from edgewright.controller.labels import AUDIT, Answer, LabelOutcome, Told, tell_many, verify_source
from edgewright.controller.people import audit

BATCH: Final = 2000
"""Rows of a file in one transaction: about a tenth of a second."""
REFUSALS_SHOWN: Final = 20
CHANGES_ENTERED: Final = 50
CLASSES_SHOWN: Final = 20


class Refusal(msgspec.Struct, frozen=True):
    """A label that was not taken: its place, counted from 1 (of a file: its line), and why."""

    place: int
    why: str


class Receipt(msgspec.Struct, frozen=True):
    """What became of labels.

    Attributes:
        told: how many there were.
        joined, unknown_items: new ones whose sample is here, and that wait for it.
        repeated, changed: known ones that said the same, and something else.
        refused: how many were not taken; ``refusals`` has the first.
        new_classes: classes that the model's newest version does not know, and how often they were told.
    """

    told: int
    joined: int
    unknown_items: int
    repeated: int
    changed: int
    refused: int
    refusals: tuple[Refusal, ...]
    new_classes: dict[str, int]


class _Tally:
    """Counts answers."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = frozenset(known)
        self._outcomes: Counter[LabelOutcome] = Counter()
        self._classes: Counter[str] = Counter()
        self._refusals: list[Refusal] = []
        self._refused = 0
        self.changes: list[str] = []

    def refuse(self, place: int, why: str) -> None:
        self._refused += 1
        if len(self._refusals) < REFUSALS_SHOWN:
            self._refusals.append(Refusal(place, why))

    def add(self, place: int, told: Told, answer: Answer) -> None:
        if answer.outcome is None:
            self.refuse(place, answer.refused)
            return
        self._outcomes[answer.outcome] += 1
        if told.truth and told.truth not in self._known:
            self._classes[told.truth] += 1
        if answer.outcome is LabelOutcome.CHANGED and len(self.changes) < CHANGES_ENTERED:
            self.changes.append(f"{told.device} {told.item}: {answer.before!r} became {told.truth!r}")

    def receipt(self) -> Receipt:
        counts = self._outcomes
        return Receipt(
            told=counts.total() + self._refused,
            joined=counts[LabelOutcome.JOINED],
            unknown_items=counts[LabelOutcome.UNKNOWN_ITEM],
            repeated=counts[LabelOutcome.REPEATED],
            changed=counts[LabelOutcome.CHANGED],
            refused=self._refused,
            refusals=tuple(self._refusals),
            new_classes=dict(self._classes.most_common(CLASSES_SHOWN)),
        )


def take_list(db: Database, model: str, told: list[Told], *, source: str, told_by: str, at: float) -> Receipt:
    """Take labels in one transaction.

    Raises:
        UnknownModelError: there is no such model.
        InvalidRequestError: the source's name is none, or no label can be taken.
    """
    with db.session() as session:
        tally = _Tally(known_classes(session, model))
        answers = tell_many(session, model, told, source=source, told_by=told_by, at=at)
        for place, (label, answer) in enumerate(zip(told, answers, strict=True), 1):
            tally.add(place, label, answer)
        receipt = tally.receipt()
        if receipt.refused == receipt.told:
            raise InvalidRequestError(receipt.refusals[0].why if receipt.refusals else "There is no label.")
        _enter(session, model, source, tally)
    return receipt


def take_file(
    db: Database, model: str, file: BinaryIO, digest: str, *, source: str, told_by: str, at: float
) -> Receipt:
    """Take a file's labels; the file can be read twice.

    Raises:
        UnknownModelError: there is no such model.
        InvalidRequestError: the file cannot be read, or the source's name is none; nothing was kept.
    """
    verify_source(source, AUDIT)
    lines = sum(1 for _ in read_labels(file))
    file.seek(0)
    with db.session() as session:
        tally = _Tally(known_classes(session, model))
        tell_many(session, model, [], source=source, told_by=told_by, at=at)
        begun = {"source": source, "sha256": digest, "rows": lines}
        audit.enter(session, "label.import", model, detail=begun)
    for batch in _batches(read_labels(file)):
        rows = [(row.line, row.told) for row in batch if row.told is not None]
        with db.session() as session:
            labels = [label for _, label in rows]
            answers = tell_many(session, model, labels, source=source, told_by=told_by, at=at)
        for (line, label), answer in zip(rows, answers, strict=True):
            tally.add(line, label, answer)
        for row in batch:
            if row.told is None:
                tally.refuse(row.line, row.why)
    with db.session() as session:
        _enter(session, model, source, tally)
    return tally.receipt()


def known_classes(session: Session, model: str) -> list[str]:
    """The classes of a model's newest version that has any, in its order."""
    newest = (
        select(ModelVersion).where(ModelVersion.model == model).order_by(col(ModelVersion.version).desc())
    )
    return next((list(row.labels) for row in session.exec(newest) if row.labels), [])


def _enter(session: Session, model: str, source: str, tally: _Tally) -> None:
    counts = msgspec.to_builtins(tally.receipt())
    del counts["refusals"]
    detail = {"source": source, **counts, **({"changes": tally.changes} if tally.changes else {})}
    audit.enter(session, "label.tell", model, detail=detail)


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(islice(rows, BATCH)):
        yield batch
