"""Orders and candidates that are not what they seem: nothing here ever comes to decide by one."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tuf.api.metadata import TargetFile

from edgewright.agent.candidatework import Tried, Try
from edgewright.agent.control import QualificationResult
from edgewright.agent.fetcher import never
from edgewright.agent.qualifier import qualify
from edgewright.agent.settings import QualificationSettings
from edgewright.agent.trial import LOWEST_PRIORITY, Bounds
from edgewright.wire import topics
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.errors import RunnerHangError
from edgewright.wire.manifest import Limits, split_blob
from edgewright.wire.qualification import LONGEST_LIFE_SECONDS, Measured
from simulators.device import DeviceStub
from simulators.releases import GOLDEN, make_manifest, random_artifact
from simulators.repository import DEVICE, RepositorySimulator, StolenKeys
from tests.attacks.stage import assert_lives_on, assert_resisted, assert_runs_one, set_stage

CANDIDATE = random_artifact(7)


def stage(tmp_path: Path, **owner: Any) -> tuple[DeviceStub, list[str]]:
    """The device of the stories, which takes candidates, and the list of those whose trial began."""
    device = set_stage(tmp_path, qualification=QualificationSettings(accept=True, **owner))
    tried: list[str] = []

    def trial(_manifest: Path, artifact: Path, _golden: Path) -> QualificationResult:
        tried.append(artifact.name)
        return QualificationResult(ok=True, latency_p50_us=100)

    device.qualification = trial
    return device, tried


def candidate(simulator: RepositorySimulator, artifact: bytes = CANDIDATE, **changed: Any) -> TargetFile:
    """What an order names it by; its files are retained."""
    return simulator.propose("int8", make_manifest(9, artifact, **changed), artifact, GOLDEN)


def measured(device: DeviceStub) -> list[Measured]:
    """What the device has told of candidates."""
    return [report.measured for report in device.reports() if report.measured is not None]


def order_topic(device: str = DEVICE) -> str:
    """Where a device's order lies."""
    return topics.qualification(device)


def test_order_for_another_device(tmp_path: Path) -> None:
    """An order that the director signed for another device measures nothing here."""
    device, tried = stage(tmp_path)
    raw = device.simulator.order_qualification(candidate(device.simulator), device="robot-2")
    device.simulator.topics.publish(order_topic(), raw)
    device.read_topics()
    assert not tried
    assert_resisted(device, "ForeignAssignment")
    assert_lives_on(device)


def test_order_replayed(tmp_path: Path) -> None:
    """An order that was done, shown again after a newer one, is not done again."""
    device, tried = stage(tmp_path)
    old = device.simulator.order_qualification(candidate(device.simulator))
    device.read_topics()
    device.simulator.order_qualification(candidate(device.simulator, random_artifact(8)))
    device.read_topics()
    assert len(tried) == len(measured(device)) == 2
    device.simulator.topics.publish(order_topic(), old)
    device.read_topics()
    assert len(tried) == 2
    assert_resisted(device, "RollbackAttack")


def test_two_orders_of_one_number(tmp_path: Path) -> None:
    """Another order under the number of the accepted one names the attack and measures nothing."""
    device, tried = stage(tmp_path)
    device.simulator.order_qualification(candidate(device.simulator), version=5)
    device.read_topics()
    other = candidate(device.simulator, random_artifact(8))
    device.simulator.order_qualification(other, version=5)
    device.read_topics()
    assert len(tried) == 1
    assert_resisted(device, "Equivocation")


def test_order_on_a_device_that_did_not_opt_in(tmp_path: Path) -> None:
    """Without its owner's word a device does not even read an honest order: no byte, no trial, no report."""
    device = set_stage(tmp_path)
    before = device.store.digests(), len(device.reports())
    tried: list[Path] = []

    def trial(_manifest: Path, artifact: Path, _golden: Path) -> QualificationResult:
        tried.append(artifact)
        return QualificationResult(ok=True)

    device.qualification = trial
    raw = device.simulator.order_qualification(candidate(device.simulator))
    device.read_topics()
    device.qualifying.document(raw)  # and were it delivered all the same
    device.settle()
    assert not tried
    assert (device.store.digests(), len(device.reports())) == before
    assert_runs_one(device)


def test_candidate_with_other_bytes(tmp_path: Path) -> None:
    """A candidate whose chunks have other bytes is never tried, and nobody holds that against it."""
    device, tried = stage(tmp_path)
    ordered = candidate(device.simulator)
    for chunk in split_blob(CANDIDATE)[1]:
        device.simulator.topics.publish(topics.chunk(sha256_hex(chunk)), b"another network")
    device.simulator.order_qualification(ordered)
    device.read_topics()
    assert not tried
    (result,) = measured(device)
    assert (result.ok, result.unmeasured, result.error) == (False, True, 21)
    assert_runs_one(device)
    assert_lives_on(device)


@pytest.mark.parametrize("lie", [{"version": 8}, {"model": "other"}])
def test_candidate_that_describes_another_one(tmp_path: Path, lie: Mapping[str, Any]) -> None:
    """A manifest that is not what the order says of it is not measured."""
    device, tried = stage(tmp_path)
    ordered = candidate(device.simulator)
    manifest = msgspec.structs.replace(make_manifest(9, CANDIDATE), **lie)
    other = device.simulator.propose("int8", manifest, CANDIDATE, GOLDEN)
    ordered.length, ordered.hashes = other.length, other.hashes
    device.simulator.order_qualification(ordered)
    device.read_topics()
    assert not tried
    (result,) = measured(device)
    assert (result.ok, result.error) == (False, 26)
    assert_runs_one(device)


