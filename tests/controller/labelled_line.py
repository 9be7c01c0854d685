"""A model with two robots and captured frames, for tests of labels."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from edgewright.controller.blobs import BlobStore
from edgewright.controller.database import Session, delete
from edgewright.controller.database.evidencetables import Label
from edgewright.controller.database.tables import Device, Model, ModelVersion, Sample
from edgewright.controller.labelling import Desk
from tests.controller.parts import make_parts
from tests.controller.people_rig import Plant, make_plant

MODEL = "garments"
OTHER = "bottles"
CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")


def picture(seed: int, size: int = 28) -> bytes:
    """A PNG with noise and a bar whose place tells the seed."""
    pixels = np.random.default_rng(seed).integers(0, 90, (size, size, 3), dtype=np.uint8)
    pixels[:, (seed * 3) % size : (seed * 3) % size + 4] = (60 + seed * 17 % 190, 200, 120)
    return cv2.imencode(".png", pixels)[1].tobytes()


def frame(
    item: str,
    reason: str = "random",
    *,
    device: str = "robot-1",
    model: str = MODEL,
    label: str = "bag",
    truth: str = "",
    confidence: float = 0.9,
    taken_at: float = 1e9,
    image_sha256: str = "",
    version: int = 1,
) -> Sample:
    """A captured frame."""
    return Sample(
        device=device,
        item=item,
        taken_at=taken_at,
        at=taken_at,
        model=model,
        version=version,
        label=label,
        confidence=confidence,
        truth=truth,
        reason=reason,
        probability=0.02 if reason == "random" else 0.0,
        image_sha256=image_sha256 or "0" * 64,
        size=1000,
    )


def add_line(session: Session) -> None:
    """Two models, and two robots that run the first."""
    for model in (MODEL, OTHER):
        session.add(Model(name=model, created_at=1.0, versions=1))
        session.add(
            ModelVersion(
                model=model, version=1, state="ready", source="push", created_at=1.0, labels=list(CLASSES)
            )
        )
    for robot in ("robot-1", "robot-2"):
        session.add(Device(id=robot, target="x86_64-ort-cpu", active_model=MODEL, active_version=1))


def add_frames(session: Session, blobs: BlobStore, count: int, reason: str = "random") -> None:
    """Frames with pictures, of both robots in turn."""
    for i in range(count):
        digest = blobs.put(picture(i))
        robot = f"robot-{i % 2 + 1}"
        session.add(frame(f"{reason}-{i}", reason, device=robot, taken_at=1e9 + i, image_sha256=digest))


@contextmanager
def new_site(folder: Path) -> Iterator[Plant]:
    """An application with people, two models and two robots."""
    parts = make_parts(folder)
    with parts.db.session() as session:
        add_line(session)
    yield make_plant(parts)
    parts.db.close()


@contextmanager
def begun_again(site: Plant) -> Iterator[Session]:
    """A session on the same application, in which nobody has a frame and nothing is captured or told."""
    site.app.state.desk = Desk()
    with site.parts.db.session() as session:
        session.exec(delete(Label))
        session.exec(delete(Sample))
        yield session
