"""The life of deployments on one device, with everything real but the line and the runtime."""

from pathlib import Path

import pytest

from edgewright.agent import control
from edgewright.agent.control import QualificationResult
from edgewright.controller.compiler.patches import encode_patch
from edgewright.wire import topics
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.deployment import State
from edgewright.wire.errors import EdgewrightError, LatencyLimitError, StorageFullError
from edgewright.wire.manifest import split_blob
from simulators.device import DeviceStub
from simulators.releases import GOLDEN, make_manifest, random_artifact
from simulators.repository import RepositorySimulator

ONE, TWO, THREE = random_artifact(1), random_artifact(2), random_artifact(3)
WHOLE_WAY = [
    State.ASSIGNED,
    State.FETCHING,
    State.STAGED,
    State.QUALIFYING,
    State.SHADOWING,
    State.WAITING_SAFE,
    State.PROBATION,
    State.COMMITTED,
]


@pytest.fixture
def simulator() -> RepositorySimulator:
    """A repository with three releases."""
    made = RepositorySimulator()
    for version, artifact in enumerate((ONE, TWO, THREE), start=1):
        made.release(make_manifest(version, artifact), artifact, GOLDEN)
    return made


@pytest.fixture
def device(simulator: RepositorySimulator, tmp_path: Path) -> DeviceStub:
    """A device that runs nothing yet."""
    return DeviceStub(simulator, tmp_path / "device").start()


def state_of(device: DeviceStub) -> State:
    """State of the newest deployment, read anew."""
    return device.latest.state


def assign(device: DeviceStub, version: int, **orders: object) -> None:
    """Assign a version and let the device work."""
    device.simulator.assign(f"garment-packing/x86_64-ort-cpu/{version}.json", orders=orders)
    device.read_topics()


def test_first_release_goes_the_whole_way(device: DeviceStub) -> None:
    """A device without a model fetches, proves and commits its first release, each state reported once."""
    assign(device, 1)
    assert device.states() == WHOLE_WAY
    assert device.running_artifact == ONE
    assert device.latest.fetched_bytes > len(ONE)
    assert device.journal.floors() == {"garment-packing": 1}


def test_second_release_leaves_the_first_warm(device: DeviceStub) -> None:
    """After an update the new model decides and the old one stays loaded beside it."""
    assign(device, 1)
    assign(device, 2)
    assert device.running_artifact == TWO
    assert sorted(Path(path).read_bytes() for path in device.line.loaded.values()) == sorted([ONE, TWO])
    assert [release and release.version for release in (device.deployer.active, device.deployer.standby)] == [
        2,
        1,
    ]


def test_candidate_is_shadowed_before_it_decides(device: DeviceStub) -> None:
    """The orders of an update are load, shadow, swap, in the free slot, with the manifest's frames."""
    assign(device, 1)
    device.line.orders.clear()
    assign(device, 2)
    load, shadow, swap = device.line.orders
    assert isinstance(load, control.Load)
    assert not load.stand_in
    assert (shadow, swap) == (control.Shadow("b", 10), control.Swap("b", 10))


def test_repeated_document_changes_nothing(device: DeviceStub) -> None:
    """The same retained assignment, read again after a reconnect, makes no report and no work."""
    assign(device, 1)
    before = device.outbox.waiting
    device.read_topics()
    device.read_topics()
    assert device.outbox.waiting == before


def test_assignment_of_what_runs_commits_without_work(device: DeviceStub) -> None:
    """A newer assignment of the running release is committed without an order or a chunk."""
    assign(device, 1)
    orders, subscribed = len(device.line.orders), len(device.simulator.topics.subscribed)
    assign(device, 1)
    assert state_of(device) is State.COMMITTED
    assert device.latest.assignment.version == 2
    assert len(device.line.orders) == orders
    chunks = [t for t in device.simulator.topics.subscribed[subscribed:] if "/chunk/" in t]
    assert chunks == []


def test_going_back_needs_no_download(device: DeviceStub) -> None:
    """An ordered rollback to the release in the other slot fetches nothing and qualifies again."""
    assign(device, 1)
    assign(device, 2)
    assign(device, 1, allow_rollback=True)
    assert device.running_artifact == ONE
    assert device.latest.fetched_bytes == 0
    assert device.states()[-8:] == WHOLE_WAY


