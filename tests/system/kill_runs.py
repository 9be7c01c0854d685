"""Runs of one device whose processes are killed again and again, and what came of them.

After each kill the device has to decide with a model that it verified, each answer what that model computes;
it has to reach the version that it is assigned, its database has to be whole and the same, and what it
fetched again is counted on the wire. A kill of a part on trial (qualification, runner) may end a deployment
by its name: the controller then assigns again, as a person would, and that is counted.
"""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec
import onnx

from edgewright.controller.compiler.patches import encode_patch
from edgewright.wire import messages, topics
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.deployment import State
from edgewright.wire.errors import EdgewrightError
from edgewright.wire.manifest import CHUNK_BYTES, Patch, split_blob
from edgewright.wire.messages import Sequenced
from tests.agent.agent_rig import ControllerHand
from tests.agent.tiny_models import Fault, golden_bytes, make_manifest, onnx_bytes
from tests.contract.brokers import Broker, running
from tests.system.chunk_meter import ChunkMeter
from tests.system.kill_plans import ENDINGS, Plan, Story, Victim, plans
from tests.system.kill_rig import BRIGHT, DARK, GREY, CheckingCell, KilledAgent, labels_of, reached

ARTIFACT_CHUNKS: Final = 4
RECOVERY_S: Final = 60.0
"""A hang guard: a device that has not reached its version by then is a brick."""

AIM_S: Final = 20.0
NEWER_S: Final = 0.6
MOST_ASSIGNED_AGAIN: Final = 4
LONG_PROBATION: Final = 2000
"""Frames; a model that shall break in its probation stays in it until it is shown what breaks it."""


class Tally(msgspec.Struct):
    """What came of all runs of a device.

    Attributes:
        runs: how many were made.
        kills: victims by the state in which they were struck.
        bricks: what did not hold, a sentence each.
        waste: chunks that each run with one assignment fetched again.
        assigned_again: by how the assigned version had ended.
        seconds: of each run, from the assignment to the commit of the version that counts.
        sources: decisions by where they came from.
    """

    runs: int = 0
    kills: Counter[tuple[State | None, Victim]] = msgspec.field(default_factory=Counter)
    bricks: list[str] = []
    waste: list[float] = []
    assigned_again: Counter[str] = msgspec.field(default_factory=Counter)
    seconds: list[float] = []
    sources: Counter[str] = msgspec.field(default_factory=Counter)

    @property
    def states(self) -> set[State]:
        """States in which something was struck."""
        return {state for state, _ in self.kills if state}


