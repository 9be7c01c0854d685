"""Operations on labels: tell some, bring and take a file of them, look at frames, ask how far it has come."""

import hashlib
import tempfile
import time
from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO, Final

import anyio.to_thread
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from edgewright.controller.api.access import Asking, bearer_scheme, need
from edgewright.controller.api.bodies import pulled
from edgewright.controller.api.schemas import Name
from edgewright.controller.api.seams import Services
from edgewright.controller.database.tables import Sample
from edgewright.controller.labelfile import BYTES_AT_MOST, write_labels
from edgewright.controller.labelintake import Receipt, take_file, take_list
from edgewright.controller.labelling import AHEAD_AT_MOST, Desk, next_to_label
from edgewright.controller.labels import AUDIT, Told, labels_after, verify_model
from edgewright.controller.labelstatus import label_status
from edgewright.controller.people.person import Person
from edgewright.controller.samplepictures import PICTURE_HEADERS, picture_address, read_picture
from edgewright.controller.web.references import References

LABELS_AT_MOST: Final = 1000
COLUMNS: Final = (
    *("device", "item", "truth", "probability", "source", "version", "decided", "told_by"),
    "at",
)
CSV: Final = "text/csv; charset=utf-8"
RAW_CSV: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {"text/csv": {"schema": {"type": "string", "format": "binary"}}},
    }
}

ModelName = Annotated[Name, Path()]
SourceName = Annotated[str, Query(max_length=64, description="Name of the program or file that tells")]


class LabelBody(BaseModel):
    """What one item truly is."""

    device: Annotated[str, Field(max_length=256)]
    item: Annotated[str, Field(max_length=256)]
    truth: Annotated[str, Field(max_length=256, description="The class; empty where a person cannot tell")]
    probability: Annotated[
        float, Field(ge=0, le=1, description="Chance with which it was chosen; 0 where nobody can name it")
    ] = 1.0


class LabelsBody(BaseModel):
    """Labels of one source."""

    source: Annotated[
        str, Field(max_length=64, description="Who says so; audit where a person looked at each frame")
    ]
    labels: Annotated[list[LabelBody], Field(min_length=1, max_length=LABELS_AT_MOST)]