def test_newer_assignment_supersedes(device: DeviceStub) -> None:
    """An assignment that comes while another one is worked on ends that one and is done instead."""
    path = "garment-packing/x86_64-ort-cpu/{}.json"
    device.deployer.document(device.simulator.assign(path.format(1)))
    device.step()
    device.deployer.document(device.simulator.assign(path.format(2)))
    device.settle()
    assert device.running_artifact == TWO
    assert [d.state for d in device.journal.deployments()] == [State.COMMITTED, State.SUPERSEDED]


@pytest.mark.parametrize("steps", range(1, 9))
def test_superseding_at_every_step(device: DeviceStub, steps: int) -> None:
    """Wherever a deployment stands when it is superseded, the device ends on the newer release."""
    assign(device, 1)
    path = "garment-packing/x86_64-ort-cpu/{}.json"
    device.deployer.document(device.simulator.assign(path.format(2)))
    for _ in range(steps):
        device.step()
    device.deployer.document(device.simulator.assign(path.format(3)))
    device.settle()
    assert device.running_artifact == THREE
    assert device.running is not None
    assert device.running.version == 3
    assert state_of(device) is State.COMMITTED


@pytest.mark.parametrize("steps", range(9))
def test_power_cut_at_every_step(simulator: RepositorySimulator, tmp_path: Path, steps: int) -> None:
    """Cut at any step, the device comes back with a model that decides and finishes the deployment."""
    first = DeviceStub(simulator, tmp_path / "device").start()
    assign(first, 1)
    first.deployer.document(simulator.assign("garment-packing/x86_64-ort-cpu/2.json"))
    for _ in range(steps):
        first.step()
    first.cut_power()
    second = DeviceStub(simulator, tmp_path / "device").start()
    second.read_topics()
    assert second.running_artifact == TWO
    assert state_of(second) is State.COMMITTED
    assert second.latest.assignment.version == 2


def test_committed_model_is_loaded_without_network(simulator: RepositorySimulator, tmp_path: Path) -> None:
    """After a restart the active model decides again and nothing is read from any topic."""
    first = DeviceStub(simulator, tmp_path / "device").start()
    assign(first, 1)
    assign(first, 2)
    first.cut_power()
    subscribed = len(simulator.topics.subscribed)
    second = DeviceStub(simulator, tmp_path / "device").start()
    assert second.running_artifact == TWO
    assert len(second.line.loaded) == 2
    assert len(simulator.topics.subscribed) == subscribed


def test_line_that_dies_gets_its_models_back(device: DeviceStub) -> None:
    """A new line process gets the active model first, then the one beside it."""
    assign(device, 1)
    assign(device, 2)
    device.line.orders.clear()
    device.restart_line()
    kinds = [(type(order).__name__, getattr(order, "slot", "")) for order in device.line.orders]
    assert kinds == [("Load", "b"), ("Swap", "b"), ("Load", "a")]
    loads = [order for order in device.line.orders if isinstance(order, control.Load)]
    assert [load.stand_in for load in loads[-2:]] == [False, True]
    assert device.running_artifact == TWO


def test_line_that_dies_with_a_candidate_starts_it_over(device: DeviceStub) -> None:
    """A candidate in the hands of a line that dies is qualified again and committed."""
    assign(device, 1)
    device.line.silent = {control.Shadow}
    assign(device, 2)
    assert state_of(device) is State.SHADOWING
    device.line.silent = set()
    device.restart_line()
    assert state_of(device) is State.COMMITTED
    assert device.running_artifact == TWO
    assert "LineRestarted" in device.names()


def test_candidate_of_an_adopted_line_is_unloaded(device: DeviceStub) -> None:
    """A line that outlived its agent gives a candidate's memory back before that is proven again."""
    assign(device, 1)
    active = control.Held(slot="a", digest=device.latest.release.manifest_sha256, standing="active")
    device.line.orders.clear()
    device.deployer.line_started((active, control.Held(slot="b", digest="0" * 64, standing="candidate")))
    assert device.line.orders == [control.Unload("b")]


