"""Measuring candidates: what a device takes, what it does first, what it remembers and what it gives back."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from tuf.api.metadata import TargetFile

from edgewright.agent.candidatework import BYTES_SHARE, CalledOff, Tried, Try
from edgewright.agent.control import QualificationResult
from edgewright.agent.qualifying import MOST_STARTS
from edgewright.agent.settings import QualificationSettings
from edgewright.agent.trials import DAY_SECONDS
from edgewright.wire import messages
from edgewright.wire.errors import (
    ConfidentialKeyError,
    EdgewrightError,
    IncompatibleTargetError,
    RebootLoopError,
    RunnerCrashError,
    RuntimeLoadError,
    StorageFullError,
)
from edgewright.wire.qualification import MAX_CANDIDATES, Measured
from simulators.device import DeviceStub
from simulators.releases import GOLDEN, make_manifest, random_artifact
from simulators.repository import MODEL, TARGET, RepositorySimulator

WILLING = QualificationSettings(accept=True)
ARTIFACTS = [random_artifact(number) for number in range(1, 4)]


def propose(simulator: RepositorySimulator, count: int = 2, first: int = 0) -> list[TargetFile]:
    """Candidates of version 9, each with an artifact of its own."""
    return [
        simulator.propose(f"c{n}", make_manifest(9, ARTIFACTS[n]), ARTIFACTS[n], GOLDEN)
        for n in range(first, first + count)
    ]


def measured(device: DeviceStub) -> list[Measured]:
    """What the device has told of candidates."""
    return [report.measured for report in device.reports() if report.measured is not None]


def order_of(simulator: RepositorySimulator) -> bytes:
    """What lies on the device's topic of orders."""
    return simulator.topics.retained["ew/1/d/robot-1/qualify"]


def make_device(folder: Path, simulator: RepositorySimulator, **options: object) -> DeviceStub:
    """A willing device that has started."""
    options.setdefault("qualification", WILLING)
    return DeviceStub(simulator, folder, **options).start()  # type: ignore[arg-type]  # options are named


def numbers(p50: int) -> Callable[[Path, Path, Path], QualificationResult]:
    """A trial that measures so much."""
    return lambda *_: QualificationResult(
        ok=True, latency_p50_us=p50, latency_p99_us=2 * p50, threads=2, placement={"CPU": 7}
    )


def test_each_candidate_is_measured_and_reported(tmp_path: Path) -> None:
    """Each candidate of an order is fetched, tried and told of in one report, and no file of it stays."""
    simulator = RepositorySimulator()
    device = make_device(tmp_path, simulator)
    device.qualification = numbers(70)
    simulator.order_qualification(*propose(simulator))
    device.read_topics()
    told = measured(device)
    assert [(m.order, m.ok, m.latency_p50_us, m.threads) for m in told] == [(1, True, 70, 2)] * 2
    assert len({m.manifest_sha256 for m in told}) == 2
    assert told[0].placement == {"CPU": 7}
    assert told[0].runtime.startswith("onnxruntime ")
    assert device.store.digests() == set()
    assert device.running is None
    assert not device.journal.deployments()


def test_a_report_of_a_candidate_is_no_error_of_the_device(tmp_path: Path) -> None:
    """A candidate that fails is told of with its number; the report itself has none."""
    simulator = RepositorySimulator()
    device = make_device(tmp_path, simulator)
    device.qualification = lambda *_: QualificationResult(ok=False, error=43, detail="It differs.")
    simulator.order_qualification(*propose(simulator, 1))
    device.read_topics()
    (report,) = [report for report in device.reports() if report.measured]
    assert (report.error, report.state, report.name) == (0, None, "CandidateFailed")
    assert report.measured is not None
    assert (report.measured.ok, report.measured.error, report.measured.detail) == (False, 43, "It differs.")
    assert report.release is not None
    assert (report.release.model, report.release.version) == (MODEL, 9)


def test_a_crash_of_one_candidate_does_not_hold_up_the_next(tmp_path: Path) -> None:
    """A trial that ends badly is that candidate's result; the others are measured."""
    simulator = RepositorySimulator()
    device = make_device(tmp_path, simulator)
    first = [True]

    def trial(*_: Path) -> QualificationResult:
        if first.pop() if first else False:
            raise RunnerCrashError("It ended.")
        return QualificationResult(ok=True)

    device.qualification = trial
    simulator.order_qualification(*propose(simulator))
    device.read_topics()
    assert [(m.ok, m.error) for m in measured(device)] == [(False, 45), (True, 0)]