class _FromStruct(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class RefusalView(_FromStruct):
    """A label that was not taken."""

    place: int = Field(description="Counted from 1; of a file, its line")
    why: str


class ReceiptView(_FromStruct):
    """What became of labels."""

    told: int
    joined: int = Field(description="New, and their sample is here")
    unknown_items: int = Field(description="New, and wait for their sample")
    repeated: int = Field(description="Known already; nothing changed")
    changed: int = Field(description="The source had said something else before")
    refused: int
    refusals: list[RefusalView] = Field(description="The first of those that were refused")
    new_classes: dict[str, int] = Field(description="Classes that the newest version does not know")


class FrameView(BaseModel):
    """A frame that waits for a person, lent to whoever asked."""

    device: str
    item: str
    random: bool = Field(description="Drawn without a look at it; its decision is not told before the label")
    picture: str = Field(description="Address of the picture")
    taken_at: float
    version: int
    tag: str
    reason: str
    decided: str = Field(description="What the version said; empty of a random frame")


class VersionLooksView(_FromStruct):
    """Looks at frames on which one version decided."""

    version: int
    random: int = Field(description="Random frames that a person labelled")
    wrong: int = Field(description="Of these, those that contradict the version")
    other: int = Field(description="Frames that were captured for another reason")
    cannot_tell: int
    low: float = Field(description="Of an interval that holds at all times at once, 95 %")
    rate: float | None
    high: float
    needed: int = Field(description="Random looks until there are enough")


class PersonLooksView(_FromStruct):
    """How much somebody labelled."""

    name: str
    labels: int
    last: float


class SourceLooksView(_FromStruct):
    """A source, held against what people saw."""

    source: str = Field(description="line: what lines told their devices")
    labels: int
    unjoined: int = Field(description="Wait for their sample")
    agree: int
    compared: int
    believed: bool = Field(description="False where audits have shown that it errs too often")
    sentence: str


class LabelStatusView(_FromStruct):
    """How far the looking has come."""

    model: str
    enough: int
    waiting_random: int
    waiting_other: int
    versions: list[VersionLooksView]
    people: list[PersonLooksView]
    sources: list[SourceLooksView]


def desk_of(request: Request) -> Desk:
    """The application's desk."""
    desk: Desk = request.app.state.desk
    return desk


AtDesk = Annotated[Desk, Depends(desk_of)]
"""Parameter of a route: who has which frame."""


def create_router(services: Services, references: References) -> APIRouter:
    """The operations."""
    del references
    router = APIRouter(tags=["labels"], dependencies=[Depends(bearer_scheme)])
    _add_telling(router, services)
    _add_file(router, services)
    _add_looking(router, services)

    @router.get("/models/{model}/labels", operation_id="show_label_status", dependencies=[need("label.read")])
    def show_label_status(model: ModelName) -> LabelStatusView:
        """How many frames wait and were labelled, by whom, and how sources hold against it."""
        with services.db.reading() as session:
            return LabelStatusView.model_validate(label_status(session, model))

    return router


def _add_telling(router: APIRouter, services: Services) -> None:
    @router.post("/models/{model}/labels", operation_id="tell_labels", dependencies=[need("label.tell")])
    def tell_labels(model: ModelName, body: LabelsBody, person: Asking, desk: AtDesk) -> ReceiptView:
        """Say what items truly are. The same again changes nothing; refused are single labels, or all."""
        told = [Told(**label.model_dump()) for label in body.labels]
        receipt = take_list(
            services.db, model, told, source=body.source, told_by=person.actor, at=time.time()
        )
        if body.source == AUDIT:
            for label in told:
                desk.finish(model, person.token, (label.device, label.item))
        return ReceiptView.model_validate(receipt)


def _add_file(router: APIRouter, services: Services) -> None:
    @router.post(
        "/models/{model}/labels.csv",
        operation_id="import_labels",
        openapi_extra=RAW_CSV,
        dependencies=[need("label.import")],
    )
    async def import_labels(
        model: ModelName, source: SourceName, request: Request, person: Asking
    ) -> ReceiptView:
        """Bring a file: columns device, item, truth and, where known, probability; UTF-8, with a header.

        A file that cannot be read changes nothing. What stands in it as `audit` is refused: a person looks.
        """
        parts = pulled(aiter(request.stream()), BYTES_AT_MOST, "A file of labels")
        receipt = await anyio.to_thread.run_sync(_import, services, model, source, person, parts)
        return ReceiptView.model_validate(receipt)

    @router.get(
        "/models/{model}/labels.csv",
        operation_id="export_labels",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/csv": {}}, "description": "The labels"}},
        dependencies=[need("label.export")],
    )
    def export_labels(model: ModelName, since: Annotated[float, Query(ge=0)] = 0.0) -> StreamingResponse:
        """All labels of a model told since a time, oldest first; cells are safe to open in a spreadsheet."""
        with services.db.reading() as session:
            verify_model(session, model)
        name = f'attachment; filename="{model}-labels.csv"'
        return StreamingResponse(
            write_labels(_exported(services, model, since)),
            media_type=CSV,
            headers={"Content-Disposition": name, "Cache-Control": "no-store"},
        )


def _import(services: Services, model: str, source: str, person: Person, parts: Iterator[bytes]) -> Receipt:
    with tempfile.TemporaryFile(dir=services.data) as file:
        digest = _spool(parts, file)
        file.seek(0)
        return take_file(
            services.db, model, file, digest, source=source, told_by=person.actor, at=time.time()
        )


def _spool(parts: Iterator[bytes], file: BinaryIO) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
        file.write(part)
    return digest.hexdigest()


def _exported(services: Services, model: str, since: float) -> Iterator[tuple[str | float, ...]]:
    yield COLUMNS
    with services.db.reading() as session:
        for label in labels_after(session, model, since):
            yield tuple(getattr(label, name) for name in COLUMNS)


def _add_looking(router: APIRouter, services: Services) -> None:
    @router.get("/models/{model}/labels/next", operation_id="next_frames", dependencies=[need("sample.read")])
    def next_frames(
        model: ModelName,
        person: Asking,
        desk: AtDesk,
        count: Annotated[int, Query(ge=1, le=AHEAD_AT_MOST)] = 1,
    ) -> list[FrameView]:
        """The frames to label next, lent to you for a minute and a half; random ones first."""
        with services.db.reading() as session:
            verify_model(session, model)
            return [frame_view(found) for found in next_to_label(session, model, person.token, desk, count)]

    @router.get(
        "/models/{model}/picture",
        operation_id="show_picture",
        response_class=Response,
        responses={200: {"content": {"image/png": {}}, "description": "The picture"}},
        dependencies=[need("sample.read")],
    )
    def show_picture(
        model: ModelName,
        device: Annotated[str, Query(max_length=256)],
        item: Annotated[str, Query(max_length=256)],
    ) -> Response:
        """The picture of a captured frame."""
        with services.db.reading() as session:
            picture = read_picture(session, services.blobs, model, device, item)
        return Response(picture, media_type="image/png", headers=PICTURE_HEADERS)


def frame_view(sample: Sample) -> FrameView:
    """A frame as it is shown before it is labelled: of a random one nobody learns what was decided."""
    drawn = sample.reason == "random"
    return FrameView(
        device=sample.device,
        item=sample.item,
        random=drawn,
        picture=picture_address(sample.model, sample.device, sample.item),
        taken_at=sample.taken_at,
        version=sample.version,
        tag=sample.tag,
        reason=sample.reason,
        decided="" if drawn else sample.label,
    )
