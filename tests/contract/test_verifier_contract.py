"""One contract for whoever verifies: in this process, and in the verifier's process over its socket."""

import os
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from edgewright.agent.agreement import DirectorTrust
from edgewright.agent.fetcher import MetadataFetcher, TopicReader
from edgewright.agent.trust import Director, ImageRepository
from edgewright.agent.verifier.process import VerifierProcess, verifier_command
from edgewright.agent.verifier.seam import DirectorReader, ImageCatalogue
from edgewright.wire import topics
from edgewright.wire.errors import (
    BlobTimeoutError,
    BrokerUnreachableError,
    ExpiredMetadataError,
    RollbackAttackError,
    SlowRetrievalError,
    TamperedMetadataError,
    VerifierError,
)
from simulators.releases import make_manifest, random_artifact
from simulators.repository import DEVICE, RepositorySimulator

ONE, TWO = random_artifact(1), random_artifact(2)


class World(NamedTuple):
    """A repository, and both sides of who verifies it."""

    simulator: RepositorySimulator
    director: DirectorReader
    images: ImageCatalogue
    path: str


@pytest.fixture(params=["here", "process"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Each implementation in turn, enrolled with a repository that has one release."""
    simulator = RepositorySimulator(thresholds={"director": 2, "director-root": 2, "root": 2})
    path = simulator.release(make_manifest(1, ONE), ONE)
    fetcher = MetadataFetcher(TopicReader(simulator.topics), seconds=0.05)
    (tmp_path / "root.json").write_bytes(simulator.image_root)
    (tmp_path / "director-root.json").write_bytes(simulator.director_root)
    if request.param == "here":
        director = Director(simulator.director_root, tmp_path / "director", fetcher)
        images = ImageRepository(tmp_path / "image", simulator.image_root, fetcher)
        yield World(simulator, director, images, path)
        return
    process = VerifierProcess(lambda descriptor: verifier_command(tmp_path, descriptor), fetcher)
    yield World(simulator, process, process, path)
    process.stop()


def test_a_signed_release_is_found_proven_and_vouched_for(world: World) -> None:
    """What a refresh finds can be proven, and the proof holds without a topic, whatever came after it."""
    seen, target = world.images.refresh(time.time(), world.path)
    assert target is not None
    assert (seen.root, seen.timestamp) == (1, 2)
    proof = world.images.prove(target)
    world.simulator.rotate_keys("root", "targets")
    world.simulator.withdraw(world.path)
    seen, found = world.images.refresh(time.time(), world.path)
    assert (seen.root, seen.timestamp, found) == (2, 4, None)
    world.simulator.topics.retained.clear()
    world.images.vouch(target, proof)


def test_a_proof_of_other_bytes_is_refused(world: World) -> None:
    """A proof vouches for the release it was made of, and for no other bytes under its name."""
    _, target = world.images.refresh(time.time(), world.path)
    assert target is not None
    proof = world.images.prove(target)
    forged = type(target)(target.path, target.length, "e" * 64, target.custom)
    for claimed, shown in ((forged, proof), (target, b"no proof"), (target, zlib.compress(b"\x92\x90\x80"))):
        with pytest.raises(TamperedMetadataError):
            world.images.vouch(claimed, shown)


def test_a_document_is_read_with_the_root_that_vouches(world: World) -> None:
    """Two of two signatures make a document; one of them does not."""
    found = world.director.inspect(world.simulator.assign(world.path), 0)
    assert (found.assignment.version, found.trust.version) == (1, 1)
    one_thief = world.simulator.steal("director", 1)
    with pytest.raises(TamperedMetadataError):
        world.director.inspect(world.simulator.assign(world.path, signed_by=one_thief), 0)


def test_the_directors_roots_are_followed(world: World) -> None:
    """A document under new keys brings the device over two rotations; the old key says nothing any more."""
    stolen = world.simulator.steal("director")
    world.simulator.rotate_director()
    world.simulator.rotate_director()
    found = world.director.inspect(world.simulator.assign(world.path), 0)
    assert found.trust.version == 3
    with pytest.raises(TamperedMetadataError):
        world.director.inspect(world.simulator.assign(world.path, signed_by=stolen), 0)
    acknowledging = world.director.trust.ack_keys
    assert acknowledging == found.trust.ack_keys
    assert len(acknowledging) == 1


@pytest.mark.parametrize("signed_by", [("new",), ("old",)])
def test_a_root_that_one_side_has_signed_is_not_followed(world: World, signed_by: tuple[str, ...]) -> None:
    """A next root without the old keys, or without its own, is refused; documents under it are too."""
    world.simulator.rotate_director(signed_by=signed_by)
    with pytest.raises(TamperedMetadataError):
        world.director.follow(2)
    assert world.director.trust.version == 1


def test_a_withheld_root_is_found_out(world: World) -> None:
    """A document that demands a root which the broker hides is refused as RollbackAttack."""
    raw = world.simulator.sign_assignment(world.path, orders={"min_director_root": 2})
    with pytest.raises(RollbackAttackError):
        world.director.inspect(raw, 0)
    with pytest.raises(RollbackAttackError):
        world.director.inspect(world.simulator.sign_assignment(world.path), 2)


def test_errors_keep_their_class(world: World) -> None:
    """Expired, late, tampered and unreachable metadata come out as what they are."""
    with pytest.raises(ExpiredMetadataError):
        world.images.refresh(time.time() + 10**9)
    topic = topics.metadata("2.snapshot.json")
    snapshot = world.simulator.topics.retained.pop(topic)
    with pytest.raises(BlobTimeoutError):
        world.images.refresh(time.time())
    world.simulator.topics.retained[topic] = b"no zlib"
    with pytest.raises(TamperedMetadataError):
        world.images.refresh(time.time())
    world.simulator.topics.retained[topic] = snapshot
    world.simulator.topics.connected = False
    with pytest.raises(BrokerUnreachableError):
        world.images.refresh(time.time())
    world.simulator.topics.connected = True
    assert world.images.refresh(time.time())[0].timestamp == 2


def test_a_refresh_has_a_deadline(tmp_path: Path) -> None:
    """Files that come one by one just in time end the refresh as SlowRetrieval."""
    simulator = RepositorySimulator()
    fetcher = MetadataFetcher(TopicReader(simulator.topics), refresh_seconds=-1.0)
    with pytest.raises(SlowRetrievalError):
        ImageRepository(tmp_path, simulator.image_root, fetcher).refresh(time.time())


def _process(folder: Path, program: str, silence: float = 20.0) -> VerifierProcess:
    """A verifier whose program is another one."""
    fetcher = MetadataFetcher(TopicReader(RepositorySimulator().topics))
    return VerifierProcess(lambda fd: [sys.executable, "-c", program, str(fd)], fetcher, silence)


HANGS = "import time; time.sleep(60)"
CRASHES = "import os; os.abort()"
RAMBLES = (
    "import socket, sys, time; socket.socket(fileno=int(sys.argv[1])).sendall(b'x' * 99); time.sleep(60)"
)
FORGES = (
    "import socket, sys, time; s = socket.socket(fileno=int(sys.argv[1])); "
    "s.sendall(bytes([0, 0, 0, 2]) + b'??'); time.sleep(60)"
)


@pytest.mark.parametrize("program", [HANGS, CRASHES, RAMBLES, FORGES])
def test_a_broken_verifier_is_an_error_with_a_number(tmp_path: Path, program: str) -> None:
    """One that hangs, crashes or sends nonsense ends the question as Verifier, and nothing of it is left."""
    process = _process(tmp_path, program, silence=0.5)
    with pytest.raises(VerifierError) as caught:
        process.follow(0)
    assert caught.value.number == 53
    assert process._process is None


def test_a_killed_verifier_is_started_again(tmp_path: Path) -> None:
    """A verifier that died between two questions is replaced without a word."""
    simulator = RepositorySimulator()
    (tmp_path / "root.json").write_bytes(simulator.image_root)
    (tmp_path / "director-root.json").write_bytes(simulator.director_root)
    fetcher = MetadataFetcher(TopicReader(simulator.topics))
    process = VerifierProcess(lambda fd: verifier_command(tmp_path, fd), fetcher)
    assert isinstance(process.trust, DirectorTrust)
    assert process._process is not None
    first = process._process.pid
    process.stop()
    os.waitpid(first, os.WNOHANG)
    assert process.trust.version == 1
    assert process._process.pid != first
    process.stop()


def test_an_order_is_read_and_an_assignment_is_none(world: World) -> None:
    """An order is read with the root that vouches for it; an assignment is none, nor is one of nothing."""
    candidate = world.simulator.propose("int8", make_manifest(2, TWO), TWO)
    raw = world.simulator.order_qualification(candidate)
    found = world.director.inspect_order(raw, 1)
    assert (found.order.version, found.order.orders.device) == (1, DEVICE)
    assert [each.path for each in found.order.candidates] == [candidate.path]
    assert found.trust == world.director.trust
    with pytest.raises(TamperedMetadataError):
        world.director.inspect(raw, 1)
    with pytest.raises(TamperedMetadataError):
        world.director.inspect_order(world.simulator.assign(world.path), 1)
    with pytest.raises(TamperedMetadataError):
        world.director.inspect_order(world.simulator.order_qualification(), 1)
