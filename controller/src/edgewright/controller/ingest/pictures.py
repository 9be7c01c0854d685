"""Samples and their pictures: in one message, or in pieces that come first.

Pieces are rows until their sample comes; then they become one blob, if they are the whole picture that the
sample names. Numbers make each piece count once, so a picture costs its length on the wire, whatever was lost
on the way. What a device may store is bounded by its budget of the day and by ``bounds.PIECES``.
"""

from hashlib import sha256
from itertools import accumulate

from edgewright.controller.blobs import BlobStore
from edgewright.controller.database import Session, col, delete, func, select
from edgewright.controller.database.tables import Device, Sample, SamplePiece
from edgewright.controller.ingest.bounds import PIECES, take_sample
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
        counted = select(func.count()).where(col(SamplePiece.device) == device.id)
        if self._session.exec(counted).one() >= PIECES:
            raise MalformedMessageError(f"{device.id} has sent more pieces of pictures than are kept.")
        take_sample(device, len(piece.data), self._now)
        row = SamplePiece(
            device=device.id, sha256=piece.sha256, offset=piece.offset, at=self._now, data=piece.data
        )
        self._session.merge(row)

    def keep_sample(self, device: Device, sample: messages.Sample) -> None:
        """Keep a sample, or the truth of one that is here already.

        Raises:
            MalformedMessageError: its picture is not here, or the device has sent more than is kept.
        """
        row = self._session.get(Sample, (sample.device, sample.item))
        if row is None:
            blob, size = self._picture(device, sample)
            row = Sample(
                device=sample.device,
                item=sample.item,
                taken_at=sample.taken_at,
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
        row.truth = sample.truth or row.truth
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

    def _forget(self, device: str, digest: str) -> None:
        self._session.exec(
            delete(SamplePiece)
            .where(col(SamplePiece.device) == device)
            .where(col(SamplePiece.sha256) == digest)
        )
