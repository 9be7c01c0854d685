"""Who says that decisions were wrong: each source's labels of the last hour, and audits of the last day.

A source stands for itself, because two of them may tell of the same items. The answer rests on the believed
source that most devices have, and of those on the one whose labels say the most; the others are told beside
it. Labels are weighted by one over the chance with which their item was chosen (Horvitz, Thompson 1952), and
count by their effective number (Kish 1965). What no honest device tells counts nothing.

What was seen in frames of earlier days says nothing of today, however much of it there is.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from edgewright.controller.database import Session, and_, col, func, select
from edgewright.controller.database.evidencetables import Label
from edgewright.controller.database.tables import ModelVersion, Outcome, Sample, Window
from edgewright.controller.evidence.plausible import why_impossible_outcome
from edgewright.controller.evidence.prediction_powered import AuditedItem
from edgewright.controller.health.facts import Labels, Told
from edgewright.controller.labels import AUDIT
from edgewright.wire import messages

ALPHA: Final = 0.05
SPAN_S: Final = 3600.0
DAY_S: Final = 86400.0

MOST_ROWS: Final = 20_000
"""Windows with labels that are read: as many take 0.1 s."""

MOST_SOURCES: Final = 8
"""Sources that are told; of more, those that most devices have."""

MOST_AUDITS: Final = 2000

ROUNDING: Final = 1.0 - 1e-9

_choose: Any = select
"""SQLModel's types know at most four columns."""


class Heard(NamedTuple):
    """What one source told of one device's decisions in one window; ``sums`` as the fields of ``Labels``."""

    at: float
    device: str
    source: str
    sums: tuple[float, ...]


class Look(NamedTuple):
    """One audit, and when its frame was taken."""

    taken_at: float
    item: AuditedItem


def hear(session: Session, row: ModelVersion, now: float) -> list[Heard]:
    """What the newest windows of the last hour brought about a version, whatever ran while they were made."""
    key = (Outcome.ts, Outcome.device, Outcome.seq)
    newest = (
        _choose(*key)
        .where(Outcome.model == row.model, Outcome.version == row.version, Outcome.ts >= now - SPAN_S)
        .order_by(col(Outcome.ts).desc())
        .limit(MOST_ROWS)
        .subquery()
    )
    same = (col(Window.ts) == newest.c.ts, col(Window.device) == newest.c.device)
    statement = _choose(Window.ts, Window.device, Window.payload).join(
        newest, and_(*same, col(Window.seq) == newest.c.seq)
    )
    return [
        Heard(at, device, told.source, _counted(told))
        for at, device, payload in session.exec(statement)
        for told in _outcomes(payload)
        if told.version == row.version
        and told.labelled
        and told.source != AUDIT
        and not why_impossible_outcome(told)
    ]


class _Outcomes(msgspec.Struct, tag_field="kind", tag="window"):
    """A window, as far as its labels go: reading the rest takes longer."""

    outcomes: tuple[messages.Outcomes, ...]


_decoder = msgspec.msgpack.Decoder(_Outcomes)


def _outcomes(payload: bytes) -> tuple[messages.Outcomes, ...]:
    try:
        return _decoder.decode(payload).outcomes
    except msgspec.MsgspecError:
        return ()  # of an older controller, or damaged


def by_device(heard: Iterable[Heard], source: str) -> dict[str, Labels]:
    """What a source told of each device."""
    parts: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for one in heard:
        if one.source == source:
            parts[one.device].append(one.sums)
    return {device: _total(mine) for device, mine in parts.items()}


def ranked(heard: Sequence[Heard]) -> list[str]:
    """The sources, first the one that most devices have, and of those the one with the most labels.

    By devices, because a single one may invent a name and tell whatever it likes under it.
    """
    devices: dict[str, set[str]] = defaultdict(set)
    labelled: dict[str, float] = defaultdict(float)
    for one in heard:
        devices[one.source].add(one.device)
        labelled[one.source] += one.sums[0]
    order = sorted(devices, key=lambda source: (-len(devices[source]), -labelled[source], source))
    return order[:MOST_SOURCES]


def told_by(heard: Sequence[Heard], sources: Collection[str], onset: float = 0.0) -> list[Told]:
    """What each of the sources told; with an onset, since then."""
    found = []
    for source in sources:
        mine = [one for one in heard if one.source == source and one.at >= onset]
        if mine:
            total = _total(one.sums for one in mine)
            found.append(_told(total, min(one.at for one in mine), source, from_onset=onset > 0.0))
    return found


def read_looks(session: Session, row: ModelVersion, now: float) -> list[Look]:
    """The newest audits of frames that were drawn at random in the last day."""
    statement = (
        _choose(Sample.taken_at, Sample.confidence, Label.truth, Sample.label, Sample.probability)
        .join(Label, _is_of_sample())
        .where(*_is_random_audit(row), col(Sample.taken_at) >= now - DAY_S)
        .order_by(col(Label.at).desc())
        .limit(MOST_AUDITS)
    )
    return [
        Look(at, AuditedItem(sure, truth == said, chance))
        for at, sure, truth, said, chance in session.exec(statement)
        if 0.0 < chance <= 1.0
    ]


def count_older_looks(session: Session, row: ModelVersion, now: float) -> int:
    """How many audits there are of random frames from before the last day."""
    statement = select(func.count()).select_from(Sample).join(Label, _is_of_sample())
    return session.exec(statement.where(*_is_random_audit(row), col(Sample.taken_at) < now - DAY_S)).one()


def audits(looks: Sequence[Look]) -> Told | None:
    """What people saw in frames that were captured at random: those alone say the rate of all."""
    if not looks:
        return None
    weights = [1.0 / look.item.probability for look in looks]
    wrong = [not look.item.right for look in looks]
    amounts = zip(weights, wrong, strict=True)
    total = _total((1, int(bad), weight, bad * weight, weight**2) for weight, bad in amounts)
    return _told(total, min(look.taken_at for look in looks), AUDIT)


def _told(total: Labels, since: float, source: str, *, from_onset: bool = False) -> Told:
    return Told(
        total.labelled,
        total.wrong,
        total.interval(ALPHA),
        since,
        from_onset=from_onset,
        source=source,
        weighted=not total.is_even,
    )


def _counted(told: messages.Outcomes) -> tuple[float, ...]:
    """The sums of one window; chances are at most 1, so weights below 1 are none that were counted."""
    weight, squares = told.weight, told.weight_squares
    if weight < told.labelled * ROUNDING or squares < weight * ROUNDING:
        return (told.labelled, told.wrong, told.labelled, told.wrong, told.labelled)
    return (told.labelled, told.wrong, weight, min(told.wrong_weight, weight), squares)


def _total(parts: Iterable[tuple[float, ...]]) -> Labels:
    labelled, wrong, *weights = map(sum, zip(*parts, strict=True))
    return Labels(int(labelled), int(wrong), *weights)


def _is_of_sample() -> Any:
    return (col(Label.device) == col(Sample.device)) & (col(Label.item) == col(Sample.item))


def _is_random_audit(row: ModelVersion) -> tuple[Any, ...]:
    return (
        *(col(Sample.model) == row.model, col(Sample.version) == row.version),
        *(col(Label.model) == row.model, col(Label.source) == AUDIT, col(Label.truth) != ""),
        col(Sample.reason) == "random",
    )
