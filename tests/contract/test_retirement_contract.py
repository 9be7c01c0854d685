"""Retirement on each broker: what goes is gone, what is needed stays, and what is needed again is back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.controller.blobs import BlobStore
from edgewright.controller.broker.probe import Address
from edgewright.controller.database import select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import (
    Artifact,
    Assignment,
    Device,
    Event,
    Model,
    ModelVersion,
    Rollout,
)
from edgewright.controller.database.versiontables import IdleVersion
from edgewright.controller.link import BrokerLink
from edgewright.controller.publisher import Publisher
from edgewright.controller.retirement import Retirement
from edgewright.controller.rollouts.policy import RolloutState
from edgewright.controller.trust.keys import KeyStore
from edgewright.controller.trust.repository import ImageRepository, TargetEntry
from edgewright.wire import topics
from edgewright.wire.assignment import TargetCustom
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.errors import BrokerUnreachableError
from edgewright.wire.manifest import CHUNK_BYTES, Blob, encode_manifest, split_blob, target_path
from simulators.releases import GOLDEN, make_manifest, random_artifact
from simulators.repository import MODEL, TARGET
from tests.contract.brokers import Broker

HANG_S = 30.0
LOOK_S = 1.5
"""How long a chunk that is not there is waited for."""

SHARED = bytes(CHUNK_BYTES)
"""A chunk that every version has."""


class Plant:
    """A controller's publishing side on a real broker; its clock is the test's."""

    def __init__(self, folder: Path, broker: Broker | Address) -> None:
        self.now = 1e6
        self.folder, self.broker = folder, broker
        self.db = Database.in_folder(folder)
        self.db.create()
        self.blobs = BlobStore(folder / "blobs")
        self.repository = ImageRepository(folder / "tuf", KeyStore(folder / "keys"))
        self.repository.ensure()
        self.manifests: dict[int, str] = {}
        self.artifacts: dict[int, Blob] = {}
        with self.db.session() as session:
            session.add(Model(name=MODEL, created_at=1.0))
        self.start()

    def start(self) -> None:
        """The controller's process begins."""
        self.link = BrokerLink(self.broker.host, self.broker.port, "controller")
        self.link.start()
        self.link.wait_connected(HANG_S)
        self.publisher = Publisher(self.link, self.blobs, self.repository, list)
        self.retirement = Retirement(
            self.db, self.repository, self.publisher, grace_s=60.0, clock=lambda: self.now
        )

    def come_back(self) -> None:
        """What a connection makes the controller do, as far as it is about releases."""
        self.publisher.republish_all(self.retirement.live_manifests())
        self.retirement.clear_again()
        self.retirement.step()

    def release(self, version: int) -> None:
        """Build, sign and publish a version."""
        artifact = SHARED + random_artifact(version)
        for data in (artifact, GOLDEN):
            self.blobs.put(data)
        raw = encode_manifest(make_manifest(version, artifact))
        path = target_path(MODEL, TARGET, version)
        custom = TargetCustom(MODEL, TARGET, version, version)
        self.repository.add_release([TargetEntry(path, len(raw), sha256_hex(raw), custom)])
        self.manifests[version], self.artifacts[version] = self.blobs.put(raw), split_blob(artifact)[0]
        self.publisher.publish_release(self.manifests[version])
        self.publisher.publish_metadata()
        with self.db.session() as session:
            session.add(
                ModelVersion(model=MODEL, version=version, state="ready", source="push", created_at=1.0)
            )
            session.add(
                Artifact(
                    model=MODEL,
                    version=version,
                    target=TARGET,
                    precision="fp32",
                    qualification="emulated",
                    manifest_sha256=self.manifests[version],
                    manifest_length=len(raw),
                    artifact_sha256=self.artifacts[version].sha256,
                    artifact_length=len(artifact),
                    profile_sha256="",
                )
            )
            session.add(
                Rollout(model=MODEL, version=version, state=RolloutState.FINISHED, created_at=float(version))
            )

    def assign(self, device: str, version: int, *, runs: bool = False) -> None:
        """A device has an assignment, and perhaps runs what it says."""
        with self.db.session() as session:
            session.merge(Device(id=device, target=TARGET, active_model=MODEL, active_version=version * runs))
            session.merge(
                Assignment(
                    device=device,
                    version=1,
                    model=MODEL,
                    model_version=version,
                    manifest_sha256=self.manifests[version],
                    rollout=0,
                    issued=1.0,
                    document=b"signed",
                )
            )

    def step(self, seconds: float = 0.0) -> None:
        """Time goes by, and the controller looks."""
        self.now += seconds
        self.retirement.step()

    def there(self) -> set[int]:
        """Versions of which everything lies on the broker; of the others nothing of their own may."""
        topics_of = {
            version: {topics.chunk(name) for name in (manifest, *self.artifacts[version].chunks)}
            for version, manifest in self.manifests.items()
        }
        every = set().union(*topics_of.values())
        client = BrokerLink(self.broker.host, self.broker.port, "witness")
        client.start()
        client.wait_connected(HANG_S)
        content = client.retained(every, LOOK_S)
        client.stop()
        assert all(sha256_hex(data) == topics.parse_chunk(topic) for topic, data in content.items())
        found = content.keys()
        whole = {version for version, mine in topics_of.items() if mine <= found}
        assert found <= set().union(*(topics_of[version] for version in whole)), "left-overs lie there"
        return whole