def test_failed_qualification_changes_nothing(device: DeviceStub) -> None:
    """A release that fails on this device ends failed with its error; the running model goes on."""
    assign(device, 1)
    device.qualification = lambda *_: QualificationResult(ok=False, error=43, detail="differs by 0.4")
    assign(device, 2)
    report = device.reports()[-1]
    assert (report.state, report.error, report.name) == (State.FAILED, 43, "GoldenMismatch")
    assert device.running_artifact == ONE
    assert device.journal.floors() == {"garment-packing": 1}


def test_failed_release_is_tried_again_under_a_newer_assignment(device: DeviceStub) -> None:
    """The same release, failed before, is committed when a newer assignment names it again."""
    device.qualification = lambda *_: QualificationResult(ok=False, error=44, detail="slow today")
    assign(device, 1)
    assert state_of(device) is State.FAILED
    device.qualification = lambda *_: QualificationResult(ok=True)
    device.read_topics()
    assert state_of(device) is State.FAILED
    device.simulator.assign("garment-packing/x86_64-ort-cpu/1.json", orders={"rollout": 99})
    device.read_topics()
    assert device.running_artifact == ONE


@pytest.mark.parametrize(
    ("error", "rollout", "ends"),
    [
        (LatencyLimitError("slow"), 7, State.FAILED),
        (LatencyLimitError("slow"), 8, State.COMMITTED),
        (StorageFullError("no room"), 7, State.COMMITTED),
    ],
)
def test_failed_release_and_its_renewal(
    device: DeviceStub, error: EdgewrightError, rollout: int, ends: State
) -> None:
    """A renewal of the same rollout does not try again what failed for good; another rollout does."""
    path = "garment-packing/x86_64-ort-cpu/1.json"

    def fail(*_: object) -> QualificationResult:
        raise error

    device.qualification = fail
    device.simulator.assign(path, orders={"rollout": 7})
    device.read_topics()
    assert state_of(device) is State.FAILED
    device.qualification = lambda *_: QualificationResult(ok=True)
    device.simulator.assign(path, orders={"rollout": rollout})
    device.read_topics()
    assert state_of(device) is ends
    assert device.journal.device().version == device.simulator.assignment_version


@pytest.mark.parametrize("order", [control.Load, control.Shadow, control.Swap])
def test_candidate_that_the_line_cannot_take(device: DeviceStub, order: type[control.Down]) -> None:
    """A candidate that fails in the line's hands ends failed, and both good models are in place again."""
    assign(device, 1)
    assign(device, 2)
    device.line.refuse = {order: (45, "crashed")}
    device.simulator.assign("garment-packing/x86_64-ort-cpu/3.json")
    device.deployer.document(device.simulator.topics.retained[topics.assignment(device.device)])
    while state_of(device) is not State.FAILED:
        device.step()
    device.line.refuse = {}
    device.settle()
    assert (device.latest.state, device.latest.error) == (State.FAILED, 45)
    assert device.running_artifact == TWO
    assert device.deployer.standby is None or device.deployer.standby.version == 1


def test_broken_in_probation_is_rolled_back(device: DeviceStub) -> None:
    """A model that breaks in its probation is rolled back; the journal follows the line, the floor stays."""
    assign(device, 1)
    device.line.proves = False
    assign(device, 2)
    assert state_of(device) is State.PROBATION
    device.line.break_active()
    device.settle()
    assert (device.latest.state, device.latest.error) == (State.ROLLED_BACK, 45)
    assert device.running is not None
    assert device.running.version == 1
    assert device.running_artifact == ONE
    assert device.journal.floors() == {"garment-packing": 1}


def test_broken_after_commit_is_rolled_back(device: DeviceStub) -> None:
    """A committed model that breaks later is rolled back too, and stays so over a restart."""
    assign(device, 1)
    assign(device, 2)
    device.line.break_active(46, "hung three times")
    device.settle()
    assert state_of(device) is State.ROLLED_BACK
    device.restart_line()
    assert device.running_artifact == ONE


def test_rolled_back_release_is_not_tried_by_itself(device: DeviceStub) -> None:
    """A rolled-back release comes back neither when its assignment is read again nor when it is renewed."""
    assign(device, 1)
    assign(device, 2)
    device.line.break_active()
    device.settle()
    device.read_topics()
    assign(device, 2)  # The controller issues documents anew before they expire.
    assert device.running_artifact == ONE
    assign(device, 2, rollout=2)
    assert device.running_artifact == TWO


