"""The operation that answers the seven questions about a model."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from edgewright.controller.api.access import bearer_scheme, need
from edgewright.controller.api.seams import Services
from edgewright.controller.health.reading import health
from edgewright.controller.web import rows
from edgewright.controller.web.references import References
from edgewright.controller.web.words import Tone


class _FromValue(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class DetailView(_FromValue):
    """One line below an answer."""

    sentence: str
    tone: Tone
    at: float = Field(description="0 where there is no moment")
    href: str = Field(description="The page that tells more; or empty")


class AnswerView(_FromValue):
    """The answer to one question."""

    key: Literal["performance", "bounds", "changes", "devices", "done", "cost", "next"]
    question: str
    sentence: str = Field(description="The answer with its numbers, or why it is not known")
    tone: Tone
    known: bool
    certainty: str = Field(description="How sure it is, and from what; or empty")
    numbers: dict[str, float] = Field(description="What the sentence says")
    since: float = Field(description="Since when; 0 where that is not known")
    details: tuple[DetailView, ...]
    command: str = Field(description="Of the next step; or empty")
    href: str = Field(description="Page of the next step; or empty")
    link: str = Field(description="What a link to it reads")


class DeviceHealthView(_FromValue):
    """One device beside the others."""

    device: str
    rate: float | None = Field(description="Error rate of its labelled decisions; null without any")
    low: float = Field(description="Interval of the rate, wide enough for all devices together")
    high: float
    labelled: int
    confidence: float | None
    differs: bool = Field(description="Whether it stands out")


class WitnessView(_FromValue):
    """One estimate of the error rate, from one kind of evidence."""

    name: str
    low: float
    estimate: float
    high: float


class ClassShareView(_FromValue):
    """A class's share of the decisions."""

    label: str
    now: float
    then: float | None = Field(description="In testing; null where that is not known")


class SignalView(_FromValue):
    """One signal now and in testing, as counts by the 64 bins of its schema."""

    name: str
    side: Literal["output", "input"]
    schema_name: str = Field(validation_alias="schema", description="Of the histograms")
    now: tuple[int, ...]
    then: tuple[int, ...] = Field(description="Empty where testing has none")
    invalid: int = Field(description="Values that were no numbers")
    outside: float | None = Field(description="Share beside the range that held 99 % in testing")
    moved: float | None = Field(description="Total variation distance of the two")


class HealthView(_FromValue):
    """The seven answers about one version of a model."""

    model: str
    version: int
    at: float
    status: Literal["healthy", "harm", "unknown"]
    sentence: str
    answers: tuple[AnswerView, ...] = Field(description="In the order of the questions")
    witnesses: tuple[WitnessView, ...]
    signals: tuple[SignalView, ...]
    classes: tuple[ClassShareView, ...]
    dots: tuple[DeviceHealthView, ...] = Field(description="Some devices: all that stand out are among them")
    windows: int = Field(description="How many of the newest windows signals and classes are of")
    promised: float | None = Field(description="Error rate in testing")
    harm_rate: float | None = Field(description="Error rate from which on it is harm")


def create_router(services: Services, references: References) -> APIRouter:
    """The operation."""
    del references
    router = APIRouter(tags=["evidence"], dependencies=[Depends(bearer_scheme), need("evidence.read")])

    @router.get("/models/{model}/health", operation_id="show_health")
    def show_health(
        model: str,
        version: Annotated[int, Query(ge=0, description="0 for the one that most devices run")] = 0,
    ) -> HealthView:
        """Whether a version does well, what changed, where, what was done and what is to be done."""
        with services.db.reading() as session:
            found = health(session, services.blobs, services.monitor, model, rows.now(), version)
        return HealthView.model_validate(found)

    return router
