"""A build that devices choose from: what is told and signed is about what they have chosen."""

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from edgewright.controller import registry
from edgewright.controller.blobs import BlobStore
from edgewright.controller.compiler.protocol import BuildResult, Built, DeviceAnswer
from edgewright.controller.database.engine import Database
from edgewright.controller.provenance.bundle import Told, open_bundle
from edgewright.controller.provenance.statements import CARD, SBOM, papers_in
from edgewright.controller.provenance.words import tell
from edgewright.controller.qualification.choice import Candidate, Result, choose
from edgewright.controller.rebuild.context import Context
from edgewright.controller.rebuild.versions import compile_version
from edgewright.wire.manifest import decode_manifest
from tests.controller.small_model import spec, write_folder

MODEL, TARGET = "small", "aarch64-ort-cpu"


class Devices:
    """One device that likes everything, and what the compiler would ship the least; or nobody."""

    def __init__(self, *, there: bool) -> None:
        self.there = there
        self.proposed: dict[str, str] = {}

    def willing(self, target: str) -> list[str]:
        """The device, where it is there."""
        assert target == TARGET
        return ["q1"] if self.there else []

    def propose(self, candidates: dict[str, str], devices: Sequence[str], *, limit_s: float) -> list[int]:
        """Remember what is to be measured; the first is the compiler's own choice."""
        del devices, limit_s
        self.proposed = dict(candidates)
        return [7]

    def is_over(self, orders: Sequence[int]) -> bool:
        """At once."""
        del orders
        return True

    def answers(self, orders: Sequence[int]) -> list[DeviceAnswer]:
        """The later a candidate was named, the faster it is."""
        return [
            DeviceAnswer(
                candidate=name,
                manifest_sha256=sha256,
                device="q1",
                order=orders[0],
                ok=True,
                latency_p50_us=1000 - 100 * i,
                latency_p99_us=1200,
                memory_mb=20.5,
                runtime="onnxruntime 1.31.1",
            )
            for i, (name, sha256) in enumerate(self.proposed.items())
        ]

    def pick(self, orders: Sequence[int]) -> Candidate | None:
        """By the real choice."""
        said = self.answers(orders)
        results = [Result(each.manifest_sha256, each.device, each.ok, each.latency_p50_us) for each in said]
        return choose([Candidate(name, sha256, 1) for name, sha256 in self.proposed.items()], results)

    def complaints(self, orders: Sequence[int]) -> list[str]:
        """None."""
        del orders
        return []


class Built1:
    """Version 1, built with or without a device, and attested."""

    def __init__(self, data: Path, *, there: bool) -> None:
        data.mkdir()
        self.blobs, self.devices = BlobStore(data / "blobs"), Devices(there=there)
        db = Database.in_folder(data)
        db.create()
        gates = msgspec.structs.replace(spec().gates, qualify_minutes=1.0)
        folder = write_folder(
            data / "pushed", msgspec.structs.replace(spec(), targets=(TARGET,), gates=gates)
        )
        with db.session() as session:
            registry.add_version(session, MODEL, registry.store_folder(self.blobs, folder), "push")
        context = Context(data, db, self.blobs, None, None, None, self.devices)  # type: ignore[arg-type]  # nothing is released
        self.result = msgspec.json.decode(
            self.blobs.read(compile_version(context, MODEL, 1)), type=BuildResult
        )
        db.close()

    @property
    def built(self) -> Built:
        """For the one target."""
        (built,) = self.result.built
        return built

    @property
    def told(self) -> Told:
        """Its signed statements."""
        manifest = decode_manifest(self.blobs.read(self.built.sha256))
        return open_bundle(self.blobs.read(self.built.bundle_sha256), manifest)

    @property
    def papers(self) -> dict[str, bytes]:
        """Card and bill of materials that the signed provenance names."""
        return {name: self.blobs.read(sha256) for name, sha256 in papers_in(self.told.provenance).items()}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Built1:
    """A version for which a device chose."""
    return Built1(tmp_path_factory.mktemp("asked") / "data", there=True)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Built1:
    """The same push where no device takes part."""
    return Built1(tmp_path_factory.mktemp("alone") / "data", there=False)


def test_card_and_bill_are_of_what_devices_chose(asked: Built1, alone: Built1) -> None:
    """Both name candidate and digest of the artifact that ships, and not those of the compiler's choice."""
    assert asked.built.chosen != alone.built.chosen
    for one, other in ((asked, alone), (alone, asked)):
        card, bill = one.papers[CARD].decode(), one.papers[SBOM].decode()
        assert one.built.artifact_sha256 in card
        assert other.built.artifact_sha256 not in card
        components = json.loads(bill)["components"]
        digests = {hashed["content"] for each in components for hashed in each.get("hashes", ())}
        assert one.built.artifact_sha256 in digests
        assert other.built.artifact_sha256 not in digests
    assert "measured on devices" in asked.papers[CARD].decode()
    assert "measured on devices" not in alone.papers[CARD].decode()
    assert (asked.result.card_sha256, asked.result.sbom_sha256) == tuple(
        papers_in(asked.told.provenance)[name] for name in (CARD, SBOM)
    )


def test_the_statement_says_what_devices_measured(asked: Built1, alone: Built1) -> None:
    """Device, order, figures and failures of every candidate are signed; without a device there are none."""
    internal = asked.told.provenance["predicate"]["buildDefinition"]["internalParameters"]
    assert (internal["candidate"], internal["qualification"]) == (asked.built.chosen, "hardware")
    assert len(internal["devices"]) == len(asked.devices.proposed) > 1
    (chosen,) = (each for each in internal["devices"] if each["candidate"] == asked.built.chosen)
    assert (chosen["device"], chosen["order"], chosen["ok"]) == ("q1", 7, True)
    assert chosen["latency_p50_us"] == min(each["latency_p50_us"] for each in internal["devices"])
    lines = [line.said for line in tell(asked.told, "00") if line.about == "On a device"]
    assert any(said.startswith(f"{asked.built.chosen} on q1, order 7: p50") for said in lines)
    internal = alone.told.provenance["predicate"]["buildDefinition"]["internalParameters"]
    assert (internal["qualification"], internal["devices"]) == ("emulated", [])


def test_nothing_of_the_choice_stays_behind(asked: Built1) -> None:
    """The stored result holds what ships alone, with ranges that a rebuild may inherit."""
    assert asked.result.retold is None
    assert asked.built.others == ()
    assert asked.built.numbers["device_latency_us"] > 0
