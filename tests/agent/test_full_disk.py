"""A disk that is full, an outbox that is full, nobody who listens: models go on, and what happened stays."""

from pathlib import Path

import pytest

from edgewright.agent import control
from edgewright.wire.deployment import State
from edgewright.wire.errors import StorageFullError
from simulators.device import DeviceStub
from simulators.releases import GOLDEN, make_manifest, random_artifact
from simulators.repository import RepositorySimulator

ONE, TWO = random_artifact(1), random_artifact(2)


@pytest.fixture
def device(tmp_path: Path) -> DeviceStub:
    """A device that has committed version 1 and has version 2 on probation."""
    simulator = RepositorySimulator()
    made = DeviceStub(simulator, tmp_path / "device").start()
    for version, artifact in enumerate((ONE, TWO), start=1):
        simulator.assign(simulator.release(make_manifest(version, artifact), artifact, GOLDEN))
        made.line.proves = version == 1
        made.read_topics()
    assert made.latest.state is State.PROBATION
    return made


def state_of(device: DeviceStub) -> State:
    """State of the newest deployment, read anew."""
    return device.latest.state


def fill_disk(device: DeviceStub, *, full: bool = True) -> None:
    """Let no write to the database succeed, or let them all."""
    device._database.connection.execute(f"PRAGMA query_only = {int(full)}")


def test_commit_on_a_full_disk_is_made_up_for(device: DeviceStub) -> None:
    """A model that is proven while nothing can be written stays on probation, and commits when it can be."""
    fill_disk(device)
    device.line.prove()
    with pytest.raises(StorageFullError):
        device.settle()
    assert state_of(device) is State.PROBATION
    with pytest.raises(StorageFullError):
        device.deployer.go_on()
    fill_disk(device, full=False)
    device.deployer.go_on()
    assert state_of(device) is State.COMMITTED
    assert device.running_artifact == TWO
    assert State.ROLLED_BACK not in device.states()


def test_break_on_a_full_disk_is_made_up_for(device: DeviceStub) -> None:
    """What the line gave up is not loaded again while that cannot be written down, and is given up later."""
    fill_disk(device)
    device.line.break_active()
    with pytest.raises(StorageFullError):
        device.settle()
    device.line.orders.clear()
    for _ in range(3):
        with pytest.raises(StorageFullError):
            device.deployer.go_on()
    assert device.line.orders == []
    assert device.running_artifact == ONE
    fill_disk(device, full=False)
    device.deployer.go_on()
    assert state_of(device) is State.ROLLED_BACK
    assert device.running_artifact == ONE


def test_swap_on_a_full_disk_is_made_up_for(tmp_path: Path) -> None:
    """A swap that could not be written down is ordered again, and the line says that it stands."""
    simulator = RepositorySimulator()
    device = DeviceStub(simulator, tmp_path / "device").start()
    simulator.assign(simulator.release(make_manifest(1, ONE), ONE, GOLDEN))
    device.line.silent = {control.Swap}
    device.read_topics()
    device.line.silent = set()
    fill_disk(device)
    with pytest.raises(StorageFullError):
        device.deployer.said(control.Swapped("a", 10))
    assert state_of(device) is State.WAITING_SAFE
    fill_disk(device, full=False)
    device.deployer.go_on()
    device.settle()
    assert state_of(device) is State.COMMITTED
    assert device.running_artifact == ONE


def test_work_on_a_full_disk_is_done_again(tmp_path: Path) -> None:
    """A step whose result could not be written down is done once more, from where the journal stands."""
    simulator = RepositorySimulator()
    device = DeviceStub(simulator, tmp_path / "device").start()
    simulator.assign(simulator.release(make_manifest(1, ONE), ONE, GOLDEN))
    device.deployer.document(
        next(raw for topic, raw in simulator.topics.retained.items() if "/assign" in topic)
    )
    steps = 0
    while state_of(device) not in (State.SHADOWING, State.WAITING_SAFE, State.COMMITTED):
        fill_disk(device)
        with pytest.raises(StorageFullError):
            device.step()
        fill_disk(device, full=False)
        device.deployer.go_on()
        device.step()
        steps += 1
    assert steps == 3
    device.settle()
    assert device.running_artifact == ONE


def test_version_waits_for_room_and_comes_by_itself(tmp_path: Path) -> None:
    """A store without room ends no deployment: that is told once, and it comes when there is some."""
    simulator = RepositorySimulator()
    device = DeviceStub(simulator, tmp_path / "device").start()
    device.store._quota_bytes = 1
    simulator.assign(simulator.release(make_manifest(1, ONE), ONE, GOLDEN))
    device.read_topics()
    for _ in range(8):
        assert state_of(device) is State.FETCHING
        device.wait()
    assert device.names() == ["StorageFull"]
    device.store._quota_bytes = 2**30
    device.wait()
    assert device.running_artifact == ONE


def test_commit_with_a_full_outbox(device: DeviceStub) -> None:
    """Reports that find no room, and that nobody has ever heard, keep no model from being committed."""
    device.outbox._quota_bytes = 1
    device.line.prove()
    device.settle()
    assert state_of(device) is State.COMMITTED
    for _ in range(200):
        device.deployer.go_on()
    device.restart_line()
    assert state_of(device) is State.COMMITTED
    assert device.running_artifact == TWO