class KilledDevice:
    """One device, from its first version on.

    Args:
        folder: of agent and broker.
        broker: runs.
        seed: of the artifacts.
    """

    def __init__(self, folder: Path, broker: Broker, seed: int) -> None:
        self.tally = Tally()
        self._random = Random(seed)
        self._version = 0
        self._good = 0
        self._paths: dict[int, str] = {}
        self._artifacts: dict[int, bytes] = {}
        self._controller = ControllerHand(broker)
        self._meter = ChunkMeter(broker.host, broker.port)
        self._agent = KilledAgent(folder, broker, self._controller, self._meter)
        self._cell = CheckingCell(folder / "cell.sock")
        self._agent.start()
        self._last = 0
        self._good = self._assign(self._release())
        until = time.monotonic() + RECOVERY_S
        assert reached(lambda: self._cell.decided_since(0.0) == self._good, until)
        assert self._committed(self._good, until)
        self._stream = self._agent.is_sound()

    def close(self) -> None:
        """End everything."""
        self._cell.stop()
        self._agent.stop()
        self._meter.close()
        self._controller.close()

    def run(self, plan: Plan) -> None:
        """Make one run; what does not hold is an ``AssertionError``."""
        began, passed = time.monotonic(), self._meter.passed.copy()
        again = sum(self.tally.assigned_again.values())
        try:
            version = self._begin(plan)
            self._strike(plan, version)
            self._recover(plan, self._goal(plan.story, version))
        except AssertionError as error:
            raise AssertionError(f"{plan}: {error}") from error
        self.tally.runs += 1
        self.tally.seconds.append(time.monotonic() - began)
        if sum(self.tally.assigned_again.values()) == again:
            self.tally.waste.append(self._waste(passed))

    def finish(self) -> Tally:
        """Look at what was told all along; what came of everything."""
        numbers: dict[tuple[str, int], bytes] = {}
        for told in self._controller.heard:
            if not isinstance(told, Sequenced):
                continue
            known = numbers.setdefault((told.stream, told.seq), messages.encode(told))
            if known != messages.encode(told):
                self.tally.bricks.append(f"The number {told.seq} was given to two messages.")
        self.tally.sources = self._cell.sources
        return self.tally

    # Releases

    def _release(self, fault: Fault = "none", golden_error: float = 0.0, *, patched: bool = False) -> int:
        """Sign and publish the next version; its number."""
        version = self._version = self._version + 1
        base = self._artifacts[self._good] if patched else b""
        artifact, golden = self._model(version, fault, base), golden_bytes(error=golden_error)
        patch = encode_patch(base, artifact) if base else b""
        patches = (Patch(sha256_hex(base), len(base), split_blob(patch)[0]),) if base else ()
        plain = make_manifest(artifact, golden, version, patches=patches, labels=labels_of(version))
        frames = LONG_PROBATION if fault != "none" else plain.limits.probation_frames
        limits = msgspec.structs.replace(plain.limits, probation_frames=frames)
        manifest = msgspec.structs.replace(plain, limits=limits)
        blobs = (golden, patch) if base else (golden,)
        self._paths[version] = self._controller.simulator.release(manifest, artifact, *blobs)
        self._artifacts = {known: self._artifacts[known] for known in (self._good,) if known}
        self._artifacts[version] = artifact
        return version

    def _model(self, version: int, fault: Fault, base: bytes) -> bytes:
        """A real model of some chunks; where it has a base, the first half of its bytes are the base's."""
        model = onnx.load_model_from_string(onnx_bytes(fault, salt=version))
        words = self._random.randbytes(ARTIFACT_CHUNKS * CHUNK_BYTES // 2).hex()
        if base:
            old = onnx.load_model_from_string(base).doc_string
            words = old[: len(old) // 2] + words[len(old) // 2 :]
        model.doc_string = words
        made: bytes = model.SerializeToString()
        return made

    def _assign(self, version: int, **how: Any) -> int:
        self._controller.simulator.assign(self._paths[version], **how)
        return version

    # One run

    def _begin(self, plan: Plan) -> int:
        """Assign what the story says; the version that is struck at."""
        match plan.story:
            case Story.STOP:
                return self._assign(self._good, orders={"stop": True})
            case Story.LIE:
                return self._assign(self._release(), lies={"length": 4711})
            case Story.WRONG_GOLDEN:
                return self._assign(self._release(golden_error=1.0))
            case Story.NAN:
                self._cell.levels = (DARK, GREY)
                return self._assign(self._release("nan-when-bright"))
            case Story.NEWER:
                first, second = self._release(), self._release()
                self._assign(first)
                time.sleep(self._random.random() * NEWER_S)
                self._assign(second)
                return first
            case _:
                return self._assign(self._release(patched=plan.story is Story.PATCH))

    def _goal(self, story: Story, version: int) -> int:
        """The version that the device shall reach in the end, assigned by now."""
        if story is Story.NEWER:
            return version + 1
        return self._assign(self._release()) if story in ENDINGS else version

    def _strike(self, plan: Plan, version: int) -> None:
        """Wait for the moment, and kill."""
        known = self._agent.children()
        if plan.aim is not None:
            self._wait_for(plan.aim, plan.story, version)
        time.sleep(plan.wait_s)
        self._kill(plan.victim, version, known)
        if plan.again_s:
            time.sleep(plan.again_s)
            self._kill(Victim.POWER, version, self._agent.children())
        self._cell.levels = (DARK, GREY, BRIGHT)

    def _wait_for(self, aim: State, story: Story, version: int) -> None:
        until = time.monotonic() + AIM_S
        if story is Story.NAN:
            self._agent.wait_state(version, self._last, State.PROBATION, until)
            self._cell.levels = (DARK, GREY, BRIGHT)
        self._agent.wait_state(version, self._last, aim, until)

    def _kill(self, victim: Victim, version: int, known: list[int]) -> None:
        """Kill a part, or everything where that part does not run; start again what nobody else does."""
        parts = (Victim.LINE, Victim.VERIFIER, Victim.RUNNER, Victim.QUALIFICATION)
        state = self._agent.state_of(version, self._last) if victim in parts else None
        if not self._agent.kill(victim, known):
            victim = Victim.POWER
            self._agent.kill(victim, known)
        if victim not in parts:
            state = self._agent.state_of(version, self._last)
            self._agent.start()
        self.tally.kills[state, victim] += 1

    def _recover(self, plan: Plan, goal: int) -> None:
        """The device decides, and reaches the version."""
        moment, until = time.monotonic(), time.monotonic() + RECOVERY_S
        if plan.story is not Story.STOP:
            assert reached(lambda: self._cell.decided_since(moment) > 0, until), "no model decides"
        for _ in range(MOST_ASSIGNED_AGAIN):
            if self._committed(goal, until):
                break
            self._assign(goal)
        else:
            raise AssertionError("the version was not reached")
        moment = time.monotonic()
        assert reached(lambda: self._cell.decided_since(moment) == goal, until), "it does not decide"
        assert not self._cell.wrong, self._cell.wrong
        assert self._agent.is_sound() == self._stream, "another database"
        self._good = goal

    def _committed(self, version: int, until: float) -> bool:
        """Wait for a version's end; whether it is committed. Another end is counted."""
        ended = self._agent.wait_end(version, self._last, until)
        assert ended is not None, f"version {version} has no end: {self._agent.newest(version, self._last)}"
        self._last = ended.id
        if ended.state is not State.COMMITTED:
            self.tally.assigned_again[f"{ended.state}: {ended.detail}"] += 1
        return ended.state is State.COMMITTED

    def _waste(self, before: Counter[str]) -> float:
        """Chunks' worth of bytes that passed in a run beyond each chunk once."""
        retained, more = self._controller.simulator.topics.retained, 0
        for digest, passed in self._meter.passed.items():
            more += max(0, passed - before[digest] - len(retained[topics.chunk(digest)]))
        return more / CHUNK_BYTES


def run_devices(folder: Path, runs: int, devices: int, seed: int) -> list[Tally]:
    """Spread runs over devices that work side by side, each with a broker of its own; see ``plans``.

    A device that is a brick makes no further run.
    """
    drawn = plans(runs, seed)
    shares = [drawn[number::devices] for number in range(devices)]
    with ThreadPoolExecutor(devices) as pool:
        works = [
            pool.submit(_run_device, folder / f"d{number}", share, seed + number)
            for number, share in enumerate(shares)
        ]
        return [work.result() for work in works]


def _run_device(folder: Path, share: list[Plan], seed: int) -> Tally:
    with running("nats", folder / "broker") as broker:
        device = KilledDevice(folder / "agent", broker, seed)
        try:
            for plan in share:
                device.run(plan)
        except (AssertionError, EdgewrightError) as error:
            device.tally.bricks.append(str(error))
        finally:
            device.close()
        return device.finish()
