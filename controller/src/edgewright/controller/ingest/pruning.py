"""What was stored does not stay for ever: each kind is kept for a time, events and samples also to a size.

Sums by minute, hour and day stay: charts of years ago need no windows. The audit log keeps what people
changed; events tell what happened. A frame that a person labelled stays beyond its time, because later
versions are held against it; it goes for want of room only, and when no other frame is left. Rows are deleted
some thousands at a time, so that the writer, whose thread this is, goes on between two steps.
"""

from typing import Any, Final

from edgewright.controller.blobs import BlobStore
from edgewright.controller.database import Session, col, delete, func, select
from edgewright.controller.database.tables import (
    Event,
    Loss,
    ModelVersion,
    Outcome,
    Sample,
    SamplePiece,
    Window,
)
from edgewright.controller.errors import DataFolderDamagedError
from edgewright.controller.ingest.retention import Retention
from edgewright.controller.labels import forget_unjoined, has_audit

DAY_S: Final = 24 * 3600.0

KEPT_S: Final = 400 * DAY_S
"""A year and a month, so that a page can show the same day of last year."""

EVENTS: Final = 200_000

PIECES_S: Final = 7 * DAY_S
"""How long pieces of a picture wait for the others; a device that is back later sends them again."""

STEP_ROWS: Final = 5_000
STEP_SAMPLES: Final = 200
"""Their files have to be looked at."""

_PNG: Final = b"\x89PNG"
_MIB: Final = 1024 * 1024


def prune(session: Session, now: float, events: int = EVENTS) -> None:
    """Delete events and losses that are too old, and all but the newest ``events``."""
    newest = session.exec(select(func.max(Event.id))).one() or 0
    session.exec(delete(Event).where((col(Event.at) < now - KEPT_S) | (col(Event.id) <= newest - events)))
    session.exec(delete(Loss).where(col(Loss.at) < now - KEPT_S))
    session.exec(delete(SamplePiece).where(col(SamplePiece.at) < now - PIECES_S))
    forget_unjoined(session, now)


def prune_windows(session: Session, now: float, kept: Retention, rows: int = STEP_ROWS) -> bool:
    """Delete the oldest windows and outcomes, about ``rows`` of each; whether there are more."""
    before = now - kept.windows_days * DAY_S
    more = False
    for table, ts in ((Window, col(Window.ts)), (Outcome, col(Outcome.ts))):
        step = session.exec(select(ts).where(ts < before).order_by(ts).offset(rows).limit(1)).first()
        more = more or step is not None
        session.exec(delete(table).where(ts < before if step is None else ts <= step))
    return more


def prune_samples(
    session: Session, blobs: BlobStore, now: float, kept: Retention, rows: int = STEP_SAMPLES
) -> bool:
    """Delete the oldest samples and their pictures, ``rows`` at most; whether there are more.

    What is oldest is what came first: a device that dates its own into the future would keep them for ever,
    and those of all others would go instead. Those that a person labelled go last, and never for their age:
    they are few, because labelling takes a person.
    """
    excess = session.exec(select(func.coalesce(func.sum(Sample.size), 0))).one() - kept.samples_mb * _MIB
    before = now - kept.samples_days * DAY_S
    statement = select(Sample).order_by(col(Sample.at), col(Sample.taken_at)).limit(rows)
    oldest = [(sample, False) for sample in session.exec(statement.where(~has_audit()))]
    if excess > 0 and not oldest:
        oldest = [(sample, True) for sample in session.exec(statement)]
    gone: list[Sample] = []
    for sample, labelled in oldest:
        if excess <= 0 and (labelled or _arrived(sample, now) >= before):
            break
        excess -= sample.size
        session.delete(sample)
        gone.append(sample)
    session.flush()
    for digest in {sample.image_sha256 for sample in gone} - _needed(session, gone):
        _forget_picture(blobs, digest)
    return len(gone) == rows


def _arrived(sample: Sample, now: float) -> float:
    """When a sample came; of an older controller's, when it was taken, which cannot be in the future."""
    return sample.at or (sample.taken_at if sample.taken_at <= now else 0.0)


def _needed(session: Session, gone: list[Sample]) -> set[str]:
    """Digests of pictures that other samples show, or that somebody pushed with a model."""
    digests = [sample.image_sha256 for sample in gone]
    needed = set(session.exec(select(Sample.image_sha256).where(col(Sample.image_sha256).in_(digests))))
    files: Any = session.exec(select(ModelVersion.files)).all()
    return needed.union(*(pushed.values() for pushed in files))


def _forget_picture(blobs: BlobStore, digest: str) -> None:
    """Delete a picture; what is none stays, because a device may have sent the bytes of something else."""
    try:
        if blobs.read(digest).startswith(_PNG):
            blobs.forget(digest)
    except DataFolderDamagedError:
        return  # it is gone already, or is looked at by whoever finds it damaged
