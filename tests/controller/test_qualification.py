"""Ordering measurements, recording what devices say and choosing by it; a real database and director."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Targets

from edgewright.controller.compiler.protocol import BuildResult, Built
from edgewright.controller.database import select
from edgewright.controller.database.tables import Artifact, Device, Event, Model, ModelVersion
from edgewright.controller.database.versiontables import Qualification, QualificationOrder
from edgewright.controller.errors import (
    GateFailedError,
    InvalidRequestError,
    UnknownModelError,
    UnknownQualificationError,
    VersionNotReadyError,
)
from edgewright.controller.ingest.batch import Batch
from edgewright.controller.qualification.results import take
from edgewright.controller.qualification.service import LONGEST_S, Qualifications
from edgewright.controller.rebuild.context import Context
from edgewright.controller.rebuild.measuring import measure_build
from edgewright.wire.assignment import TargetCustom
from edgewright.wire.encryption import SCHEME, Encryption
from edgewright.wire.errors import MalformedMessageError
from edgewright.wire.manifest import Manifest, decode_manifest, encode_manifest, target_path
from edgewright.wire.messages import Hello
from edgewright.wire.qualification import FIELD, Measured
from simulators.releases import make_manifest, random_artifact
from tests.controller.parts import Parts, make_parts, make_qualifications

MODEL, TARGET = "garment-packing", "x86_64-ort-cpu"


class World:
    """Services with a released version, two willing devices, and a clock that a test moves."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.now = time.time()  # The director compares an order's date with its own clock.
        self.service = self.restart()
        self.released = self.put(make_manifest(1, random_artifact(1, 2000)))
        with parts.db.session() as session:
            session.add(Model(name=MODEL, created_at=0.0, versions=1))
            session.add(ModelVersion(model=MODEL, version=1, state="ready", source="push", created_at=0.0))
            session.add(
                Artifact(
                    model=MODEL,
                    version=1,
                    target=TARGET,
                    precision="int8",
                    qualification="emulated",
                    manifest_sha256=self.released,
                    manifest_length=1,
                    artifact_sha256="",
                    artifact_length=2000,
                    profile_sha256="",
                )
            )
            for name in ("q1", "q2", "r1"):
                session.add(Device(id=name, target=TARGET, bound_tags={"qualify": "yes"}))
        for name in ("q1", "q2"):
            self.greet(name, willing=True)

    def restart(self) -> Qualifications:
        """The service of another process on the same folder, connected."""
        parts = self.parts
        service = make_qualifications(
            parts.db, parts.blobs, parts.director, parts.publisher, lambda: self.now
        )
        service.reconnected()
        return service

    def put(self, manifest: Manifest) -> str:
        """Store a manifest; its SHA-256."""
        return self.parts.blobs.put(encode_manifest(manifest))

    def greet(self, device: str, *, willing: bool) -> None:
        """A device says hello."""
        with self.parts.db.session() as session:
            batch = Batch(session, self.parts.blobs, self.now)
            hello = Hello(
                device=device,
                agent_version="1",
                target=TARGET,
                tags={"qualify": "yes"},
                runtime="",
                sent_at=self.now,
                qualifies=willing,
            )
            batch.apply(hello)
            assert not batch.rejected
            batch.finish()

    def answer(
        self, device: str, order: int, sha256: str, p50: int, *, ok: bool = True, unmeasured: bool = False
    ) -> None:
        """A device reports."""
        measured = Measured(
            order=order,
            manifest_sha256=sha256,
            ok=ok,
            error=0 if ok else 43,
            detail="",
            latency_p50_us=p50,
            unmeasured=unmeasured,
        )
        with self.parts.db.session() as session:
            take(session, session.get_one(Device, device), measured)

    def rows(self) -> list[Qualification]:
        """All candidates on devices, in order."""
        with self.parts.db.reading() as session:
            return list(session.exec(select(Qualification).order_by("id")).all())

    def states(self) -> list[str]:
        """Their states."""
        return [row.state for row in self.rows()]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world of its own for each test."""
    parts = make_parts(tmp_path)
    yield World(parts)
    parts.director.close()
    parts.db.close()


def two_candidates(world: World) -> dict[str, str]:
    """Two candidates of version 2 that no release has."""
    return {
        name: world.put(make_manifest(2, random_artifact(seed, length)))
        for name, seed, length in (("int8", 2, 3000), ("fp32", 3, 9000))
    }


def test_an_order_is_signed_published_and_answered(world: World) -> None:
    """Each willing device gets one signed order with the candidates; its answers become the results."""
    (one, two) = world.service.order(MODEL, 1, ordered_by="ada")
    assert world.states() == ["waiting", "waiting"]
    world.service.step()
    assert world.states() == ["ordered", "ordered"]
    (first, raw), (second, _) = world.parts.publisher.orders
    assert (first, second) == ("q1", "q2")
    document = Metadata[Targets].from_bytes(raw).signed
    assert list(document.targets) == [f"qualification/{MODEL}/{TARGET}/1/int8.json"]
    assert document.unrecognized_fields[FIELD]["device"] == "q1"
    for row in world.rows():
        world.answer(row.device, row.number, world.released, 100)
    assert world.states() == ["measured", "measured"]
    assert world.service.is_over([one, two])
    picked = world.service.pick([one, two])
    assert picked is not None
    assert picked.manifest_sha256 == world.released
    world.service.step()
    assert world.parts.publisher.orders[2:] == [("q1", b""), ("q2", b"")]
    assert world.parts.publisher.withdrawn == [], "a released version stays on the broker"


def test_candidates_of_no_release_are_there_while_an_order_is_open(world: World) -> None:
    """They come with the order, stay for who still measures them, and go after the last one."""
    candidates = two_candidates(world)
    world.service.propose(candidates, ["q1", "q2"])
    world.service.step()
    assert set(world.parts.publisher.releases) == set(candidates.values())
    q1, q2 = (row.number for row in world.rows() if row.candidate == "int8")
    for sha256 in candidates.values():
        world.answer("q1", q1, sha256, 100)
    world.service.step()
    assert world.parts.publisher.withdrawn == []
    for sha256 in candidates.values():
        world.answer("q2", q2, sha256, 100)
    world.service.step()
    assert set(world.parts.publisher.withdrawn) == set(candidates.values())


def test_one_order_a_device_is_on_the_broker(world: World) -> None:
    """A second order waits until the first is over."""
    world.service.order(MODEL, 1, devices=["q1"])
    world.service.propose(two_candidates(world), ["q1"])
    world.service.step()
    world.service.step()
    assert world.states() == ["ordered", "waiting", "waiting"]
    world.answer("q1", world.rows()[0].number, world.released, 90)
    world.service.step()
    assert world.states() == ["measured", "ordered", "ordered"]
    numbers = [row.number for row in world.rows()]
    assert numbers[1] > numbers[0]


def test_what_nobody_answers_expires(world: World) -> None:
    """At its deadline an order ends, whether it was published or not, and leaves the broker."""
    world.service.order(MODEL, 1, devices=["q1"], limit_s=60.0)
    world.service.propose(two_candidates(world), ["q1"], limit_s=60.0)
    world.service.step()
    world.now += 61.0
    world.service.step()
    assert world.states() == ["expired"] * 3
    assert world.parts.publisher.orders[-1] == ("q1", b"")
    assert world.parts.publisher.releases == [], "what waited was never published"
    world.answer("q1", world.rows()[0].number, world.released, 90)
    assert world.states()[0] == "measured", "a late answer counts"


def test_an_order_survives_its_controller(world: World) -> None:
    """Another process puts open orders on the broker again, byte for byte, and closes what is over."""
    world.service.order(MODEL, 1, devices=["q1"])
    world.service.step()
    (published,) = world.parts.publisher.orders
    service = world.restart()
    service.step()
    assert world.parts.publisher.orders == [published, published]
    world.answer("q1", world.rows()[0].number, world.released, 90)
    world.restart().step()
    assert world.parts.publisher.orders[-1] == ("q1", b"")
    with world.parts.db.reading() as session:
        assert [order.closed for order in session.exec(select(QualificationOrder)).all()] == [True]


def test_a_build_that_was_killed_finds_its_answers(world: World) -> None:
    """Who asks again for the same candidates gets what was measured or missed; a person has it done anew."""
    candidates = two_candidates(world)
    orders = world.service.propose(candidates, ["q1", "q2"], limit_s=60.0)
    world.service.step()
    for row in world.rows():
        if row.device == "q1":
            world.answer("q1", row.number, row.manifest_sha256, 100)
    assert world.restart().propose(candidates, ["q1", "q2"], limit_s=60.0) == orders
    world.now += 61.0
    service = world.restart()
    service.step()
    assert service.propose(candidates, ["q1", "q2"], limit_s=60.0) == orders
    assert world.states() == ["measured", "measured", "expired", "expired"]
    assert service.is_over(orders)
    (first,) = service.order(MODEL, 1, devices=["q1"])
    assert service.order(MODEL, 1, devices=["q1"]) == [first]
    service.step()
    world.answer("q1", world.rows()[-1].number, world.released, 90)
    assert service.order(MODEL, 1, devices=["q1"]) != [first]


def test_an_order_that_cannot_be_published_holds_up_no_other(world: World) -> None:
    """A damaged candidate ends its own order, before it is signed or when it is put there again."""
    candidates = two_candidates(world)
    world.service.propose({"int8": candidates["int8"]}, ["q1"])
    world.service.order(MODEL, 1, devices=["q2"])
    world.parts.blobs.path(candidates["int8"]).write_bytes(b"damage")
    world.service.step()
    assert world.states() == ["expired", "ordered"]
    assert world.rows()[0].detail
    assert [device for device, _ in world.parts.publisher.orders] == ["q2"]
    world.service.propose({"fp32": candidates["fp32"]}, ["q1"])
    world.service.step()
    world.parts.publisher.damaged.add(candidates["fp32"])
    world.parts.publisher.orders.clear()
    world.restart().step()
    assert world.states() == ["expired", "ordered", "expired"]
    assert [device for device, raw in world.parts.publisher.orders if raw] == ["q2"]
    assert ("q1", b"") in world.parts.publisher.orders


def test_answers_that_nobody_asked_for_change_nothing(world: World) -> None:
    """Another device's order, an unknown number and a second answer are nobody's."""
    world.service.order(MODEL, 1, devices=["q1"])
    world.service.step()
    number = world.rows()[0].number
    world.answer("q2", number, world.released, 10)
    world.answer("q1", number + 1, world.released, 10)
    world.answer("q1", 0, world.released, 10)
    world.answer("q1", number, "f" * 64, 10)
    assert world.states() == ["ordered"]
    world.answer("q1", number, world.released, 90)
    world.answer("q1", number, world.released, 10, ok=False)
    assert world.states() == ["measured"]
    assert world.rows()[0].result["latency_p50_us"] == 90


def test_a_device_may_change_its_mind(world: World) -> None:
    """Only devices that say so in their newest hello are asked."""
    world.greet("q1", willing=False)
    assert world.service.willing(TARGET) == ["q2"]
    with pytest.raises(UnknownQualificationError):
        world.service.order(MODEL, 1, devices=["q1"])
    with pytest.raises(UnknownQualificationError):
        world.service.order(MODEL, 1, devices=["q2", "r1"])


def test_a_device_cannot_take_part_by_its_own_word(world: World) -> None:
    """A tag that a device gives itself makes nobody ask it; a person may still name it."""
    with world.parts.db.session() as session:
        session.add(Device(id="thief", target=TARGET, bound_tags={"line": "a"}))
    world.greet("thief", willing=True)
    with world.parts.db.reading() as session:
        assert session.get_one(Device, "thief").tags == {"line": "a", "qualify": "yes"}
    assert world.service.willing(TARGET) == ["q1", "q2"]
    world.service.order(MODEL, 1)
    assert {row.device for row in world.rows()} == {"q1", "q2"}
    world.service.order(MODEL, 1, devices=["thief"])
    assert {row.device for row in world.rows()} == {"q1", "q2", "thief"}


def test_what_cannot_be_ordered(world: World) -> None:
    """Unknown, unfinished and confidential versions, mixed candidates and long limits are refused."""
    with pytest.raises(UnknownModelError):
        world.service.order(MODEL, 2)
    with pytest.raises(UnknownModelError):
        world.service.order(MODEL, 1, "aarch64-ort-cpu")
    with world.parts.db.session() as session:
        session.add(ModelVersion(model=MODEL, version=2, state="building", source="push", created_at=0.0))
    with pytest.raises(VersionNotReadyError):
        world.service.order(MODEL, 2)
    with pytest.raises(InvalidRequestError):
        world.service.order(MODEL, 1, limit_s=LONGEST_S + 1)
    secret = make_manifest(2, random_artifact(2), encryption=Encryption(SCHEME, "0" * 16))
    with pytest.raises(InvalidRequestError):
        world.service.propose({"int8": world.put(secret)}, ["q1"])
    with pytest.raises(InvalidRequestError):
        world.service.propose({"a": world.released, **two_candidates(world)}, ["q1"])
    with pytest.raises(MalformedMessageError):
        world.service.propose({"../int8": world.released}, ["q1"])
    assert not world.rows()


def test_a_device_in_trouble_has_no_say(world: World) -> None:
    """What a device could not measure counts like no answer: the build ships what the others measured."""

    def answer() -> None:
        for row in world.rows():
            could = row.device == "q1"
            world.answer(row.device, row.number, row.manifest_sha256, 180, ok=could, unmeasured=not could)

    (chosen,) = measure(world, answer).built
    assert (chosen.chosen, chosen.qualification) == ("int8", "hardware")
    assert world.states() == ["measured", "measured", "unmeasured", "unmeasured"]


def test_devices_that_are_all_in_trouble_end_no_build(world: World) -> None:
    """Where every device has a full disk the build goes on as it was compiled."""

    def answer() -> None:
        for row in world.rows():
            world.answer(row.device, row.number, row.manifest_sha256, 0, ok=False, unmeasured=True)

    (chosen,) = measure(world, answer).built
    assert (chosen.chosen, chosen.qualification) == ("int8", "emulated")
    assert set(world.states()) == {"unmeasured"}


def built(world: World, name: str, length: int, others: tuple[Built, ...] = ()) -> Built:
    """What a compiler built of version 2, for a target that this machine emulates."""
    manifest = make_manifest(2, random_artifact(length, length), qualification="emulated")
    data = encode_manifest(manifest)
    return Built(
        target=TARGET,
        path=target_path(MODEL, TARGET, 2),
        length=len(data),
        sha256=world.parts.blobs.put(data),
        custom=TargetCustom(MODEL, TARGET, 2, 2),
        precision=name,
        qualification="emulated",
        artifact_sha256=manifest.artifact.sha256,
        artifact_length=length,
        patch_lengths={},
        profile_sha256="",
        chosen=name,
        verdicts=(),
        others=others,
    )


def build_of(world: World) -> BuildResult:
    """A build whose gates let two candidates pass."""
    return BuildResult(
        model=MODEL,
        version=2,
        labels=("Bag", "Shirt"),
        built=(built(world, "int8", 3000, (built(world, "fp32", 9000),)),),
        ranges_sha256="",
        metrics={},
    )


def context_of(world: World) -> Context:
    """The surroundings of a build."""
    parts = world.parts
    return Context(
        parts.data,
        parts.db,
        parts.blobs,
        parts.repository,
        parts.publisher,  # type: ignore[arg-type]  # a simulator
        parts.rollouts,
        world.service,
    )


def measure(world: World, answer: Callable[[], None]) -> BuildResult:
    """Run the step between compiling and releasing, while ``answer`` plays devices and clock."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(measure_build, context_of(world), build_of(world), 60.0)
        end = time.monotonic() + 20
        while not world.rows() and time.monotonic() < end:
            time.sleep(0.01)
        world.service.step()
        answer()
        world.service.step()
        return waiting.result(20)


