"""What people saw on random frames, as labels that are evidence.

A look may be undone or corrected, so it counts after a minute, and where one changed or went all are counted
anew: the evidence is always that of the labels that are stored now, as it would be after a restart.
"""

from typing import Final, NamedTuple

from edgewright.controller import labels
from edgewright.controller.database import Session, col, func, select
from edgewright.controller.database.evidencetables import Label
from edgewright.controller.evidence.told import Heard
from edgewright.controller.findings import Key
from edgewright.wire.messages import Outcomes

SETTLED_S: Final = 60.0
"""After a look; whoever pressed the wrong key has mostly undone it by then."""

AUDITS_S: Final = 7 * 24 * 3600.0
"""Looks that are older do not count. People look at few frames a day, so it is longer than for windows."""


class Mark(NamedTuple):
    """What changes when a settled look comes, changes, goes or gets its frame."""

    looks: int
    newest: float
    versions: int


def mark(session: Session, model: str, now: float) -> Mark:
    """Of the looks that have settled."""
    statement = select(func.count(), func.max(col(Label.at)), func.sum(col(Label.version))).where(
        col(Label.model) == model,
        col(Label.source) == labels.AUDIT,
        col(Label.at) >= now - AUDITS_S,
        col(Label.at) <= now - SETTLED_S,
    )
    looks, newest, versions = session.exec(statement).one()
    return Mark(looks, newest or 0.0, versions or 0)


def settled(session: Session, model: str, now: float) -> list[tuple[Key, Heard]]:
    """Those of random frames, oldest look first: the version that decided, and what a person says of it."""
    heard = []
    for sample, label in labels.audited(session, model, since=now - AUDITS_S, random_only=True):
        if label.truth and label.decided and label.at <= now - SETTLED_S:
            told = Outcomes(label.version, 1, int(label.truth != label.decided), labels.AUDIT)
            one = Heard(sample.taken_at, label.device, sample.tag, told)
            heard.append((Key(model, label.version), one))
    return heard
