"""The pages as a table: template, live regions, and the function that loads their values.

A page's first rendering and its live updates come from the same values and the same partial templates, so
they cannot differ. A page's state is its address.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from edgewright.controller import aliases
from edgewright.controller.api.seams import Services
from edgewright.controller.compiler.targets import standing_table
from edgewright.controller.database import Session
from edgewright.controller.database.evidencetables import Rebuild
from edgewright.controller.database.tables import Device, Model, Rollout
from edgewright.controller.errors import UnknownDeviceError, UnknownModelError, UnknownRolloutError
from edgewright.controller.health.reading import health
from edgewright.controller.ingest.gaps import telemetry_of
from edgewright.controller.matching import judge
from edgewright.controller.people.person import Person
from edgewright.controller.targetrows import runtime_text, target_rows
from edgewright.controller.web import rows
from edgewright.controller.web.activity import BUCKET_S, CELLS, recent, recent_start
from edgewright.controller.web.charts import ROLLUP_FROM_S, Charts, Reference, bucket_for, shape_charts
from edgewright.controller.web.details import history_row, sums_of, version_row
from edgewright.controller.web.fleet import Page
from edgewright.controller.web.origins import origin_of
from edgewright.controller.web.overview import (
    RolloutCard,
    device_row,
    event_line,
    fleet,
    rollout_card,
    tiles,
)
from edgewright.controller.web.pictures import pictures
from edgewright.controller.web.references import References
from edgewright.controller.web.story import headline, is_current, steps_of
from edgewright.controller.web.versiontree import tree_of
from edgewright.controller.web.words import health_word, machine_text

FEED: Final = 30
LEFT_OUT: Final = 20
"""Devices that a rollout's card names of those that it leaves out."""
RANGES: Final = ((300, "5 min"), (900, "15 min"), (3600, "1 h"), (86400, "1 day"), (604800, "1 week"))

LARGE_FLEET: Final = 500
"""Above so many devices charts come from the sums per minute: 10,000 devices have 360,000 windows in six
minutes, which took 3.5 s to add up."""

Context = dict[str, Any]


class Source(NamedTuple):
    """Where a view reads, when, for whom, and which page of a long list."""

    services: Services
    references: References
    now: float
    person: Person
    page: int = 1


class View(NamedTuple):
    """One kind of page.

    Attributes:
        template: the whole page.
        regions: name of each live region to its partial template.
        load: values from the source, the page's key (an id or a name) and the charts' span in seconds.
    """

    template: str
    regions: Mapping[str, str]
    load: Callable[[Source, str, int], Context]


def load_charts(
    session: Session, model: str, since_s: int, references: Mapping[int, Reference], now: float
) -> Charts:
    """The two charts of a model over the last ``since_s`` seconds, or over what there is of them."""
    first = rows.first_window(session, model, now - since_s)
    span = max(now - first, 60.0) if first is not None else float(since_s)
    bucket = bucket_for(span)
    if rows.fleet_counts(session).total > LARGE_FLEET:
        bucket = max(bucket, ROLLUP_FROM_S)
    start = max(now - since_s, now - span) // bucket * bucket
    found = rows.sums(session, model, start, bucket)
    moments = rows.moments(session, model, start)
    return shape_charts(model, start, now, bucket, found, moments, list(references.values()))


def _overview(source: Source, key: str, since_s: int) -> Context:
    now = source.now
    with source.services.db.reading() as session:
        model = key or rows.busiest_model(session)
        counts = rows.fleet_counts(session)
        page = Page.of(counts.total, source.page)
        shown = rows.fleet_page(session, page)
        references = source.references.of(rows.artifacts(session, model))
        activities = rows.activity(session, now - CELLS * BUCKET_S, BUCKET_S, *(d.id for d in shown))
        figures = recent([rows.fleet_activity(session, recent_start(now))], now)
        alarm = rows.latest_alarm(session, model)
        rebuild = next((r for r in rows.rebuilds(session, model, 5) if alarm and r.alarm == alarm.id), None)
        newest = next(iter(rows.rollouts(session, 1)), None)
        card = _card(session, newest) if newest else None
        answer = _answer(session, rebuild)
        charts = load_charts(session, model, since_s, references, now)
        feed = [event_line(event) for event in rows.events(session, FEED)]
    reference = references.get(counts.commonest_version())
    progress = (card.done, card.total) if card else (0, 0)
    told = is_current(alarm, now)
    return {
        "person": source.person,
        "model": model,
        "headline": headline(counts, model, alarm, newest, progress, figures, reference),
        "steps": steps_of(alarm, rebuild, answer) if told else (),
        "tiles": tiles(counts, figures, reference),
        "fleet": fleet(shown, activities, references, now),
        "page": page,
        "key": key,
        "rollout": card,
        "charts": charts,
        "feed": feed,
        "since_s": since_s,
        "ranges": RANGES,
    }


def _answer(session: Session, rebuild: Rebuild | None) -> Rollout | None:
    return session.get(Rollout, rebuild.rollout) if rebuild and rebuild.rollout else None


def _card(session: Session, rollout: Rollout) -> RolloutCard:
    number = rollout.id or 0
    counts = rows.rollout_counts(session, [number]).get(number, {})
    card = rollout_card(rollout, counts, rows.rollout_parts(session, number, len(rollout.waves)))
    left_out = rows.left_out(session, number)
    named = tuple((row.device, row.reason) for row in left_out[:LEFT_OUT])
    return msgspec.structs.replace(card, left_out=named, left_out_total=len(left_out))


