"""Operations that look at what the fleet tells: drift, charts, events."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query

from edgewright.controller.api.access import bearer_scheme, need
from edgewright.controller.api.schemas import (
    AlarmView,
    ChartsView,
    DriftView,
    EventView,
    RebuildView,
    VersionQuality,
)
from edgewright.controller.api.seams import Services
from edgewright.controller.database import Session
from edgewright.controller.database.tables import Model
from edgewright.controller.errors import UnknownModelError
from edgewright.controller.evidence.version import VersionHealth
from edgewright.controller.web import rows
from edgewright.controller.web.charts import DEFAULT_SINCE_S, MAX_SINCE_S, Reference, Sums
from edgewright.controller.web.references import References
from edgewright.controller.web.views import load_charts
from edgewright.controller.web.words import rate

PRESENT_S: Final = 120
"""Span of the present quality in ``drift``, in seconds."""


def create_router(services: Services, references: References) -> APIRouter:
    """The operations."""
    router = APIRouter(tags=["evidence"], dependencies=[Depends(bearer_scheme), need("evidence.read")])

    @router.get("/drift/{model}", operation_id="show_drift")
    def show_drift(model: str) -> DriftView:
        """Present quality, alarms and rebuilds of a model."""
        weighed = {health.version: health for health in services.monitor.status(model)}
        with services.db.reading() as session:
            _verify_model(session, model)
            promised = references.of(rows.artifacts(session, model))
            sums = rows.sums(session, model, rows.now() - PRESENT_S, rows.PRESENT_BUCKET_S)
            return DriftView(
                model=model,
                seconds=PRESENT_S,
                versions=[
                    _quality(version, sums, promised.get(version), weighed.get(version))
                    for version in sorted({s.version for s in sums if s.version} | weighed.keys())
                ],
                alarms=[AlarmView.model_validate(alarm) for alarm in rows.alarms(session, model)],
                rebuilds=[RebuildView.model_validate(rebuild) for rebuild in rows.rebuilds(session, model)],
            )

    @router.get("/charts/{model}", operation_id="show_charts")
    def show_charts(
        model: str, since: Annotated[int, Query(ge=60, le=MAX_SINCE_S)] = DEFAULT_SINCE_S
    ) -> ChartsView:
        """Mispack rate and confidence over the last ``since`` seconds, one series a version."""
        with services.db.reading() as session:
            _verify_model(session, model)
            promised = references.of(rows.artifacts(session, model))
            return ChartsView.model_validate(load_charts(session, model, since, promised, rows.now()))

    @router.get("/events", operation_id="list_events")
    def list_events(
        after: Annotated[int, Query(ge=0)] = 0, limit: Annotated[int, Query(ge=1, le=1000)] = 100
    ) -> list[EventView]:
        """Events after an id, in order; without one the newest, newest first."""
        with services.db.reading() as session:
            return [EventView.model_validate(row) for row in rows.events(session, limit, after=after)]

    return router


def _verify_model(session: Session, model: str) -> None:
    if session.get(Model, model) is None:
        raise UnknownModelError(f"There is no model {model!r}.")


def _quality(
    version: int, sums: list[Sums], promised: Reference | None, weighed: VersionHealth | None
) -> VersionQuality:
    mine = [s for s in sums if s.version == version]
    labelled, wrong = sum(s.labelled for s in mine), sum(s.wrong for s in mine)
    return VersionQuality(
        version=version,
        labelled=labelled,
        wrong=wrong,
        mispack_rate=rate(wrong, labelled),
        confidence=rate(sum(s.confidence_sum for s in mine), sum(s.confidence_count for s in mine)),
        expected_mispack_rate=promised.mispack if promised else None,
        expected_confidence=promised.confidence if promised else None,
        evidence=weighed.evidence if weighed else 0.0,
        threshold=weighed.threshold if weighed else 0.0,
        harm_rate=weighed.harm_rate if weighed else None,
    )