def test_probation_goes_on_after_a_power_cut(simulator: RepositorySimulator, tmp_path: Path) -> None:
    """A model in probation is loaded and put on probation again after a power cut, then committed."""
    first = DeviceStub(simulator, tmp_path / "device").start()
    assign(first, 1)
    first.line.proves = False
    assign(first, 2)
    first.cut_power()
    second = DeviceStub(simulator, tmp_path / "device")
    second.line.proves = False
    second.start()
    assert control.Swap("b", 10) in second.line.orders
    assert state_of(second) is State.PROBATION
    second.line.prove()
    second.settle()
    assert state_of(second) is State.COMMITTED


def test_damaged_active_model_gives_way_to_the_other(simulator: RepositorySimulator, tmp_path: Path) -> None:
    """A damaged active artifact is never loaded: the last good model decides until it was fetched again."""
    first = DeviceStub(simulator, tmp_path / "device").start()
    assign(first, 1)
    assign(first, 2)
    first.cut_power()
    path = tmp_path / "device" / "store" / sha256_hex(TWO)
    path.write_bytes(TWO[:-1] + b"\0")
    second = DeviceStub(simulator, tmp_path / "device").start()
    swaps = [order.slot for order in second.line.orders if isinstance(order, control.Swap)]
    assert swaps == ["a", "b"]
    assert second.running_artifact == TWO
    assert second.deployer.standby is not None
    assert second.deployer.standby.version == 1
    assert state_of(second) is State.COMMITTED


def test_damaged_only_model_is_fetched_again(simulator: RepositorySimulator, tmp_path: Path) -> None:
    """Bit rot in the only model's artifact, over a restart, ends with the same model committed again."""
    first = DeviceStub(simulator, tmp_path / "device").start()
    assign(first, 1)
    first.stop()
    (tmp_path / "device" / "store" / sha256_hex(ONE)).write_bytes(ONE[:-1] + b"\0")
    second = DeviceStub(simulator, tmp_path / "device").start()
    assert second.running_artifact == ONE
    assert state_of(second) is State.COMMITTED
    assert {"TamperedArtifact", "Damaged"} <= set(second.names())
    assert State.ROLLED_BACK not in second.states()


def test_damaged_file_at_qualification_is_fetched_again(device: DeviceStub) -> None:
    """A file that is damaged or gone between its transfer and its qualification comes once more."""
    for version, artifact, content in ((1, ONE, b"damaged"), (2, TWO, None)):
        device.deployer.document(device.simulator.assign(f"garment-packing/x86_64-ort-cpu/{version}.json"))
        while state_of(device) is not State.QUALIFYING:
            device.step()
        path = device.store.verified(sha256_hex(artifact))
        path.write_bytes(content) if content else path.unlink()
        device.settle()
        assert device.running_artifact == artifact


def test_disk_that_keeps_nothing_ends_it(device: DeviceStub, tmp_path: Path) -> None:
    """A release whose files are damaged again and again is given up in the end."""
    path = tmp_path / "device" / "store" / sha256_hex(ONE)

    def rot(*_: Path) -> QualificationResult:
        path.write_bytes(b"rot")
        return QualificationResult(ok=True)

    device.qualification = rot
    assign(device, 1)
    assert state_of(device) is State.FAILED
    assert device.running_artifact is None
    assert device.names().count("TamperedArtifact") == 5


def test_patch_instead_of_the_whole(device: DeviceStub) -> None:
    """A release that is near its base travels as its patch, and the result has the signed digest."""
    assign(device, 1)
    near = ONE[:-100] + bytes(100)
    frame = encode_patch(ONE, near)
    path = device.simulator.release(make_manifest(4, near, ((ONE, frame),)), near, frame, GOLDEN)
    device.simulator.assign(path)
    device.read_topics()
    assert device.running_artifact == near
    assert device.latest.fetched_bytes < 10_000


def test_bad_patch_falls_back_to_the_whole(device: DeviceStub) -> None:
    """A patch that does not make the artifact is reported and the whole artifact is fetched."""
    assign(device, 1)
    path = device.simulator.release(make_manifest(4, TWO, ((ONE, b"no patch"),)), TWO, b"no patch", GOLDEN)
    device.simulator.assign(path)
    device.read_topics()
    assert device.running_artifact == TWO
    assert "PatchBase" in device.names()


