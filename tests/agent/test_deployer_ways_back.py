"""Ways back: from probation, by hand, to nothing; and what ends a deployment that would not end by itself."""

import contextlib
from pathlib import Path

import pytest

from edgewright.agent import control
from edgewright.agent.candidatework import Try
from edgewright.agent.control import QualificationResult
from edgewright.agent.deployer import Deployer
from edgewright.agent.work import Job, Stuck
from edgewright.wire.deployment import State
from edgewright.wire.errors import (
    BlobTimeoutError,
    ByteBudgetError,
)
from simulators.device import DeviceStub
from simulators.releases import GOLDEN, make_manifest, random_artifact
from simulators.repository import RepositorySimulator

ONE, TWO, THREE = random_artifact(1), random_artifact(2), random_artifact(3)
PATH = "garment-packing/x86_64-ort-cpu/{}.json"


class PowerCutError(Exception):
    """Power goes in the middle of something."""


def take_the_device_along(*_: object) -> QualificationResult:
    """A candidate whose code ends everything."""
    raise PowerCutError


class Hand:
    """A device whose clock and power a test holds."""

    def __init__(self, folder: Path) -> None:
        self.simulator = RepositorySimulator()
        for version, artifact in enumerate((ONE, TWO, THREE), start=1):
            self.simulator.release(make_manifest(version, artifact), artifact, GOLDEN)
        self.seconds = 0.0
        self._folder = folder
        self.proves, self.deadly, self.short_of_power, self.line_lives = True, False, False, False
        self.device = self._new()

    def _new(self) -> DeviceStub:
        device = DeviceStub(self.simulator, self._folder, monotonic=lambda: self.seconds)
        device.line.proves = self.proves
        if self.deadly:
            device.qualification = take_the_device_along
        if self.short_of_power:
            device.deployer.start()
            return device
        with contextlib.suppress(PowerCutError):
            device.start(line_lives=self.line_lives)
        return device

    def assign(self, version: int, **orders: object) -> None:
        """Assign a version and let the device work."""
        self.simulator.assign(PATH.format(version), orders=orders)
        self.device.read_topics()

    def put_on_probation(self, version: int) -> None:
        """Let the device decide with a version that is not proven yet."""
        self.proves = self.device.line.proves = False
        self.assign(version)
        assert self.state is State.PROBATION

    def cut_power(self) -> None:
        """Power goes and comes."""
        self.device.cut_power()
        self.device = self._new()

    def restart(self) -> None:
        """Somebody stops the agent and starts it."""
        self.device.stop()
        self.device = self._new()

    def let_pass(self, seconds: float) -> None:
        """Time passes, and the supervisor looks at it."""
        self.seconds += seconds
        self.device.deployer.watch()
        self.device.settle()

    def go_on_later(self) -> None:
        """The time of everything that waits has come; nothing works yet."""
        waiting, self.device.later = self.device.later, []
        for go_on in waiting:
            go_on()

    @property
    def deployer(self) -> Deployer:
        """The device's."""
        return self.device.deployer

    @property
    def state(self) -> State:
        """State of the newest deployment."""
        return self.device.latest.state

    @property
    def versions(self) -> tuple[int, int]:
        """Versions of the model that decides and of the one beside it, 0 for none."""
        held = (self.deployer.active, self.deployer.standby)
        first, second = (release.version if release else 0 for release in held)
        return first, second


@pytest.fixture
def hand(tmp_path: Path) -> Hand:
    """A device that has committed version 1."""
    made = Hand(tmp_path / "device")
    made.assign(1)
    assert made.state is State.COMMITTED
    return made


# Probation and newer assignments


def test_newer_assignment_on_probation_goes_back_first(hand: Hand) -> None:
    """Before a newer candidate is loaded, the last good model decides again; it is never loaded over."""
    hand.put_on_probation(2)
    hand.device.line.orders.clear()
    hand.deployer.document(hand.simulator.assign(PATH.format(3)))
    assert hand.versions == (1, 0)
    hand.device.settle()
    loads = [order.slot for order in hand.device.line.orders if isinstance(order, control.Load)]
    assert hand.device.line.orders[0] == control.Swap("a", 0)
    assert loads == ["b"]
    assert (hand.state, hand.versions) == (State.PROBATION, (3, 1))
    hand.device.line.break_active()
    hand.device.settle()
    assert hand.device.running_artifact == ONE