def test_the_same_order_again_measures_nothing_again(tmp_path: Path) -> None:
    """An order that is delivered twice is done once, after a restart too."""
    simulator = RepositorySimulator()
    device = make_device(tmp_path, simulator)
    simulator.order_qualification(*propose(simulator, 1))
    device.read_topics()
    device.read_topics()
    device.stop()
    again = make_device(tmp_path, simulator)
    again.read_topics()
    assert len(measured(again)) == 1


def test_an_order_is_taken_up_after_a_kill(tmp_path: Path) -> None:
    """What was not measured when the power went is measured after the next start, without a new order."""
    simulator = RepositorySimulator()
    device = make_device(tmp_path, simulator)
    simulator.order_qualification(*propose(simulator))
    device.qualifying.document(simulator.topics.retained["ew/1/d/robot-1/qualify"])
    device.step()
    device.step()
    assert len(measured(device)) == 1
    device.cut_power()
    again = make_device(tmp_path, simulator)
    again.qualifying.drive()
    again.settle()
    assert [m.ok for m in measured(again)] == [True, True]


def test_a_candidate_that_takes_the_agent_with_it_is_given_up(tmp_path: Path) -> None:
    """After three starts of a trial that no end followed, the candidate has failed and the next one comes."""
    simulator = RepositorySimulator()
    candidates = propose(simulator)
    device = make_device(tmp_path, simulator)
    simulator.order_qualification(*candidates)
    device.qualifying.document(order_of(simulator))
    for _ in range(3):
        device.qualifying.drive()
        device.step()
        assert [job.is_trial for job in device.jobs if isinstance(job, Try)] == [True]
        assert not measured(device)
        device.cut_power()
        device = make_device(tmp_path, simulator)
    device.qualifying.drive()
    device.settle()
    assert [(m.ok, m.error) for m in measured(device)] == [(False, RebootLoopError.number), (True, 0)]


def test_ends_that_somebody_orders_are_not_the_candidates(tmp_path: Path) -> None:
    """Kills while a candidate is fetched and orderly ends of its trial do not count as its starts."""
    simulator = RepositorySimulator()
    device = make_device(tmp_path, simulator)
    simulator.order_qualification(*propose(simulator, 1))
    device.qualifying.document(order_of(simulator))
    for _ in range(MOST_STARTS):
        assert [job.is_trial for job in device.jobs if isinstance(job, Try)] == [False]
        device.cut_power()
        device = make_device(tmp_path, simulator)
        device.qualifying.drive()
    for _ in range(MOST_STARTS):
        device.step()
        assert [job.is_trial for job in device.jobs if isinstance(job, Try)] == [True]
        device.stop()
        device = make_device(tmp_path, simulator)
        device.qualifying.drive()
    assert [candidate.starts for candidate in device.trials.open()] == [0]
    device.settle()
    assert [m.ok for m in measured(device)] == [True]
    assert device.trials.spent(device.clock.now()) < WILLING.seconds, "what was not taken came back"


def test_a_try_that_is_called_off_before_its_trial_forgives_no_start(tmp_path: Path) -> None:
    """A deployment that interrupts the transfer takes back none of the starts that a kill has left."""
    simulator = RepositorySimulator()
    device = make_device(tmp_path, simulator)
    simulator.order_qualification(*propose(simulator, 1))
    device.qualifying.document(order_of(simulator))
    device.step()
    device.cut_power()
    device = make_device(tmp_path, simulator)
    device.qualifying.drive()
    job = device.jobs.popleft()
    assert isinstance(job, Try)
    assert not job.is_trial
    device.qualifying.told(CalledOff(job.order, job.candidate.sha256))
    assert [candidate.starts for candidate in device.trials.open()] == [1]


