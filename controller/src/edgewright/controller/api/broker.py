"""What lies on the broker."""

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from edgewright.controller.api.access import bearer_scheme, need
from edgewright.controller.api.seams import Services
from edgewright.controller.web.references import References


class _FromReport(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class FigureView(_FromReport):
    """Retained messages of one kind."""

    topics: int
    bytes: int


class RetainedView(_FromReport):
    """What this controller has published and the broker has acknowledged."""

    chunks: FigureView
    metadata: FigureView
    assignments: FigureView
    bytes: int = Field(description="Of all kinds")


class WantsView(_FromReport):
    """What became of the names that devices missed, since the start."""

    answered: int
    limited: int = Field(description="Not answered because too many were wanted; devices ask again")
    unknown: int = Field(description="Retired, withdrawn or never published")


class DownloadsView(_FromReport):
    """What devices fetched over HTTPS instead, since the start."""

    devices: int = Field(description="That hold a place now")
    requests: int
    bytes: int
    refused: int


class BrokerReportView(_FromReport):
    """The broker, what lies on it and what it takes."""

    kind: str = Field(description="embedded, or the site's nats or mosquitto")
    connected: bool
    retained: RetainedView
    most_bytes: int = Field(description="What everything retained may take; 0 for no bound")
    memory_bytes: int | None = Field(description="What the broker itself takes, where that can be known")
    memory_source: str = Field(description="process, broker or unknown: who says so")
    waiting_bytes: int = Field(description="Published and not acknowledged")
    restarts: int = Field(description="Of the embedded broker, since this controller started")
    last_failure: str
    wants: WantsView
    downloads: DownloadsView


def create_router(services: Services, references: References) -> APIRouter:
    """The operation."""
    del references
    router = APIRouter(tags=["broker"], dependencies=[Depends(bearer_scheme)])

    @router.get("/broker", operation_id="show_broker", dependencies=[need("broker.read")])
    def show_broker() -> BrokerReportView:
        """What lies on the broker, what it may take, and what the broker itself needs."""
        return BrokerReportView.model_validate(services.broker.report())

    return router
