"""The device's outbox against the controller's ingest, over a link that loses, repeats and reorders.

The parts are the product's; what is simulated is time and the link. What is asserted is the sum: every frame
that the line counted is in exactly one window of the controller, or in what the device says it gave up.
"""

import contextlib
import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgewright.agent.database import Database
from edgewright.agent.outbox import Outbox
from edgewright.agent.samplefiles import SampleFiles
from edgewright.controller.blobs import BlobStore
from edgewright.controller.database import func, select
from edgewright.controller.database.engine import Database as ControllerDatabase
from edgewright.controller.database.tables import Device, Loss, Outcome, Rollup, Sample
from edgewright.controller.database.tables import Window as WindowRow
from edgewright.controller.ingest.batch import Batch
from edgewright.wire import messages
from edgewright.wire.histograms import Histogram
from edgewright.wire.messages import Ack, Hello, Outcomes, Report, Upward, Window

DAY = 24 * 3600.0
QUOTA = 200_000


class KilledError(Exception):
    """The process ends here."""


class DyingDatabase(Database):
    """A database whose process is killed at its so-manieth commit, just before it or just after."""

    def __init__(self, path: Path, at: int = -1, *, after: bool = False) -> None:
        self._left, self._after = at, after
        super().__init__(path)
        # The power stays on: what is tested is where the process ends, not what the disk forgets.
        self.connection.execute("PRAGMA synchronous = OFF")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """As the real one, until the commit that is the last."""
        outermost = self._depth == 0
        with super().transaction() as connection:
            yield connection
            if outermost:
                self._left -= 1
            if outermost and self._left == 0 and not self._after:
                raise KilledError
        if outermost and self._left == 0:
            raise KilledError


