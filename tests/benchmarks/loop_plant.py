"""A whole controller but its broker, and robots that are numbers: for turning the loop many times.

Real are database, blobs, repository, director, assigner, rollouts with their gate, monitor, workflows and the
child processes that fit and compile. Robots are simulated where a broker would be between: they run
what they are assigned at once, decide items by the labels that their version knows, and send windows and
labelled frames through the ingest's own code. The world is goods of a few colours, to which one more comes
with each turn.
"""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import dist
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from edgewright.controller.database import col, select
from edgewright.controller.database.evidencetables import Alarm, Rebuild
from edgewright.controller.database.tables import (
    Device,
    Event,
    ModelVersion,
    Rollout,
    RolloutDevice,
    Sample,
)
from edgewright.controller.ingest.batch import Batch
from edgewright.controller.monitor import Monitor
from edgewright.controller.publisher import Publisher
from edgewright.controller.rebuild.asking import Asking
from edgewright.controller.rollouts.assigner import Assigner
from edgewright.controller.rollouts.reconciler import Reconciler
from edgewright.controller.rollouts.service import RolloutService
from edgewright.wire.histograms import Histogram
from edgewright.wire.messages import Hello, Outcomes, Release, Window
from tests.controller import colour_model
from tests.controller.colour_model import KNOWN
from tests.controller.colour_plant import MODEL, Plant, wait_until
from tests.controller.parts import SimulatedPublisher, make_director

TARGET: Final = "x86_64-ort-cpu-fp32"
STREAM: Final = "line"
ROBOTS = ("r1", "r2", "r3")
LEVELS = (30, 125, 220)
FAR = 60.0
"""Grey levels between two colours; the noise of a picture's mean is two of them."""
TICK_S = 0.25
ITEMS = 20
"""Decided by each robot in a tick; all of them are labelled, as by a scanner behind the robot."""
CAPTURED = 5
"""Of these, as frames."""
NEW_SHARE = 0.3
"""Of the newest colour among the goods."""
LIMIT_S = 300.0


class Turn(NamedTuple):
    """One turn of the loop: what it took, in seconds, and how it ended."""

    drift_to_alarm_s: float
    alarm_to_queued_s: float
    queued_to_rollout_s: float
    drift_to_fixed_s: float
    version: int