def answer_all(world: World, p50: dict[str, int]) -> None:
    """Both devices say how long each candidate takes; 0 for one that fails."""
    for row in world.rows():
        took = p50[row.candidate]
        world.answer(row.device, row.number, row.manifest_sha256, took, ok=took > 0)


def test_a_build_ships_what_devices_chose(world: World) -> None:
    """The fastest candidate becomes the artifact, and its manifest says that hardware has measured it."""
    result = measure(world, lambda: answer_all(world, {"int8": 240, "fp32": 180}))
    (chosen,) = result.built
    assert (chosen.chosen, chosen.qualification, chosen.others) == ("fp32", "hardware", ())
    manifest = decode_manifest(world.parts.blobs.read(chosen.sha256))
    assert (manifest.qualification, manifest.artifact.length) == ("hardware", 9000)
    said = [(each.candidate, each.device, each.ok, each.latency_p50_us) for each in chosen.answers]
    assert said == [
        ("fp32", "q1", True, 180),
        ("fp32", "q2", True, 180),
        ("int8", "q1", True, 240),
        ("int8", "q2", True, 240),
    ]
    assert {each.order for each in chosen.answers} == {row.number for row in world.rows()}
    assert chosen.numbers["device_latency_us"] == 180


def test_a_build_that_no_device_answers_stays_emulated(world: World) -> None:
    """At the deadline the build goes on with what the gates have chosen, and says that it was emulated."""

    def let_time_pass() -> None:
        world.now += 61

    (chosen,) = measure(world, let_time_pass).built
    assert (chosen.chosen, chosen.qualification, chosen.others) == ("int8", "emulated", ())