def _device(source: Source, key: str, since_s: int) -> Context:
    now, standing = source.now, standing_table(source.services.data)
    with source.services.db.reading() as session:
        device = session.get(Device, key)
        if device is None:
            raise UnknownDeviceError(f"There is no device {key!r}.")
        references = source.references.of(rows.artifacts(session, device.active_model))
        activities = rows.activity(session, now - CELLS * BUCKET_S, BUCKET_S, key)
        longer = rows.activity(session, now - since_s, bucket_for(since_s), key)
        moments = rows.moments(session, device.active_model, now - since_s)
        history = [history_row(part, rollout) for part, rollout in rows.parts_of_device(session, key)]
        feed = [event_line(event) for event in rows.events(session, FEED, device=key)]
        telemetry = telemetry_of(session, device)
    found = sums_of(longer)
    start = min((s.bucket for s in found), default=now - since_s)
    charts = shape_charts(
        device.active_model, start, now, bucket_for(since_s), found, moments, list(references.values())
    )
    return {
        "person": source.person,
        "device": device,
        "row": device_row(device, activities, references.get(device.active_version), now),
        "history": history,
        "telemetry": telemetry,
        "machine": machine_text(device.machine, device.cpu),
        "verdict": judge(device, standing.table.target),
        "complaint": standing.complaint,
        "feed": feed,
        "charts": charts,
        "since_s": since_s,
        "ranges": RANGES,
    }


def _model(source: Source, key: str, since_s: int) -> Context:
    with source.services.db.reading() as session:
        if session.get(Model, key) is None:
            raise UnknownModelError(f"There is no model {key!r}.")
        devices = rows.devices(session)
        artifacts = rows.artifacts(session, key)
        grouped = rows.by_version(artifacts)
        names = aliases.names_of(aliases.list_aliases(session, key))
        found = rows.versions(session, key)
        versions = [version_row(v, grouped.get(v.version, []), devices, names) for v in found]
        references = source.references.of(artifacts)
        context = {
            "person": source.person,
            "name": key,
            "versions": versions,
            "newest": found[0].version if found else "",
            "tree": tree_of(found, names),
            "references": references,
            "origin": origin_of(grouped, source.services.blobs),
            "alarms": rows.alarms(session, key),
            "rebuilds": rows.rebuilds(session, key),
            "charts": load_charts(session, key, since_s, references, source.now),
        }
    return {**context, "since_s": since_s, "ranges": RANGES}


def _health(source: Source, key: str, since_s: int) -> Context:
    services = source.services
    with services.db.reading() as session:
        found = health(session, services.blobs, services.monitor, key, source.now)
    return {
        "person": source.person,
        "name": key,
        "health": found,
        "word": health_word(found.status),
        "shown": pictures(found),
        "since_s": since_s,
    }


def _rollout(source: Source, key: str, since_s: int) -> Context:
    with source.services.db.reading() as session:
        rollout = session.get(Rollout, int(key)) if key.isdigit() and len(key) < 12 else None
        if rollout is None:
            raise UnknownRolloutError(f"There is no rollout {key!r}.")
        feed = [event_line(event) for event in rows.events(session, FEED, rollout=rollout.id or 0)]
        card = _card(session, rollout)
    return {"person": source.person, "rollout": card, "feed": feed, "since_s": since_s}


def _models(source: Source, key: str, since_s: int) -> Context:
    with source.services.db.reading() as session:
        devices = rows.devices(session)
        listed = [
            (
                model,
                [version_row(v, [], devices) for v in rows.versions(session, model.name)[:3]],
            )
            for model in rows.models(session)
            if not key or model.name == key
        ]
    broker = source.services.broker.report()
    return {"person": source.person, "models": listed, "broker": broker, "since_s": since_s}


def _targets(source: Source, key: str, since_s: int) -> Context:
    standing = standing_table(source.services.data)
    with source.services.db.reading() as session:
        found = target_rows(standing.table, rows.devices(session))
    listed = [
        {
            **row,
            "processor": machine_text(row["machine"], row.get("cpu", ())),
            "runtime": runtime_text(row["runtime"]) if row["qualified"] else "",
        }
        for row in found
        if key in ("", row["name"])
    ]
    complaint = standing.complaint
    return {"person": source.person, "targets": listed, "complaint": complaint, "since_s": since_s}


def _rollouts(source: Source, key: str, since_s: int) -> Context:
    with source.services.db.reading() as session:
        found = rows.rollouts(session, model=key)
        counts = rows.rollout_counts(session, [rollout.id or 0 for rollout in found])
        cards = [rollout_card(rollout, counts.get(rollout.id or 0, {}), ()) for rollout in found]
    return {"person": source.person, "rollouts": cards, "since_s": since_s}


VIEWS: Final[dict[str, View]] = {
    "overview": View(
        "overview.html",
        {
            "headline": "parts/headline.html",
            "tiles": "parts/tiles.html",
            "fleet": "parts/fleet.html",
            "rollout": "parts/rollout.html",
            "feed": "parts/feed.html",
        },
        _overview,
    ),
    "device": View(
        "device.html",
        {"device": "parts/device.html", "history": "parts/history.html", "feed": "parts/feed.html"},
        _device,
    ),
    "models": View("models.html", {"models": "parts/models.html"}, _models),
    "model": View(
        "model.html",
        {"tree": "parts/tree.html", "versions": "parts/versions.html", "evidence": "parts/evidence.html"},
        _model,
    ),
    "health": View("health.html", {"health": "parts/health.html"}, _health),
    "targets": View("targets.html", {"targets": "parts/targets.html"}, _targets),
    "rollouts": View("rollouts.html", {"rollouts": "parts/rollouts.html"}, _rollouts),
    "rollout": View(
        "rollout.html",
        {"orders": "parts/orders.html", "rollout": "parts/rollout.html", "feed": "parts/feed.html"},
        _rollout,
    ),
}
"""All pages by name."""