class World:
    """One device and one controller.

    Attributes:
        counted: frames of the windows that the outbox took.
        heard: what the controller has taken, in order, since it was cleared.
    """

    def __init__(self, folder: Path, seed: int, quota: int = QUOTA) -> None:
        self.random = random.Random(seed)
        self.folder, self._quota = folder, quota
        self.controller_file = folder / "controller"
        self.now = 100 * DAY
        self.counted = 0
        self.heard: list[Upward] = []
        self._connections = 0
        self.open_controller()
        with self.controller.session() as session:
            session.add(Device(id="r1", target="t"))
        self.replace_disk("disk")
        self.boot()

    def open_controller(self) -> None:
        """Start the controller on its files."""
        self.controller_file.mkdir(exist_ok=True)
        self.controller = ControllerDatabase.in_folder(self.controller_file)
        self.controller.create()

    def replace_disk(self, name: str) -> None:
        """The agent's files are gone, and it has others."""
        self._disk = self.folder / name
        self._disk.mkdir()

    def boot(self, at: int = -1, *, after: bool = False) -> None:
        """Start the agent on its disk."""
        self.database = DyingDatabase(self._disk / "agent.db", at, after=after)
        self.outbox = Outbox(self.database, "r1", SampleFiles(self._disk / "samples"), self._quota)

    def line(self, seconds: float, tag: str = "", version: int = 1) -> None:
        """The line has a window."""
        frames = self.random.randint(1, 40)
        histogram = Histogram("confidence")
        for _ in range(frames):
            histogram.add(self.random.random())
        window = Window(
            device="r1",
            stream="",
            seq=0,
            start=self.now,
            seconds=seconds,
            model="m",
            version=version,
            tag=tag,
            frames=frames,
            by_source={"active": frames},
            causes={},
            classes={"Bag": frames},
            histograms={"confidence": histogram.pack()},
            outcomes=(Outcomes(version, frames, 1),),
            truths={"Bag": (frames, 1)},
        )
        self.now += seconds
        self.outbox.put(window, self.now)
        self.counted += frames

    def report(self, error: int = 0) -> None:
        """Something happened."""
        report = Report(device="", stream="", seq=0, sent_at=self.now, error=error, name="Happened")
        self.outbox.put(report, self.now)

    def store(self, *said: Upward) -> list[Ack]:
        """The controller takes messages."""
        with self.controller.session() as session:
            batch = Batch(session, BlobStore(self.folder / "blobs"), now=self.now)
            for message in said:
                batch.apply(message)
            acks = [ack for _, ack in batch.finish()]
        self.heard += said
        return acks

    def connect(self, *, lost_hello: bool = False) -> None:
        """Another connection: a hello, and its answer."""
        self._connections += 1
        self.outbox.restart()
        hello = Hello(
            device="r1",
            agent_version="1",
            target="t",
            tags={},
            runtime="",
            sent_at=self.now,
            stream=self.outbox.stream,
            oldest=self.outbox.oldest,
            accounts=self.outbox.accounts,
            counter=self._connections,
        )
        self.outbox.greeted(self._connections, self.now)
        if not lost_hello:
            for ack in self.store(hello):
                self.outbox.acknowledge(ack, self.now)

    def exchange(self, loss: float = 0.0) -> bool:
        """Send what is due over the link, with its losses; whether anything was."""
        sent = [messages.decode_up(payload) for _, payload in self.outbox.due(self.now)]
        arrived = [message for message in sent if self.random.random() >= loss]
        if loss:
            arrived += [message for message in sent if self.random.random() < loss]
            self.random.shuffle(arrived)
        for ack in self.store(*arrived) if arrived else []:
            if self.random.random() >= loss:
                self.outbox.acknowledge(ack, self.now)
        self.now += 1.0
        return bool(sent)

    def drain(self, loss: float = 0.0) -> None:
        """Exchange until nothing waits."""
        self.connect()
        for turn in range(20_000):
            if not self.exchange(loss) and not self.outbox.waiting:
                return
            if turn % 50 == 49:
                self.now += 60.0
        raise AssertionError("the outbox does not become empty")

    def total(self, column: Any) -> int:
        """Sum of a column of the controller's database."""
        with self.controller.reading() as session:
            return int(session.exec(select(func.coalesce(func.sum(column), 0))).one())

    def assert_counted_once(self) -> None:
        """Every frame is in one window or was given up; outcomes and rollups say the same."""
        stored = self.total(WindowRow.frames)
        assert stored + self.total(Loss.frames) == self.counted
        assert self.total(Outcome.labelled) == stored
        assert self.total(Rollup.frames) == 3 * stored


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A device that has connected once."""
    made = World(tmp_path, seed=21)
    made.connect()
    yield made
    made.database.close()
    made.controller.close()


def used(world: World) -> int:
    """What the outbox counts against its quota."""
    (size,) = world.database.connection.execute("SELECT bytes FROM outbox").fetchone()
    (rows,) = world.database.connection.execute("SELECT sum(size) FROM messages").fetchone()
    assert size == (rows or 0)
    return int(size)


def test_three_months_offline_become_coarse_and_nothing_is_missing(world: World) -> None:
    """Within the quota at each step; then the newest first; then every frame of ninety days, counted once."""
    first = world.now
    for number in range(2160):
        world.line(3600.0, tag=("red", "blue")[number % 7 == 0], version=1 + number // 1500)
        if number % 250 == 0:
            world.report(error=45 if number % 500 == 0 else 0)
        assert used(world) <= QUOTA
    assert world.now - first == 90 * DAY
    newest = world.now - 3600.0
    world.heard.clear()
    world.connect()
    world.exchange()
    told = world.heard[1:]
    assert [message.error for message in told if isinstance(message, Report)] == [45] * 5 + [0] * 4
    windows = [message for message in told if isinstance(message, Window)]
    assert windows[0].start == newest
    assert [window.start for window in windows] == sorted((w.start for w in windows), reverse=True)
    world.drain()
    world.assert_counted_once()
    assert world.total(Loss.frames) == 0
    with world.controller.reading() as session:
        rows = session.exec(select(WindowRow)).all()
    assert 100 < len(rows) < 2160
    stored = [messages.decode_up(row.payload) for row in rows]
    assert sum(window.merged for window in stored if isinstance(window, Window)) == 2160
    assert min(row.ts for row in rows) == first


def test_over_a_bad_link_with_restarts_every_frame_counts_once(world: World) -> None:
    """A third of everything lost, repeated and shuffled, agent and controller restarted: the sum is right."""
    for turn in range(200):
        world.line(5.0)
        if turn % 10 == 0:
            world.report(error=turn % 3)
        world.exchange(loss=0.33)
        if turn % 40 == 20:
            world.database.close()
            world.boot()
            world.connect(lost_hello=turn % 80 == 20)
        if turn % 70 == 35:
            world.controller.close()
            world.open_controller()
    world.drain(loss=0.33)
    world.assert_counted_once()


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_commit_nothing_is_lost_or_counted_twice(tmp_path: Path, *, after: bool) -> None:
    """Killed just before or just after each commit, the outbox has each message that it had taken, once."""
    world, at = World(tmp_path, seed=1, quota=6_000), 0
    while True:
        at += 1
        world.database.close()
        world.replace_disk(f"disk-{at}")
        world.boot(at, after=after)
        world.connect()
        if _live(world, after=after):
            break
        world.assert_counted_once()
    assert at > 20
    world.database.close()
    world.controller.close()


def _live(world: World, *, after: bool) -> bool:
    """A short life, with one death in it; whether it lived through."""
    alive = True
    for turn in range(20):
        before = world.counted
        try:
            world.line(5.0)
            if turn in (7, 15):
                world.exchange(loss=0.2)
        except KilledError:
            alive = False
            if after and world.counted == before and _has_newest(world):
                world.counted += _newest_frames(world)
            world.database.close()
            world.boot()
            world.connect()
    world.drain(loss=0.1)
    return alive


def _newest_frames(world: World) -> int:
    """Frames of the newest stored window."""
    query = "SELECT frames FROM messages WHERE frames > 0 ORDER BY id DESC LIMIT 1"
    return int(world.database.connection.execute(query).fetchone()[0])


def _has_newest(world: World) -> bool:
    """Whether the window that was being put is stored."""
    query = "SELECT until FROM messages WHERE frames > 0 ORDER BY id DESC LIMIT 1"
    row = world.database.connection.execute(query).fetchone()
    return row is not None and bool(row[0] == world.now)


def test_a_controller_restored_from_a_backup_hears_again(world: World) -> None:
    """Restored from a copy of an hour ago, it gets what it had acknowledged since, and counts it once."""
    for _ in range(20):
        world.line(5.0)
        world.exchange()
    world.controller.close()
    shutil.copytree(world.controller_file, world.folder / "backup")
    world.open_controller()
    for _ in range(90):
        for _ in range(3):
            world.line(5.0)
        world.exchange()
    world.controller.close()
    shutil.rmtree(world.controller_file)
    (world.folder / "backup").rename(world.controller_file)
    world.open_controller()
    assert world.total(WindowRow.frames) < world.counted / 2
    world.drain()
    world.assert_counted_once()
    assert world.total(Loss.messages) == 0


def test_an_outbox_that_is_too_small_for_coarse_windows_says_what_is_gone(tmp_path: Path) -> None:
    """Where merging ends, the oldest windows are given up with number and time, and errors are still told."""
    world = World(tmp_path, seed=3, quota=20_000)
    world.connect()
    tags = [f"sku-{number}" for number in range(60)]
    for number in range(1200):
        world.line(60.0, tag=tags[number * 7 % 60])
        if number % 100 == 0:
            world.report(error=45)
        assert used(world) <= 20_000
        world.now += 600.0 * (number % 5 == 0)
    world.heard.clear()
    world.drain()
    world.assert_counted_once()
    reports = [message for message in world.heard if isinstance(message, Report)]
    assert len({report.ordinal for report in reports}) == 12
    with world.controller.reading() as session:
        losses = session.exec(select(Loss)).all()
    assert {loss.what for loss in losses} == {"window"}
    assert all(loss.since < loss.until <= world.now for loss in losses)


def test_samples_and_pictures_arrive_whole_over_a_bad_link(tmp_path: Path) -> None:
    """Pictures in pieces over a lossy link, with a restart between: each sample has its own picture."""
    world = World(tmp_path, seed=8, quota=2_000_000)
    world.connect()
    pictures = [b"\x89PNG" + world.random.randbytes(size) for size in (5_000, 70_000, 140_000)]
    sample = messages.Sample(
        device="",
        stream="",
        seq=0,
        taken_at=world.now,
        item="",
        tag="",
        model="m",
        version=1,
        label="Bag",
        confidence=0.4,
        truth=None,
        reason="uncertain",
        probability=1.0,
        image=b"",
    )
    for number, picture in enumerate(pictures):
        world.outbox.put(msgspec.structs.replace(sample, item=str(number), image=picture), world.now)
    for _ in range(3):
        world.exchange(loss=0.3)
    world.database.close()
    world.boot()
    world.drain(loss=0.3)
    with world.controller.reading() as session:
        rows = {row.item: row.image_sha256 for row in session.exec(select(Sample)).all()}
    blobs = BlobStore(world.folder / "blobs")
    assert [blobs.read(rows[str(number)]) for number in range(3)] == pictures
