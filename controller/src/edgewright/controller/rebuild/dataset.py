"""What a rebuild learns from and is judged by: frames of the line since the harm began whose truth is known.

Each item belongs to the fit part or to the gate part by a hash of its identity, so it is on the same side on
every rung and in every later rebuild: the gate's frames are never trained on. A class that the running
version does not know becomes a label of the new one when enough items of it were told; fewer are left out,
because a head cannot be fitted to them.

Labels can be wrong, and somebody may want them to be. So:

- What a person saw counts above what any program or line told (``labels.effective_truth``).
- A source that disagrees with audits is set aside as a whole (``evidence.sources``); which, and why, is
  kept.
- Where enough items of the gate part were audited, these alone judge.
- Where there are several robots, the one that told most supplies at most its share of the fit part, and half
  of what judges where that was not audited: whatever it says, the others can outvote it. Its newest frames
  stay. Where too little would be left that way, more of it stays, and a person has to approve; so too where
  no other robot told anything.

>>> part_of("robot-1", "r1-17"), part_of("robot-1", "r1-18")
('fit', 'gate')
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec

from edgewright.controller import labels
from edgewright.controller.database import Session, and_, col, exists, func, or_, select
from edgewright.controller.database.evidencetables import Label
from edgewright.controller.database.tables import Device, Sample
from edgewright.controller.model_toml import MOST_SAMPLES, RebuildPart
from edgewright.controller.rebuild.frames_chosen import Labelled, Snapshot

Part = Literal["fit", "gate"]

GATE_SHARE: Final = 0.4
"""Part of the items that judges. Large, because a gate that cannot tell refuses a good candidate."""

GATE_DEVICE_SHARE: Final = 0.5
"""Largest share of the gate part that one of several robots supplies: what its lies gain, others lose."""

NEW_LABEL_ITEMS: Final = 12
"""Items of an unknown class before it becomes a label: about seven of them are fitted to, five judge."""


class Item(NamedTuple):
    """One frame whose truth is known, and who says so."""

    device: str
    item: str
    truth: str
    source: str
    image_sha256: str


class Gathered(msgspec.Struct, frozen=True):
    """Items, oldest first, and the sources that were set aside, each with a sentence that says why."""

    items: tuple[Item, ...]
    set_aside: dict[str, str]


def part_of(device: str, item: str) -> Part:
    """The side on which an item is for ever."""
    digest = hashlib.sha256(f"{device}\0{item}".encode()).digest()
    return "gate" if int.from_bytes(digest[:8]) < GATE_SHARE * 2**64 else "fit"


def count_labelled(session: Session, model: str, since: float) -> int:
    """How many items that somebody labelled were taken since a time; some may not be believed."""
    return session.exec(select(func.count()).select_from(Sample).where(*_labelled_since(model, since))).one()


def count_new(session: Session, model: str, since: float) -> int:
    """How many items were labelled since a time, whenever they were taken."""
    told = _label_of_sample().where(col(Label.at) > since)
    came = and_(col(Sample.truth) != "", col(Sample.at) > since)
    statement = select(func.count()).select_from(Sample)
    return session.exec(statement.where(col(Sample.model) == model, or_(came, told))).one()


def gather(session: Session, model: str, since: float) -> Gathered:
    """The newest items since a time whose truth is known, from sources that audits do not contradict."""
    statement = (
        select(Sample)
        .where(*_labelled_since(model, since))
        .order_by(col(Sample.taken_at).desc(), col(Sample.device), col(Sample.item))
        .limit(MOST_SAMPLES)
    )
    samples = session.exec(statement).all()[::-1]
    judged = labels.judged_sources(session, model)
    set_aside = {source: verdict.sentence for source, verdict in judged.items() if not verdict.trusted}
    proven = [source for source, verdict in judged.items() if verdict.proven]
    known = labels.effective_truths(session, samples, set_aside, proven)
    items = (
        Item(sample.device, sample.item, *known[key], sample.image_sha256)
        for sample in samples
        if (key := (sample.device, sample.item)) in known
    )
    return Gathered(tuple(items), set_aside)


def count_robots(session: Session, model: str) -> int:
    """How many connected robots run a model."""
    running = select(func.count()).select_from(Device)
    return session.exec(running.where(col(Device.active_model) == model, col(Device.connected))).one()


def snapshot(gathered: Gathered, known: Sequence[str], rules: RebuildPart, robots: int = 1) -> Snapshot:
    """Choose labels and split the items.

    Args:
        gathered: labelled items.
        known: labels of the running version.
        rules: of the model's rebuilds.
        robots: how many run the model, whether they told anything or not.
    """
    told = Counter(item.truth for item in gathered.items)
    new = sorted(truth for truth, n in told.items() if truth not in known and n >= NEW_LABEL_ITEMS)
    chosen = (*known, *new)
    parts: dict[Part, list[Labelled]] = {"fit": [], "gate": []}
    for item in gathered.items:
        if item.truth in chosen:
            labelled = Labelled(item.truth, item.image_sha256, item.device, item.source)
            parts[part_of(item.device, item.item)].append(labelled)
    share, needed = rules.most_device_share, rules.minimum_samples
    fit = share_out(parts["fit"], share, round(needed * (1 - GATE_SHARE)), robots)
    gate = _judges(parts["gate"], rules, robots)
    return Snapshot(
        labels=chosen,
        fit=tuple(fit.items),
        gate=tuple(gate.items),
        left_out={truth: n for truth, n in sorted(told.items()) if truth not in chosen},
        set_aside=gathered.set_aside,
        audited=sum(item.source == labels.AUDIT for item in gate.items),
        trimmed=dict(Counter(fit.left_out) + Counter(gate.left_out)),
        one_device=fit.above or gate.above,
    )


class Shared(NamedTuple):
    """Items, how many of which robot were left out, the robot that is above its share all the same."""

    items: Sequence[Labelled]
    left_out: dict[str, int]
    above: str


def _judges(items: Sequence[Labelled], rules: RebuildPart, robots: int) -> Shared:
    """Audited items alone where there are enough: a person saw each, so no robot's word is in them."""
    audited = [item for item in items if item.source == labels.AUDIT]
    if rules.minimum_audited and len(audited) >= rules.minimum_audited:
        return Shared(audited, {}, "")
    share = min(rules.most_device_share, GATE_DEVICE_SHARE) if rules.most_device_share < 1 else 1.0
    # Half of the usual number still tells of a gain that goes by itself, and two robots are never quite even.
    return share_out(items, share, round(rules.minimum_samples * GATE_SHARE / 2), robots)