def test_endless_trial(tmp_path: Path) -> None:
    """A trial that does not end is ended after the owner's seconds, whatever its manifest promises."""
    device, _ = stage(tmp_path)
    honest = device.qualification
    hanging = tmp_path / "python"
    hanging.write_text("#!/bin/sh\nexec sleep 600\n")
    hanging.chmod(0o700)
    environments, most = {"onnxruntime": str(hanging)}, Bounds(0.5, 256)

    def bounded(manifest: Path, artifact: Path, golden: Path) -> QualificationResult:
        files = (manifest, artifact, golden)
        return qualify(*files, b"", never, environments=environments, most=most, niceness=LOWEST_PRIORITY)

    device.qualification = bounded
    generous = Limits(0.01, 10**9, 10**6, 10, 10)
    device.simulator.order_qualification(candidate(device.simulator, limits=generous))
    device.read_topics()
    (result,) = measured(device)
    assert (result.ok, result.error) == (False, RunnerHangError.number)
    assert device.trials.spent(device.clock.now()) >= 0.5
    assert not device.trials.open()
    assert_runs_one(device)
    device.qualification = honest
    assert_lives_on(device)


def test_orders_without_end(tmp_path: Path) -> None:
    """Who has the director's key cannot keep a device busy for more than its owner's minutes of a day."""
    device, tried = stage(tmp_path, day_minutes=1.0)
    device.trials.spend(59.9, device.clock.now())
    device.simulator.order_qualification(candidate(device.simulator))
    device.read_topics()
    assert len(tried) == 1
    device.trials.spend(0.2, device.clock.now())
    for number in range(3):
        device.simulator.order_qualification(candidate(device.simulator, random_artifact(10 + number)))
        device.read_topics()
    assert len(tried) == 1
    assert_runs_one(device)
    assert_lives_on(device)


def test_orders_that_replace_each_other(tmp_path: Path) -> None:
    """Who replaces an order while its candidate is on trial gets no minute beside the owner's."""
    device, _ = stage(tmp_path, day_minutes=10.0, seconds=300.0)
    trials, running = 0, None
    for number in range(20):
        device.simulator.order_qualification(candidate(device.simulator, random_artifact(10 + number)))
        device.qualifying.document(device.simulator.topics.retained[order_topic()])
        if running is not None:
            device.qualifying.told(Tried(running.order, running.candidate.sha256, seconds=299.0))
        if not device.jobs:
            break
        device.step()
        (running,) = (job for job in device.jobs if isinstance(job, Try))
        device.jobs.clear()
        assert running.is_trial
        trials += 1
    assert trials == 3, "three of 299 s are the first that reach ten minutes"
    assert device.trials.spent(device.clock.now()) >= 600.0


def test_order_of_a_date_to_come(tmp_path: Path) -> None:
    """An order that is dated years ahead is open no longer than any order that is dated honestly."""
    device, _ = stage(tmp_path)
    years = timedelta(days=3650)
    issued = int(device.simulator.clock() + years.total_seconds())
    ordered = candidate(device.simulator)
    device.simulator.order_qualification(ordered, orders={"issued": issued}, life=years + timedelta(days=1))
    device.qualifying.document(device.simulator.topics.retained[order_topic()])
    assert device.trials.expires <= device.clock.now() + LONGEST_LIFE_SECONDS


def test_order_shown_as_an_assignment(tmp_path: Path) -> None:
    """An order on the topic of assignments installs nothing: a candidate cannot come to decide."""
    device, _ = stage(tmp_path)
    raw = device.simulator.order_qualification(candidate(device.simulator))
    device.simulator.topics.publish(order_topic(), b"")
    device.simulator.topics.publish(topics.assignment(DEVICE), raw)
    device.read_topics()
    assert_resisted(device, "TamperedMetadata")


def test_assignment_shown_as_an_order(tmp_path: Path) -> None:
    """An assignment on the topic of orders measures nothing."""
    device, tried = stage(tmp_path)
    raw = device.simulator.topics.retained[topics.assignment(DEVICE)]
    device.simulator.topics.publish(order_topic(), raw)
    device.read_topics()
    assert not tried
    assert_resisted(device, "TamperedMetadata")


def test_order_signed_by_another_key(tmp_path: Path) -> None:
    """An order that the director's keys have not signed is refused."""
    device, tried = stage(tmp_path)
    ordered = candidate(device.simulator)
    device.simulator.order_qualification(ordered, signed_by=StolenKeys.made_up())
    device.read_topics()
    assert not tried
    assert_resisted(device, "TamperedMetadata")
    assert_lives_on(device)


def test_order_that_lasts_for_years(tmp_path: Path) -> None:
    """An order that lasts longer than any honest one is refused."""
    device, tried = stage(tmp_path)
    device.simulator.order_qualification(candidate(device.simulator), life=timedelta(days=900))
    device.read_topics()
    assert not tried
    assert_resisted(device, "TamperedMetadata")
