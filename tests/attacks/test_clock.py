"""The attacker, or a dead battery, sets the device's clock: eleven years back or ahead."""

import time
from pathlib import Path
from typing import Final

import pytest

from simulators.device import DeviceStub
from simulators.releases import GOLDEN, make_manifest
from simulators.repository import RepositorySimulator
from tests.attacks.stage import (
    ONE,
    PATHS,
    TWO,
    assert_lives_on,
    assert_resisted,
    assert_runs_one,
    let_time_pass,
    saved_metadata,
    show_again,
)

DAY_S: Final = 86_400.0
ELEVEN_YEARS_S: Final = 11 * 365.25 * DAY_S


def with_clock(folder: Path, wrong_by: float) -> DeviceStub:
    """A device with a wrong clock, in a repository that has two versions; nothing is assigned."""
    simulator = RepositorySimulator()
    for version, artifact in ((1, ONE), (2, TWO)):
        simulator.release(make_manifest(version, artifact), artifact, GOLDEN)
    return DeviceStub(simulator, folder, system_time=lambda: time.time() + wrong_by).start()


def ask_for_time(device: DeviceStub, path: str) -> None:
    """The device's hello asks, and the controller issues the assignment again with the echo of the nonce."""
    nonce = device.hello().nonce
    assert nonce
    device.simulator.assign(path, orders={"nonce": nonce})
    device.read_topics()
    let_time_pass(device)


def test_clock_eleven_years_slow(tmp_path: Path) -> None:
    """A freeze behind a slow clock: what a signed order has told is a floor, and old metadata is expired."""
    device = with_clock(tmp_path, -ELEVEN_YEARS_S)
    device.simulator.assign(PATHS[1])
    device.read_topics()
    assert_resisted(device, "UntrustedClock")
    frozen = saved_metadata(device.simulator)
    device.simulator.clock = lambda: time.time() + 8 * DAY_S
    device.simulator.assign(PATHS[2])
    show_again(device.simulator, frozen)
    device.read_topics()
    assert_resisted(device, "ExpiredMetadata")
    device.simulator.renew()
    assert_lives_on(device)


def test_clock_eleven_years_fast(device: DeviceStub, tmp_path: Path) -> None:
    """Everything honest looks expired to a fast clock: nothing is installed until signed time corrects it."""
    device.cut_power()
    fast = DeviceStub(
        device.simulator, tmp_path / "device", system_time=lambda: time.time() + ELEVEN_YEARS_S
    ).start()
    assert_runs_one(fast)
    fast.simulator.assign(PATHS[2])
    fast.read_topics()
    assert_resisted(fast, "ExpiredMetadata")
    ask_for_time(fast, PATHS[2])
    assert fast.running_artifact == TWO
    assert "UntrustedClock" in fast.names()


@pytest.mark.parametrize("wrong_by", [-ELEVEN_YEARS_S, ELEVEN_YEARS_S])
def test_replayed_time(tmp_path: Path, wrong_by: float) -> None:
    """An answer to an earlier question, shown again, sets no clock: its nonce is another one."""
    device = with_clock(tmp_path, wrong_by)
    device.clock.suspect()
    device.hello()
    before = device.clock.now()
    device.simulator.assign(PATHS[1], orders={"nonce": "00" * 16, "issued": int(time.time() - 30 * DAY_S)})
    device.read_topics()
    assert device.journal.device().offset is None
    assert device.clock.now() >= before
    ask_for_time(device, PATHS[1])
    assert abs(device.clock.now() - time.time()) < DAY_S
