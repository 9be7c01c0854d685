"""The overview page's values, shaped from rows; nothing here looks into the database."""

from collections.abc import Mapping, Sequence

import msgspec

from edgewright.controller.database.tables import Device, Event, Rollout, RolloutDevice
from edgewright.controller.web.activity import Activity, Cell, Recent, recent, strip
from edgewright.controller.web.charts import Reference
from edgewright.controller.web.fleet import FleetCounts
from edgewright.controller.web.words import (
    NONE,
    Tone,
    Word,
    age,
    count,
    deployment_word,
    event_tone,
    percent,
    rollout_word,
)
from edgewright.wire.deployment import FINISHED, State

UNFIT_STATES = frozenset({State.REFUSED, State.FAILED, State.ROLLED_BACK})


class DeviceRow(msgspec.Struct, frozen=True):
    """One robot in the fleet's table."""

    id: str
    where: str
    target: str
    word: Word
    model: str
    version: int
    seen: str
    seen_at: float
    recent: Recent
    harm: Tone
    cells: tuple[Cell, ...]


class Part(msgspec.Struct, frozen=True):
    """One robot's part in a rollout."""

    device: str
    word: Word
    detail: str
    fetched_bytes: int
    swap_gap_us: int
    previous_version: int


class WaveRow(msgspec.Struct, frozen=True):
    """One wave: how far it is, what its gate says, and the robots that are shown of it."""

    number: int
    name: str
    gate: str
    word: Word
    sentence: str
    done: int
    total: int
    parts: tuple[Part, ...]


class RolloutCard(msgspec.Struct, frozen=True):
    """A rollout with its waves."""

    id: int
    model: str
    version: int
    selector: str
    word: Word
    reason: str
    created_at: float
    finished_at: float
    done: int
    total: int
    waves: tuple[WaveRow, ...]
    may: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    """Devices that contradict their target, with the reason; the first of them."""
    left_out_total: int = 0


class Tile(msgspec.Struct, frozen=True):
    """One figure with its name and a note."""

    label: str
    value: str
    note: str
    tone: Tone = "quiet"


class EventLine(msgspec.Struct, frozen=True):
    """One moment of the feed; ``href`` is empty where it leads nowhere."""

    id: int
    at: float
    tone: Tone
    sentence: str
    href: str


def device_row(
    device: Device, activities: Sequence[Activity], reference: Reference | None, now: float
) -> DeviceRow:
    """A robot with its strip, and the last minute's figures of the version that it runs now."""
    figures = recent([a for a in activities if a.version == device.active_version], now)
    return DeviceRow(
        id=device.id,
        where=", ".join(f"{key} {value}" for key, value in sorted(device.tags.items())),
        target=device.target,
        word=device_word(device),
        model=device.active_model,
        version=device.active_version,
        seen=age(device.last_seen, now),
        seen_at=device.last_seen,
        recent=figures,
        harm=harm_tone(figures, reference),
        cells=strip(activities, now),
    )


def device_word(device: Device) -> Word:
    """What a robot does, in one word."""
    if device.revoked_at:
        return Word("revoked", "bad")
    if device.suspicion:
        return Word("suspicious", "bad")
    if not device.connected:
        return Word("offline", "warn") if device.last_seen else Word("never seen", "quiet")
    if device.state and device.state not in FINISHED:
        return deployment_word(device.state)
    if device.state in UNFIT_STATES:
        return deployment_word(device.state)
    return Word("running", "good", 1.0) if device.active_version else Word("no model yet", "quiet")


def harm_tone(figures: Recent, reference: Reference | None) -> Tone:
    """Whether a mispack rate is far above what the version promised.

    It only colours a number: more than three times the binomial's deviation and five points above. Alarms
    come from the monitor's evidence, never from here.
    """
    if figures.mispack is None or reference is None or not figures.labelled:
        return "quiet"
    p = max(reference.mispack, 0.005)
    deviation = (p * (1 - p) / figures.labelled) ** 0.5
    excess = figures.mispack - reference.mispack
    return "bad" if excess > max(3 * deviation, 0.05) else "quiet"