def test_newer_assignment_on_a_first_probation_leaves_it_deciding(tmp_path: Path) -> None:
    """A first model has nothing to go back to: it decides until the newer one takes over."""
    hand = Hand(tmp_path / "device")
    hand.put_on_probation(1)
    hand.deployer.document(hand.simulator.assign(PATH.format(2)))
    assert hand.device.running_artifact == ONE
    hand.device.settle()
    assert hand.device.running_artifact == TWO
    assert hand.versions == (2, 1)


def test_same_release_again_on_probation_does_not_flap(hand: Hand) -> None:
    """A newer assignment of what is on probation takes its place without a single order to the line."""
    hand.put_on_probation(2)
    hand.device.line.orders.clear()
    hand.assign(2)
    assert (hand.state, hand.versions) == (State.PROBATION, (2, 1))
    assert hand.device.line.orders == []
    hand.device.line.prove()
    hand.device.settle()
    assert hand.state is State.COMMITTED


def test_abort_on_probation_is_one_swap(hand: Hand) -> None:
    """Sent back to what it ran, a device on probation swaps at once, fetches nothing and commits."""
    hand.put_on_probation(2)
    hand.device.line.orders.clear()
    hand.proves = hand.device.line.proves = True
    hand.assign(1, allow_rollback=True)
    assert hand.device.line.orders == [control.Swap("a", 0), control.Unload("b")]
    assert (hand.state, hand.versions) == (State.COMMITTED, (1, 0))


def test_candidate_that_is_swapped_in_too_late_is_taken_out(hand: Hand) -> None:
    """A swap that was on its way when a newer assignment came does not stand: the good model decides."""
    hand.device.line.silent = {control.Swap}
    hand.assign(2)
    assert hand.state is State.WAITING_SAFE
    hand.deployer.document(hand.simulator.assign(PATH.format(3)))
    called_off = len(hand.device.line.orders) - 1
    hand.device.line.silent = set()
    hand.deployer.said(control.Swapped("b", 900))
    hand.deployer.said(control.Proven("b"))
    assert hand.device.line.orders[called_off:] == [control.Unload("b"), control.Swap("a", 0)]
    hand.device.settle()
    assert hand.versions == (3, 1)
    assert [item.state for item in hand.device.journal.deployments(3)][1] is State.SUPERSEDED


def test_broken_candidate_that_was_superseded_costs_no_good_model(hand: Hand) -> None:
    """What breaks is what the line had loaded there, not what the journal keeps for that slot."""
    hand.assign(2)
    hand.device.line.silent = {control.Swap}
    hand.assign(3)
    hand.deployer.document(hand.simulator.assign(PATH.format(2)))
    hand.deployer.said(control.Broke(slot="a", error=45, detail="crashed", now_active="b"))
    hand.device.line.silent = set()
    hand.device.settle()
    assert hand.versions == (2, 1)
    assert State.ROLLED_BACK not in hand.device.states()


def test_active_that_breaks_while_a_candidate_has_the_other_slot(hand: Hand) -> None:
    """The last good model gets its slot back from the candidate, which starts over in the free one."""
    hand.assign(2)
    hand.device.line.silent = {control.Shadow}
    hand.assign(3)
    assert hand.state is State.SHADOWING
    hand.device.line.silent = set()
    hand.device.line.loaded = {"b": hand.device.line.loaded["b"]}
    hand.device.line.break_active()
    hand.device.settle()
    assert "SlotTaken" in hand.device.names()
    assert (hand.state, hand.versions) == (State.COMMITTED, (3, 1))


# An assignment that stops


def test_aborted_first_rollout_leaves_nothing_running(tmp_path: Path) -> None:
    """A device that had nothing before and is told to stop unloads its only model: the fallback decides."""
    hand = Hand(tmp_path / "device")
    hand.assign(1)
    hand.assign(1, stop=True)
    assert hand.state is State.STOPPED
    assert hand.versions == (0, 0)
    assert (hand.device.line.active, hand.device.line.loaded) == (None, {})
    hand.cut_power()
    hand.device.read_topics()
    assert hand.device.line.loaded == {}


