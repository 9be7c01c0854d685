"""A controller's back room on the colour model: real database, blobs, repository and workflows.

The broker and the fleet are left out: releases are put on a shelf, and a rollout ends as soon as it is made.
Run as a program (``python -m tests.controller.colour_plant FOLDER [DATABASE]``) it carries workflows on until
it is killed.
"""

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from edgewright.controller import registry
from edgewright.controller.blobs import BlobStore
from edgewright.controller.confidential.vault import StorageVault
from edgewright.controller.database import col, select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.evidencetables import Rebuild
from edgewright.controller.database.tables import Event, Rollout, Sample
from edgewright.controller.errors import BrokerFullError, DataFolderDamagedError
from edgewright.controller.rebuild.context import Context, Rollouts
from edgewright.controller.rebuild.trigger import Asked, Trigger
from edgewright.controller.rebuild.workflows import Workflows
from edgewright.controller.rollouts.policy import RolloutState, Wave
from edgewright.controller.trust.keys import KeyStore
from edgewright.controller.trust.repository import ImageRepository
from tests.controller import colour_model

MODEL = "colours"
BY_ADA = Asked(Trigger.PERSON, "Ada")


class Shelf:
    """Takes what would go to the broker."""

    def __init__(self) -> None:
        self.releases: list[str] = []
        self.metadata = 0
        self.full: BrokerFullError | None = None
        self.damage: DataFolderDamagedError | None = None

    def publish_release(self, manifest_sha256: str) -> None:
        """Keep a manifest's digest, unless a blob is damaged."""
        if self.damage:
            raise self.damage
        self.releases.append(manifest_sha256)

    def verify_fit(self, manifest_sha256s: Iterable[str]) -> None:
        """There is room for everything, unless it is full."""
        del manifest_sha256s
        if self.full:
            raise self.full

    def publish_metadata(self) -> None:
        """Count."""
        self.metadata += 1


class QuickRollouts:
    """Rollouts that are over when they start."""

    def __init__(self, db: Database, end: RolloutState = RolloutState.FINISHED) -> None:
        self._db = db
        self.end = end

    def create(
        self,
        model: str,
        version: int,
        selector: str = "",
        waves: Sequence[Wave] | None = None,
        reason: str = "",
    ) -> int:
        """A row that has ended; its waves are kept."""
        with self._db.session() as session:
            row = Rollout(
                model=model,
                selector=selector,
                version=version,
                state=self.end,
                reason=reason,
                created_at=time.time(),
            )
            row.waves = [{"name": wave.name, "gate": wave.gate, "count": wave.count} for wave in waves or ()]
            session.add(row)
            session.flush()
            return row.id or 0


class Plant:
    """Everything about the colour model in one folder."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.db = Database.in_folder(data)
        self.db.create()
        self.blobs = BlobStore(data / "blobs", StorageVault(data))
        self.shelf = Shelf()
        self.quick = QuickRollouts(self.db)
        self.rollouts: Rollouts = self.quick
        self.repository = ImageRepository(data / "tuf" / "image", KeyStore(data / "keys"))
        self.repository.ensure()

    def context(self) -> Context:
        """What steps get."""
        return Context(self.data, self.db, self.blobs, self.repository, self.shelf, self.rollouts)

    def workflows(self, database_url: str = "") -> Workflows:
        """The engine, not started."""
        return Workflows(
            self.data, self.db, self.blobs, self.repository, self.shelf, self.rollouts, database_url
        )

    def change_rules(self, *changes: tuple[str, str]) -> None:
        """Other entries in version 1's model.toml, each as it stands there and as it shall be."""
        with self.db.session() as session:
            row = registry.find_version(session, MODEL, 1)
            text = self.blobs.read(row.files["model.toml"]).decode()
            for old, new in changes:
                assert old in text
                text = text.replace(old, new)
            row.files = {**row.files, "model.toml": self.blobs.put(text.encode())}
            session.add(row)

    def push(self, state: str = "ready") -> None:
        """Version 1, as if it had been built where ``state`` says so."""
        colour_model.write_folder(self.data / "pushed")
        files = registry.store_folder(self.blobs, self.data / "pushed")
        with self.db.session() as session:
            version = registry.add_version(session, MODEL, files, "push")
            registry.find_version(session, MODEL, version).state = state

    def capture(
        self, count: int, colours: Sequence[str] = ("red", "green", "blue"), taken_at: float = 100.0
    ) -> None:
        """Labelled frames of a line on which blue has come up."""
        rng = np.random.default_rng(7)
        with self.db.session() as session:
            for i in range(count):
                colour = colours[i % len(colours)]
                session.add(
                    Sample(
                        device="r1",
                        item=f"{taken_at}-{i}",
                        taken_at=taken_at + i,
                        model=MODEL,
                        version=1,
                        label="red",
                        confidence=0.6,
                        truth=colour,
                        reason="random",
                        probability=0.1,
                        image_sha256=self.blobs.put(colour_model.png(colour_model.picture(colour, rng))),
                    )
                )

    def rebuild(self, number: int = 1) -> Rebuild:
        """A rebuild's row."""
        with self.db.reading() as session:
            return session.get_one(Rebuild, number)

    def events(self) -> list[str]:
        """Kinds of all events, in order."""
        with self.db.reading() as session:
            return list(session.exec(select(Event.kind).order_by(col(Event.id))).all())


def wait_until(done: Callable[[], bool], limit_s: float = 60.0) -> None:
    """Look until it is so.

    Raises:
        AssertionError: it did not become so in time.
    """
    until = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < until, "It did not come in time."
        time.sleep(0.02)


if __name__ == "__main__":
    plant = Plant(Path(sys.argv[1]))
    plant.workflows(sys.argv[2] if len(sys.argv) > 2 else "").start()
    while True:
        time.sleep(1)