def test_a_build_that_fails_on_its_devices_is_not_released(world: World) -> None:
    """Where devices have measured everything and nothing does, the build ends with what they say."""
    with pytest.raises(GateFailedError, match="int8 on q1"):
        measure(world, lambda: answer_all(world, {"int8": 0, "fp32": 0}))


def test_a_candidate_that_nobody_answered_for_is_not_failed(world: World) -> None:
    """Where devices fail one candidate and never answer for the other, the other ships as it was compiled."""

    def answer() -> None:
        for row in world.rows():
            if row.candidate == "int8":
                world.answer(row.device, row.number, row.manifest_sha256, 0, ok=False)
        world.now += 61

    (chosen,) = measure(world, answer).built
    assert (chosen.chosen, chosen.qualification, chosen.others) == ("fp32", "emulated", ())


def test_one_device_does_not_end_a_build(world: World) -> None:
    """What one device measured ships though another fails everything, and a person is told of that device."""

    def answer() -> None:
        for row in world.rows():
            took = 180 if row.candidate == "fp32" else 240
            world.answer(row.device, row.number, row.manifest_sha256, took, ok=row.device == "q1")

    (chosen,) = measure(world, answer).built
    assert (chosen.chosen, chosen.qualification) == ("fp32", "hardware")
    with world.parts.db.reading() as session:
        told = session.exec(select(Event).where(Event.kind == "qualification.disputed")).all()
    assert ["failed on q2:" in event.sentence for event in told] == [True]


def test_a_build_without_devices_is_what_it_was(world: World) -> None:
    """Nobody is asked where no device of the target takes part."""
    for device in ("q1", "q2"):
        world.greet(device, willing=False)
    (chosen,) = measure_build(context_of(world), build_of(world), 60.0).built
    assert (chosen.chosen, chosen.qualification, chosen.others) == ("int8", "emulated", ())
    assert not world.rows()
