"""Samples and their pictures: in one message, or in pieces that come first.

Pieces are rows until their sample comes; then they become one blob, if they are the whole picture that the
sample names. Numbers make each piece count once, so a picture costs its length on the wire, whatever was lost
on the way. What a device may store is bounded by its budget of the day and by ``bounds.PIECES``: beyond that
the picture that had no news for longest gives way.
"""

from hashlib import sha256
from itertools import accumulate

from edgewright.controller.blobs import BlobStore
from edgewright.controller.database import Session, col, delete, func, select
from edgewright.controller.database.tables import Device, Sample, SamplePiece
from edgewright.controller.ingest.bounds import PIECES, take_sample, told_time
from edgewright.controller.labels import join, line_source
from edgewright.wire import messages
from edgewright.wire.errors import MalformedMessageError


class Pictures:
    """Stores samples and pieces in a session's transaction."""

    def __init__(self, session: Session, blobs: BlobStore, now: float) -> None:
        self._session, self._blobs, self._now = session, blobs, now

    def keep_piece(self, device: Device, piece: messages.Piece) -> None:
        """Keep a piece; an empty one says that the device has lost the picture.

        Raises:
            MalformedMessageError: the device has sent more than is kept.
        """
        if not piece.data:
            self._forget(device.id, piece.sha256)
            return
        take_sample(device, len(piece.data), self._now)
        counted = select(func.count()).where(col(SamplePiece.device) == device.id)
        if self._session.exec(counted).one() >= PIECES:
            self._forget_oldest(device.id, piece.sha256)
        row = SamplePiece(
            device=device.id, sha256=piece.sha256, offset=piece.offset, at=self._now, data=piece.data
        )
        self._session.merge(row)

    def keep_sample(self, device: Device, sample: messages.Sample) -> None:
        """Keep a sample, or the truth of one that is here already.

        Raises:
            MalformedMessageError: its picture is not here, the device has sent more than is kept, or another
                frame is here under its name: that one's picture would get this one's truth.
        """
        row = self._session.get(Sample, (sample.device, sample.item))
        if row is not None:
            self._forget(device.id, sample.image_sha256)
            if row.taken_at != told_time(sample.taken_at, row.at or sample.taken_at):
                raise MalformedMessageError(
                    f"{device.id} has told of two frames as one item; the first is kept."
                )
        else:
            blob, size = self._picture(device, sample)
            row = Sample(
                device=sample.device,
                item=sample.item,
                taken_at=told_time(sample.taken_at, self._now),
                at=self._now,
                tag=sample.tag,
                model=sample.model,
                version=sample.version,
                label=sample.label,
                confidence=sample.confidence,
                reason=sample.reason,
                probability=sample.probability,
                image_sha256=blob,
                size=size,
            )
            join(self._session, row)
        if sample.truth:
            row.truth, row.source = sample.truth, line_source(sample.source)
        self._session.add(row)

    def _picture(self, device: Device, sample: messages.Sample) -> tuple[str, int]:
        """Digest and length of a sample's picture, which is a blob then."""
        if not sample.image_sha256:
            take_sample(device, len(sample.image), self._now)
            return self._blobs.put(sample.image), len(sample.image)
        found = select(SamplePiece).where(col(SamplePiece.device) == device.id)
        found = found.where(col(SamplePiece.sha256) == sample.image_sha256)
        pieces = self._session.exec(found.order_by(col(SamplePiece.offset))).all()
        if not pieces:
            return self._known_picture(device, sample.image_sha256)
        ends = list(accumulate(len(piece.data) for piece in pieces))
        whole = [piece.offset for piece in pieces] == [0, *ends[:-1]]
        image = b"".join(piece.data for piece in pieces) if whole else b""
        self._forget(device.id, sample.image_sha256)
        if sha256(image).hexdigest() != sample.image_sha256:
            raise MalformedMessageError(f"The picture of a sample of {device.id} came in part only.")
        return self._blobs.put(image), len(image)

    def _known_picture(self, device: Device, digest: str) -> tuple[str, int]:
        """A picture that another sample of the same device has brought."""
        same = select(Sample).where(col(Sample.device) == device.id)
        known = self._session.exec(same.where(col(Sample.image_sha256) == digest)).first()
        if known is None:
            raise MalformedMessageError(f"The picture of a sample of {device.id} has not come.")
        return known.image_sha256, known.size

    def _forget_oldest(self, device: str, but: str) -> None:
        """Delete the pieces of a picture whose last one came before those of all others."""
        others = select(SamplePiece.sha256).where(col(SamplePiece.device) == device)
        others = others.where(col(SamplePiece.sha256) != but).group_by(col(SamplePiece.sha256))
        oldest = others.order_by(func.max(SamplePiece.at), col(SamplePiece.sha256)).limit(1)
        self._forget(device, self._session.exec(oldest).first() or "")

    def _forget(self, device: str, digest: str) -> None:
        self._session.exec(
            delete(SamplePiece)
            .where(col(SamplePiece.device) == device)
            .where(col(SamplePiece.sha256) == digest)
        )