def fleet(
    devices: Sequence[Device],
    activities: Sequence[Activity],
    references: Mapping[int, Reference],
    now: float,
) -> tuple[DeviceRow, ...]:
    """The rows of these robots."""
    by_device: dict[str, list[Activity]] = {}
    for a in activities:
        by_device.setdefault(a.device, []).append(a)
    return tuple(
        device_row(d, by_device.get(d.id, []), references.get(d.active_version), now) for d in devices
    )


def rollout_card(
    rollout: Rollout, counts: Mapping[int, tuple[int, int]], parts: Sequence[RolloutDevice]
) -> RolloutCard:
    """A rollout with its waves; ``counts`` has devices and done by wave, ``parts`` the robots to show."""
    waves = tuple(
        _wave(i, wave, rollout, counts.get(i, (0, 0)), parts) for i, wave in enumerate(rollout.waves)
    )
    return RolloutCard(
        id=rollout.id or 0,
        model=rollout.model,
        version=rollout.version,
        selector=rollout.selector,
        word=rollout_word(rollout.state),
        reason=rollout.reason,
        created_at=rollout.created_at,
        finished_at=rollout.finished_at,
        done=sum(wave.done for wave in waves),
        total=sum(wave.total for wave in waves),
        waves=waves,
        may=ORDERS.get(rollout.state, ()),
    )


ORDERS: Mapping[str, tuple[str, ...]] = {
    "running": ("pause", "abort"),
    "paused": ("resume", "abort"),
    "finished": ("rollback",),
    "stopped": ("rollback",),
}
"""What a person may order in each state of a rollout."""


def _wave(
    index: int,
    wave: Mapping[str, object],
    rollout: Rollout,
    counts: tuple[int, int],
    parts: Sequence[RolloutDevice],
) -> WaveRow:
    mine = [_part(part) for part in parts if part.wave == index]
    is_current = index == rollout.wave
    return WaveRow(
        number=index + 1,
        name=str(wave.get("name", "")) or f"wave {index + 1}",
        gate=str(wave.get("gate", "install")),
        word=_wave_word(index, rollout),
        sentence=str(rollout.gate.get("sentence", "")) if is_current else "",
        done=counts[1],
        total=counts[0],
        parts=tuple(mine),
    )


def _wave_word(index: int, rollout: Rollout) -> Word:
    if index < rollout.wave or rollout.state == "finished":
        return Word("done", "good", 1.0)
    if index > rollout.wave:
        return Word("not begun", "quiet")
    return rollout_word(rollout.state)


def _part(part: RolloutDevice) -> Part:
    said = f"E{part.error:03d} {part.name}: {part.detail}" if part.error else part.detail
    return Part(
        device=part.device,
        word=deployment_word(part.state if part.state or not part.assigned_at else State.ASSIGNED),
        detail=said,
        fetched_bytes=part.fetched_bytes,
        swap_gap_us=part.swap_gap_us,
        previous_version=part.previous_version,
    )


def tiles(counts: FleetCounts, figures: Recent, reference: Reference | None) -> tuple[Tile, ...]:
    """The four figures above the charts."""
    expected = f"{percent(reference.mispack)} expected" if reference else "no reference yet"
    if reference and reference.confidence is not None:
        sure = f"{percent(reference.confidence)} on held-out items"
    else:
        sure = "mean of all decisions"
    running = ", ".join(f"{n} on v{version}" for version, n in sorted(counts.versions.items()))
    running = running or "no version runs"
    late = f"in the last minute, {count(figures.fallback) if figures.fallback else 'none'} by the fallback"
    return (
        Tile("Robots connected", f"{counts.connected} / {counts.total}" if counts.total else NONE, running),
        Tile("Mispacked", percent(figures.mispack), expected, harm_tone(figures, reference)),
        Tile("Confidence", percent(figures.confidence), sure),
        Tile(
            "Decisions",
            count(figures.frames) if figures.frames else NONE,
            late if figures.frames else "no frames in the last minute",
            "warn" if figures.fallback else "quiet",
        ),
    )


def event_line(event: Event) -> EventLine:
    """One moment with the page that tells more of it."""
    if event.rollout:
        href = f"/rollouts/{event.rollout}"
    elif event.device:
        href = f"/devices/{event.device}"
    elif event.model:
        href = f"/models/{event.model}"
    else:
        href = ""
    return EventLine(event.id or 0, event.at, event_tone(event.kind), event.sentence, href)