def test_the_devices_own_trouble_is_no_failure_of_the_candidate(tmp_path: Path) -> None:
    """A full disk and a runtime that is gone are told as not measured; a crash of the trial is a failure."""
    simulator = RepositorySimulator()
    device = make_device(tmp_path, simulator)
    simulator.order_qualification(*propose(simulator, 3))
    device.qualifying.document(order_of(simulator))
    for error in (
        StorageFullError("No room."),
        RuntimeLoadError("No such Python."),
        RunnerCrashError("Bad."),
    ):
        while not (isinstance(device.jobs[0], Try) and device.jobs[0].is_trial):
            device.step()
        job = device.jobs.popleft()
        assert isinstance(job, Try)
        device.qualifying.told(Tried(job.order, job.candidate.sha256, error=error))
    told = measured(device)
    assert [(m.ok, m.unmeasured, m.error) for m in told] == [
        (False, True, StorageFullError.number),
        (False, True, RuntimeLoadError.number),
        (False, False, RunnerCrashError.number),
    ]
    assert device.names() == ["CandidateUnmeasured", "CandidateUnmeasured", "CandidateFailed"]


def test_an_owner_who_turns_it_off_gets_the_room_back(tmp_path: Path) -> None:
    """A device that takes candidates no longer drops what was open, and keeps no file of it."""
    simulator = RepositorySimulator()
    device = make_device(tmp_path, simulator)
    simulator.order_qualification(*propose(simulator))
    device.qualifying.document(order_of(simulator))
    device.step()
    assert device.store.digests()
    device.cut_power()
    again = make_device(tmp_path, simulator, qualification=QualificationSettings())
    again.qualifying.drive()
    assert not again.trials.open()
    assert not again.trials.needed()
    assert again.store.digests() == set()
    assert not again.jobs


def test_the_seconds_of_a_trial_are_spent_before_it_begins(tmp_path: Path) -> None:
    """A kill during a trial leaves all of its seconds spent; a trial that ends gives the rest back."""
    simulator = RepositorySimulator()
    device = make_device(tmp_path, simulator)
    simulator.order_qualification(*propose(simulator))
    device.qualifying.document(order_of(simulator))
    device.step()
    device.cut_power()
    device = make_device(tmp_path, simulator)
    now = device.clock.now()
    assert device.trials.spent(now) == WILLING.seconds
    device.qualifying.drive()
    device.step()
    assert device.trials.spent(now) == 2 * WILLING.seconds
    job = device.jobs.popleft()
    assert isinstance(job, Try)
    device.qualifying.told(Tried(job.order, job.candidate.sha256, QualificationResult(ok=True), seconds=7.0))
    assert device.trials.spent(now) == WILLING.seconds + 7.0


def test_a_deployment_comes_first(tmp_path: Path) -> None:
    """While a deployment is under way no candidate is tried; afterwards it is, and its start counts once."""
    simulator = RepositorySimulator()
    device = make_device(tmp_path, simulator)
    simulator.order_qualification(*propose(simulator, 1))
    device.qualifying.document(simulator.topics.retained["ew/1/d/robot-1/qualify"])
    assert len(device.jobs) == 1
    path = simulator.release(make_manifest(1, ARTIFACTS[2]), ARTIFACTS[2], GOLDEN)
    simulator.assign(path)
    device.deployer.document(simulator.topics.retained["ew/1/d/robot-1/assignment"])
    assert [type(job).__name__ for job in device.jobs] == ["Agree"], "the try has made room"
    device.qualifying.drive()
    assert len(device.jobs) == 1
    assert [candidate.starts for candidate in device.trials.open()] == [0]
    device.settle()
    assert device.running is not None
    assert [m.ok for m in measured(device)] == [True]
    assert device.running.version == 1, "what was measured decides nothing"


def test_an_order_that_is_past_its_expiry_ends(tmp_path: Path) -> None:
    """A device that was away until after the expiry measures nothing, and says so."""
    simulator = RepositorySimulator()
    clock = [1_800_000_000.0]
    simulator.clock = lambda: clock[0]
    device = make_device(tmp_path, simulator, system_time=lambda: clock[0])
    simulator.order_qualification(*propose(simulator), life=timedelta(hours=1))
    device.qualifying.document(simulator.topics.retained["ew/1/d/robot-1/qualify"])
    device.jobs.clear()
    device.cut_power()
    clock[0] += 3700
    again = make_device(tmp_path, simulator, system_time=lambda: clock[0])
    again.qualifying.drive()
    again.settle()
    assert not measured(again)
    assert "QualificationExpired" in again.names()
    assert not again.trials.open()