@pytest.fixture
def plant(tmp_path: Path, broker: Broker) -> Iterator[Plant]:
    """A plant with five versions, all of them rolled out one after the other."""
    made = Plant(tmp_path, broker)
    for version in (1, 2, 3, 4, 5):
        made.release(version)
    yield made
    made.link.stop()
    made.db.close()


def test_idle_versions_go_after_their_grace(plant: Plant) -> None:
    """Two versions behind the last three stay for the grace time and go then; what others share stays."""
    plant.step()
    plant.step(59)
    assert plant.there() == {1, 2, 3, 4, 5}
    plant.step(1)
    assert plant.there() == {3, 4, 5}
    with plant.db.reading() as session:
        said = session.exec(select(Event.sentence).where(Event.kind == "version.retired")).all()
    assert len(said) == 2
    before = plant.publisher.figures().chunks
    assert before.topics == len(set().union(*(plant.artifacts[v].chunks for v in (3, 4, 5)))) + 3 + 1


def test_what_a_device_runs_or_shall_run_stays(plant: Plant) -> None:
    """Neither a version that a device runs nor one whose assignment it has not finished is ever cleared."""
    plant.assign("r1", 1, runs=True)
    plant.assign("r2", 2)
    plant.step()
    plant.step(1000)
    assert plant.there() == {1, 2, 3, 4, 5}
    plant.assign("r2", 5)
    plant.step()
    plant.step(1000)
    assert plant.there() == {1, 3, 4, 5}


def test_a_rollback_to_a_retired_version_publishes_it_first(plant: Plant) -> None:
    """Once ``need`` returns every chunk is there, and the version has a new grace time."""
    plant.step()
    plant.step(60)
    plant.retirement.need(MODEL, 1)
    assert plant.there() == {1, 3, 4, 5}
    plant.step(60)
    assert plant.there() == {1, 3, 4, 5}
    plant.step(60)
    assert plant.there() == {3, 4, 5}


def test_a_killed_controller_goes_on_where_it_was(plant: Plant) -> None:
    """What was decided and not done before the process ended is done at the next start."""
    plant.step()
    plant.link.stop()
    plant.now += 60
    with pytest.raises(BrokerUnreachableError):
        plant.retirement.step()
    with plant.db.reading() as session:
        rows = session.exec(select(IdleVersion)).all()
    assert {(row.version, row.retired_at > 0, row.cleared) for row in rows} == {
        (1, True, False),
        (2, True, False),
    }
    plant.start()
    plant.come_back()
    assert plant.there() == {3, 4, 5}


def test_superseded_metadata_goes_and_the_rest_stays(plant: Plant) -> None:
    """Of the metadata the broker holds every root and two generations of the rest, whatever was signed."""
    every = [f"{n}.{role}.json" for n in range(1, 9) for role in ("root", "targets", "snapshot", MODEL)]
    named = {topics.metadata(name): name for name in every}
    found = {named[topic] for topic in plant.link.retained(named, LOOK_S)}
    live = {name for name in plant.repository.names() if name != "timestamp.json"}
    assert live <= found
    assert "1.snapshot.json" not in found
    assert "2.snapshot.json" not in found
    assert plant.publisher.figures().metadata.topics == len(found) + 2


def test_a_broker_that_lost_its_store_gets_everything_again(plant: Plant) -> None:
    """The publisher notices at the next connection that what it had published is gone, and devices fetch."""
    names = [topics.chunk(name) for name in plant.artifacts[5].chunks]
    wiped = BrokerLink(plant.broker.host, plant.broker.port, "vandal")
    wiped.start()
    wiped.wait_connected(HANG_S)
    every = {topics.chunk(n) for v in (1, 2, 3, 4) for n in plant.artifacts[v].chunks}
    every |= {topics.chunk(name) for name in plant.manifests.values()}
    wiped.publish_paced((topic, b"") for topic in {*names, *every})
    wiped.stop()
    assert plant.there() == set()
    plant.come_back()
    assert plant.there() == {1, 2, 3, 4, 5}


def test_a_version_that_failed_on_the_way_leaves_the_broker(plant: Plant) -> None:
    """Chunks of a version that was published and never became ready are cleared by the next process too."""
    with plant.db.session() as session:
        session.get_one(ModelVersion, (MODEL, 5)).state = "failed"
    plant.link.stop()
    plant.start()
    plant.come_back()
    assert plant.there() == {1, 2, 3, 4}
    assert plant.publisher.figures().chunks.topics == len(
        set().union(*({plant.manifests[v], *plant.artifacts[v].chunks} for v in (1, 2, 3, 4)))
    ) + len(split_blob(GOLDEN)[0].chunks)