class LoopPlant:
    """See the module's text; ``turn`` makes the loop fire once."""

    def __init__(self, data: Path, *changes: tuple[str, str]) -> None:
        self.plant = Plant(data)
        self.plant.push("building")
        self.plant.change_rules(*changes)
        self._rng = np.random.default_rng(11)
        self._colours = iter(_new_colours())
        self._goods = list(colour_model.KNOWN)
        self._shown = dict(colour_model.COLOURS_RGB)
        self._seq = {name: itertools.count(1) for name in ROBOTS}
        awake = threading.Event()
        publisher: Publisher = SimulatedPublisher()  # type: ignore[assignment]  # a simulator
        assigner = Assigner(self.plant.db, make_director(data), self.plant.repository, publisher)
        self.plant.rollouts = RolloutService(self.plant.db, assigner, awake.set)
        self._reconciler = Reconciler(self.plant.db, assigner, awake)
        self._workflows = self.plant.workflows()
        self._asking = Asking(self.plant.db, self.plant.blobs, self._workflows.enqueue_rebuild)
        self.restart_monitor()

    def restart_monitor(self) -> None:
        """The monitor as after a restart: from the stored windows."""
        self.monitor = Monitor(self.plant.db, self.plant.blobs, self._workflows.enqueue_for_alarm)
        self.monitor.replay()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Version 1 is built and runs on all robots, and everything goes on until the block is left."""
        self._workflows.start()
        self._reconciler.start()
        try:
            wait_until(lambda: "version.ready" in self.plant.events(), LIMIT_S)
            with self.plant.db.session() as session:
                for name in ROBOTS:
                    session.add(Device(id=name, target=TARGET))
            self._send([_hello(name) for name in ROBOTS])
            yield
        finally:
            self._reconciler.stop()
            self._workflows.stop()
            self.plant.db.close()

    def settle(self, seconds: float) -> int:
        """Let the line run as it is; returns how many alarms are open then."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._tick()
        with self.plant.db.reading() as session:
            return len(session.exec(select(Alarm).where(col(Alarm.closed_at) == 0.0)).all())

    def turn(self) -> Turn:
        """One more colour comes; the line runs until a version that knows it is on every robot.

        Raises:
            AssertionError: that did not happen in time.
        """
        colour, shade = next(self._colours)
        self._shown[colour] = shade
        self._goods.append(colour)
        began, until = time.time(), time.monotonic() + LIMIT_S
        while (turn := self._turned(began)) is None:
            assert time.monotonic() < until, self._story(began)
            self._tick()
            self._asking.step()
        return turn

    def _turned(self, began: float) -> Turn | None:
        """The turn that began then, once it has ended well."""
        ended = select(Rebuild).where(col(Rebuild.finished_at) > began, col(Rebuild.state) == "done")
        with self.plant.db.reading() as session:
            done = session.exec(ended).first()
            if done is None:
                return None
            alarm, rollout = session.get_one(Alarm, done.alarm), session.get_one(Rollout, done.rollout)
        return Turn(
            alarm.raised_at - began,
            done.queued_at - alarm.raised_at,
            rollout.created_at - done.queued_at,
            done.finished_at - began,
            done.new_version,
        )

    def _story(self, since: float) -> str:
        """What happened since then, for a turn that did not end."""
        with self.plant.db.reading() as session:
            told = session.exec(select(Event).where(col(Event.at) > since).order_by(col(Event.id))).all()
            last = session.exec(select(Rebuild).order_by(col(Rebuild.id).desc())).first()
        return "\n".join([*(f"{e.kind}: {e.sentence}" for e in told), last.detail if last else "no rebuild"])

    def _tick(self) -> None:
        """What the robots do in a moment: install what they are assigned, decide, tell."""
        time.sleep(TICK_S)
        self._install()
        with self.plant.db.reading() as session:
            robots = session.exec(select(Device)).all()
            labels = {row.version: row.labels for row in session.exec(select(ModelVersion)).all()}
        windows = [self._window(robot, labels[robot.active_version]) for robot in robots]
        self.monitor.observe(self._send(windows))

    def _send(self, told: Sequence[Hello | Window]) -> list[Window]:
        """Store messages as the ingest does; the windows that are new."""
        with self.plant.db.session() as session:
            batch = Batch(session, self.plant.blobs, time.time())
            for message in told:
                batch.apply(message)
            batch.finish()
        assert not batch.rejected
        return batch.windows

    def _install(self) -> None:
        with self.plant.db.session() as session:
            parts = session.exec(
                select(RolloutDevice)
                .where(col(RolloutDevice.assignment_version) > 0)
                .where(col(RolloutDevice.state) != "committed")
            ).all()
            for part in parts:
                part.state, part.updated_at = "committed", time.time()
                robot = session.get_one(Device, part.device)
                robot.active_model, robot.state = MODEL, "committed"
                robot.active_version = session.get_one(Rollout, part.rollout).version

    def _window(self, robot: Device, labels: Sequence[str]) -> Window:
        """Items that the robot decides, all told right or wrong; some come as frames too."""
        goods = [self._good() for _ in range(ITEMS)]
        wrong = [good not in labels for good in goods]
        confidence = Histogram("confidence")
        for miss in wrong:
            confidence.add(float(self._rng.beta(8, 4) if miss else self._rng.beta(40, 2)))
        seq = next(self._seq[robot.id])
        with self.plant.db.session() as session:
            for i, good in enumerate(goods[:CAPTURED]):
                session.add(self._sample(robot, f"{seq}-{i}", good, labels))
        return Window(
            device=robot.id,
            stream=STREAM,
            seq=seq,
            start=time.time() - TICK_S,
            seconds=TICK_S,
            model=MODEL,
            version=robot.active_version,
            tag="",
            frames=ITEMS,
            by_source={"active": ITEMS},
            causes={},
            classes=dict(Counter(good if good in labels else labels[0] for good in goods)),
            histograms={"confidence": confidence.pack()},
            outcomes=(Outcomes(robot.active_version, ITEMS, sum(wrong)),),
            truths={good: (n, n if good not in labels else 0) for good, n in Counter(goods).items()},
        )

    def _good(self) -> str:
        newest = len(self._goods) > len(colour_model.KNOWN) and self._rng.random() < NEW_SHARE
        return self._goods[-1] if newest else str(self._rng.choice(self._goods))

    def _sample(self, robot: Device, item: str, good: str, labels: Sequence[str]) -> Sample:
        plain = np.array(self._shown[good][::-1], np.float64)
        noise = self._rng.normal(0, 12, (colour_model.SIZE, colour_model.SIZE, 3))
        frame = np.clip(plain + noise, 0, 255).astype(np.uint8)
        return Sample(
            device=robot.id,
            item=item,
            taken_at=time.time(),
            at=time.time(),
            model=MODEL,
            version=robot.active_version,
            label=good if good in labels else labels[0],
            confidence=0.9,
            truth=good,
            reason="random",
            probability=CAPTURED / ITEMS,
            image_sha256=self.plant.blobs.put(colour_model.png(frame)),
        )


def _hello(robot: str) -> Hello:
    return Hello(
        device=robot,
        agent_version="0",
        target=TARGET,
        tags={},
        runtime="onnxruntime",
        sent_at=time.time(),
        active=Release(MODEL, 1, ""),
        stream=STREAM,
    )


def _new_colours() -> list[tuple[str, tuple[int, int, int]]]:
    """Colours that no version knows at first, each far from every other."""
    known = colour_model.COLOURS_RGB
    shades = [(r, g, b) for r in LEVELS for g in LEVELS for b in LEVELS]
    found = [shade for shade in shades if all(dist(shade, known[name]) > FAR for name in KNOWN)]
    return [(f"colour-{i + 1:02d}", shade) for i, shade in enumerate(found)]