def test_a_newer_order_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    """Open candidates of an order that was replaced are not measured any more."""
    simulator = RepositorySimulator()
    device = make_device(tmp_path, simulator)
    one, two, three = propose(simulator, 3)
    simulator.order_qualification(one, two)
    device.qualifying.document(simulator.topics.retained["ew/1/d/robot-1/qualify"])
    simulator.order_qualification(three)
    device.read_topics()
    assert [(m.order, m.ok) for m in measured(device)] == [(2, True)]


def test_trials_of_a_day_end(tmp_path: Path) -> None:
    """Once trials have taken the owner's minutes of a day, the next one waits for another day."""
    simulator = RepositorySimulator()
    clock = [1_800_000_000.0]
    simulator.clock = lambda: clock[0]
    uptime = [0.0]
    device = make_device(tmp_path, simulator, system_time=lambda: clock[0], monotonic=lambda: uptime[0])
    device.trials.spend(3600.0, clock[0])
    simulator.order_qualification(*propose(simulator, 1), life=timedelta(days=2))
    device.read_topics()
    assert not measured(device)
    clock[0] += DAY_SECONDS
    device.qualifying.drive()
    assert not device.jobs, "it is not looked at each second"
    uptime[0] += 60.0
    device.qualifying.drive()
    device.settle()
    assert [m.ok for m in measured(device)] == [True]


def test_candidates_leave_most_of_the_days_bytes_to_deployments(tmp_path: Path) -> None:
    """A candidate beyond its share of the day's bytes waits with its order open; a deployment still runs."""
    simulator = RepositorySimulator()
    share = len(ARTIFACTS[0]) + 50_000
    device = make_device(tmp_path, simulator, day_bytes=int(share / BYTES_SHARE))
    simulator.order_qualification(*propose(simulator))
    device.read_topics()
    assert len(measured(device)) == 1
    assert len(device.trials.open()) == 1
    simulator.assign(simulator.release(make_manifest(1, ARTIFACTS[2]), ARTIFACTS[2], GOLDEN))
    device.read_topics()
    assert device.running is not None
    assert len(device.trials.open()) == 1, "what the deployment took is no candidate's either"


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"target": "aarch64-ort-cpu"}, IncompatibleTargetError),
        ({"confidential": True}, ConfidentialKeyError),
    ],
)
def test_what_this_device_cannot_measure_is_refused_whole(
    tmp_path: Path, changed: dict[str, object], error: type[EdgewrightError]
) -> None:
    """An order with a candidate for another target, or a confidential one, is refused before a byte comes."""
    simulator = RepositorySimulator()
    device = make_device(tmp_path, simulator)
    manifest = make_manifest(9, ARTIFACTS[0], target=changed.get("target", TARGET))
    candidate = simulator.propose("c0", manifest, ARTIFACTS[0], GOLDEN)
    if "confidential" in changed:
        candidate.unrecognized_fields["custom"]["confidential"] = True
    simulator.order_qualification(candidate)
    device.read_topics()
    assert device.names() == [error.__name__.removesuffix("Error")]
    assert device.store.digests() == set()
    assert device.trials.accepted.version == 0


def test_more_candidates_than_an_order_may_have(tmp_path: Path) -> None:
    """An order with more candidates than the contract allows is no order."""
    simulator = RepositorySimulator()
    device = make_device(tmp_path, simulator)
    manifest = make_manifest(9, ARTIFACTS[0])
    many = [simulator.propose(f"c{n}", manifest, ARTIFACTS[0], GOLDEN) for n in range(MAX_CANDIDATES + 1)]
    simulator.order_qualification(*many)
    device.read_topics()
    assert device.names() == ["TamperedMetadata"]


class OldReport(msgspec.Struct, frozen=True, tag_field="kind", tag="report"):
    """A report as a controller reads it that knows no candidates."""

    device: str
    stream: str
    seq: int
    sent_at: float
    detail: str = ""


def test_an_older_controller_reads_the_report(tmp_path: Path) -> None:
    """What was measured is one more field of a report: who does not know it takes the rest."""
    simulator = RepositorySimulator()
    device = make_device(tmp_path, simulator)
    simulator.order_qualification(*propose(simulator, 1))
    device.read_topics()
    (report,) = [report for report in device.reports() if report.measured]
    old = msgspec.msgpack.decode(messages.encode(report), type=OldReport)
    assert (old.device, old.stream, old.seq) == (report.device, report.stream, report.seq)
    assert "does here: p50 100 us" in old.detail