def test_wrong_runtime_fails_before_the_artifact_is_fetched(device: DeviceStub) -> None:
    """A release for another runtime version fails by name and costs no artifact bytes."""
    runtime = make_manifest(4, TWO).runtime
    manifest = make_manifest(4, TWO, runtime=type(runtime)("onnxruntime", "99", "100", runtime.provider))
    device.simulator.assign(device.simulator.release(manifest, TWO, GOLDEN))
    device.read_topics()
    assert (device.latest.state, device.latest.error) == (State.FAILED, 42)
    assert device.latest.fetched_bytes < len(TWO)


def test_late_chunks_are_wanted_and_waited_for(device: DeviceStub) -> None:
    """A deployment whose chunk is not there asks for it, says so once, and goes on by itself when it is."""
    missing = topics.chunk(split_blob(ONE)[0].chunks[1])
    held_back = device.simulator.topics.retained.pop(missing)
    assign(device, 1)
    device.wait()
    assert set(device.wanted) == {topics.parse_chunk(missing)}
    assert (device.latest.state, device.latest.error) == (State.FETCHING, 0)
    assert device.names() == ["BlobTimeout"]
    device.simulator.topics.publish(missing, held_back)
    device.wait()
    assert device.running_artifact == ONE
    assert device.latest.fetched_bytes < 2 * len(ONE)


def test_late_metadata_is_waited_for(device: DeviceStub) -> None:
    """A deployment whose metadata is not there yet stays assigned, says so once, and goes on when it is."""
    topic = topics.metadata("4.garment-packing.json")
    held_back = device.simulator.topics.retained.pop(topic)
    assign(device, 1)
    device.wait()
    assert state_of(device) is State.ASSIGNED
    assert device.names() == ["BlobTimeout"]
    device.simulator.topics.publish(topic, held_back)
    device.wait()
    assert device.running_artifact == ONE


@pytest.mark.parametrize("damaged", [ONE, GOLDEN])
def test_damaged_file_is_fetched_again(device: DeviceStub, damaged: bytes) -> None:
    """A file of the release that is here already and was damaged is told of and fetched again."""
    path = device.simulator.release(make_manifest(1, ONE), ONE, GOLDEN)
    device.deployer.document(device.simulator.assign(path))
    for _ in range(2):
        device.step()
    assert state_of(device) is State.QUALIFYING
    assert device.store.digests() >= {sha256_hex(ONE), sha256_hex(GOLDEN)}
    device.store.verified(sha256_hex(damaged)).write_bytes(b"damaged")
    assign(device, 1)
    assert device.running_artifact == ONE
    assert device.names().count("TamperedArtifact") == 1


def test_newer_assignment_frees_what_the_one_before_had_fetched(device: DeviceStub) -> None:
    """A superseded version's partial files go when the newer assignment is accepted, not at its commit."""
    assign(device, 1)
    artifact = random_artifact(8)
    path = device.simulator.release(make_manifest(8, artifact), artifact, GOLDEN)
    blob, _ = split_blob(artifact)
    device.simulator.topics.retained.pop(topics.chunk(blob.chunks[0]))
    device.simulator.assign(path)
    device.read_topics()
    folder = device.store._folder
    assert state_of(device) is State.FETCHING
    assert [found.stem for found in folder.glob("*.partial")] == [blob.sha256]
    device.deployer.document(device.simulator.assign("garment-packing/x86_64-ort-cpu/2.json"))
    assert state_of(device) is State.ASSIGNED
    assert list(folder.glob("*.partial")) == []


def test_old_files_are_collected(device: DeviceStub) -> None:
    """After many updates the store holds the slots' releases and the last committed ones, no more."""
    for version in (1, 2, 3):
        assign(device, version)
    for version in range(4, 8):
        artifact = random_artifact(version)
        device.simulator.assign(device.simulator.release(make_manifest(version, artifact), artifact, GOLDEN))
        device.read_topics()
    kept = {sha256_hex(random_artifact(version)) for version in (6, 7)}
    artifacts = {sha256_hex(random_artifact(version)) for version in range(1, 8)}
    assert device.store.digests() & artifacts == kept