def share_out(items: Sequence[Labelled], share: float, least: int, robots: int = 1) -> Shared:
    """The items with at most a share of one of several robots, the newest of it.

    Args:
        items: oldest first.
        share: at least one half, so that one robot only can be above it; 1 for no limit.
        least: items below which nothing is left out.
        robots: how many run the model.
    """
    counted = Counter(item.device for item in items)
    if max(len(counted), robots) < 2 or not items or share >= 1:
        return Shared(items, {}, "")
    device, most = counted.most_common(1)[0]
    others = len(items) - most
    allowed = int(others * share / (1 - share))
    kept = min(most, max(allowed, least - others))
    newest = {id(item) for item in [i for i in items if i.device == device][most - kept :]}
    chosen = [item for item in items if item.device != device or id(item) in newest]
    trimmed = {device: most - kept} if kept < most else {}
    return Shared(chosen, trimmed, device if kept > allowed else "")


def _label_of_sample() -> Any:
    return exists().where(
        col(Label.device) == col(Sample.device),
        col(Label.item) == col(Sample.item),
        col(Label.model) == col(Sample.model),
        col(Label.truth) != "",
    )


def _labelled_since(model: str, since: float) -> tuple[Any, ...]:
    known = or_(col(Sample.truth) != "", _label_of_sample())
    return (col(Sample.model) == model, col(Sample.taken_at) >= since, known)