@pytest.mark.parametrize("steps", range(1, 8))
def test_stop_reaches_a_device_at_every_step(tmp_path: Path, steps: int) -> None:
    """Wherever a first deployment stands, stopped it never decides again."""
    hand = Hand(tmp_path / "device")
    hand.deployer.document(hand.simulator.assign(PATH.format(1)))
    for _ in range(steps):
        hand.device.step()
    hand.deployer.document(hand.simulator.assign(PATH.format(1), orders={"stop": True}))
    hand.device.settle()
    assert (hand.device.line.active, hand.state) == (None, State.STOPPED)


def test_stop_leaves_another_model_alone(tmp_path: Path) -> None:
    """What is stopped is one model; the one that ran before it decides again."""
    simulator = RepositorySimulator(("garment-packing", "labels"))
    before = make_manifest(1, ONE, model="labels")
    first, second = (
        simulator.release(before, ONE, GOLDEN),
        simulator.release(make_manifest(1, TWO), TWO, GOLDEN),
    )
    device = DeviceStub(simulator, tmp_path / "device").start()
    for path in (first, second):
        simulator.assign(path)
        device.read_topics()
    simulator.assign(second, orders={"stop": True})
    device.read_topics()
    assert device.running_artifact == ONE
    assert device.latest.state is State.STOPPED


def test_stopped_model_comes_back_under_a_newer_assignment(tmp_path: Path) -> None:
    """Stopping is no ban: the next rollout installs the model again."""
    hand = Hand(tmp_path / "device")
    hand.assign(1)
    hand.assign(1, stop=True)
    hand.assign(1)
    assert hand.device.running_artifact == ONE


# By hand


def test_rolled_back_by_hand(hand: Hand) -> None:
    """A person at the device gets the last good model at once, and the assigned one is not tried again."""
    hand.assign(2)
    hand.device.line.orders.clear()
    said = hand.deployer.roll_back()
    assert hand.device.line.orders == [control.Swap("a", 0)]
    hand.device.settle()
    assert said == "garment-packing 2 gives way to garment-packing 1."
    assert (hand.state, hand.device.names()[-1]) == (State.ROLLED_BACK, "RolledBackByHand")
    hand.device.read_topics()
    hand.cut_power()
    hand.device.read_topics()
    assert hand.device.running_artifact == ONE
    assert "no model to go back to" in hand.deployer.roll_back()


def test_nothing_to_roll_back_from(tmp_path: Path) -> None:
    """A device without a model says so and changes nothing."""
    assert Hand(tmp_path / "device").deployer.roll_back().startswith("No model decides")


# Transfers


def test_what_the_network_is_to_blame_for_is_waited_for(hand: Hand) -> None:
    """A transfer that may succeed later stays fetching, says so once a reason, and adds up its bytes."""
    hand.deployer.document(hand.simulator.assign(PATH.format(2)))
    hand.device.step()
    for error in (BlobTimeoutError("slow."), BlobTimeoutError("slow."), ByteBudgetError("spent.")):
        job = _fetch(hand.device)
        hand.deployer.told(Stuck(job, error, fetched_bytes=10, retry_after=5.0))
        assert hand.state is State.FETCHING
        hand.go_on_later()
    assert hand.device.names() == ["BlobTimeout", "ByteBudget"]
    hand.device.settle()
    assert hand.device.running_artifact == TWO
    assert hand.device.latest.fetched_bytes > len(TWO) + 29


def test_fetching_goes_on_when_the_broker_is_back(hand: Hand) -> None:
    """A new connection ends the pause before the next try."""
    hand.deployer.document(hand.simulator.assign(PATH.format(2)))
    hand.device.step()
    hand.deployer.told(Stuck(_fetch(hand.device), BlobTimeoutError("slow."), retry_after=3600.0))
    hand.deployer.go_on()
    hand.device.settle()
    assert hand.device.running_artifact == TWO


def _fetch(device: DeviceStub) -> int:
    job: Job | Try = device.jobs.popleft()
    assert type(job).__name__ == "Fetch"
    return device.latest.id
