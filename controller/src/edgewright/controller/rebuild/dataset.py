"""What a rebuild learns from and is judged by: labelled frames of the line since the harm began.

Each item belongs to the fit part or to the gate part by a hash of its identity, so it is on the same side on
every rung and in every later rebuild: the gate's frames are never trained on. A class that the running
version does not know becomes a label of the new one when enough items of it were told; fewer are left out,
because a head cannot be fitted to them.

>>> part_of("robot-1", "r1-17"), part_of("robot-1", "r1-18")
('fit', 'gate')
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

import msgspec

from edgewright.controller.database import Session, col, func, select
from edgewright.controller.database.tables import Sample

Part = Literal["fit", "gate"]

GATE_SHARE: Final = 0.4
"""Part of the items that judges. Large, because a gate that cannot tell refuses a good candidate."""

NEW_LABEL_ITEMS: Final = 12
"""Items of an unknown class before it becomes a label: about seven of them are fitted to, five judge."""

MOST_ITEMS: Final = 2000
"""The newest are taken; a rebuild has to be done within a minute."""


class Labelled(msgspec.Struct, frozen=True):
    """One item: its true class and the blob with its picture."""

    truth: str
    image_sha256: str


class Snapshot(msgspec.Struct, frozen=True):
    """What one rebuild works with; stored as a blob, so that a run can be repeated.

    Attributes:
        labels: the new version's classes: the running version's in its order, then new ones by name.
        fit, gate: the two parts, oldest first.
        left_out: items by class that were too few to become a label.
    """

    labels: tuple[str, ...]
    fit: tuple[Labelled, ...]
    gate: tuple[Labelled, ...]
    left_out: dict[str, int]


def part_of(device: str, item: str) -> Part:
    """The side on which an item is for ever."""
    digest = hashlib.sha256(f"{device}\0{item}".encode()).digest()
    return "gate" if int.from_bytes(digest[:8]) < GATE_SHARE * 2**64 else "fit"


def count_labelled(session: Session, model: str, since: float) -> int:
    """How many labelled items there are since a time."""
    statement = select(func.count()).where(*_labelled_since(model, since))
    return session.exec(statement).one()


def labelled_items(session: Session, model: str, since: float) -> Sequence[Sample]:
    """The newest labelled items since a time, oldest first."""
    statement = (
        select(Sample)
        .where(*_labelled_since(model, since))
        .order_by(col(Sample.taken_at).desc(), col(Sample.device), col(Sample.item))
        .limit(MOST_ITEMS)
    )
    return session.exec(statement).all()[::-1]


def snapshot(items: Iterable[Sample], known: Sequence[str]) -> Snapshot:
    """Choose labels and split the items.

    Args:
        items: labelled items.
        known: labels of the running version.
    """
    items = list(items)
    told = Counter(item.truth for item in items)
    new = sorted(truth for truth, n in told.items() if truth not in known and n >= NEW_LABEL_ITEMS)
    labels = (*known, *new)
    parts: dict[Part, list[Labelled]] = {"fit": [], "gate": []}
    for item in items:
        if item.truth in labels:
            labelled = Labelled(item.truth, item.image_sha256)
            parts[part_of(item.device, item.item)].append(labelled)
    left_out = {truth: n for truth, n in sorted(told.items()) if truth not in labels}
    return Snapshot(labels, tuple(parts["fit"]), tuple(parts["gate"]), left_out)


def _labelled_since(model: str, since: float) -> tuple[Any, ...]:
    return (col(Sample.model) == model, col(Sample.truth) != "", col(Sample.taken_at) >= since)
