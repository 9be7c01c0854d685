"""Power cuts: a story is recorded, cut at some operation, and the device starts over what is left.

A run is one cut and all that follows: with some probability the power goes again while the device recovers.
What has to hold each time, by the real parts and by digests that the story knows:

- The device starts. Without network it decides with a model that was released, whole by its digest; it
  decides with none only where it had none.
- Nothing that it had written down is taken back: accepted assignment, floors, the numbers of its messages.
- With the network it reaches the version that it is assigned. Where it does not, it is a brick; but after a
  reboot loop's number of cuts it may have gone back to its last good model, if it reports that.
- Waste: chunks that had been written to the store and are fetched and written again.
"""

import random
import shutil
from pathlib import Path
from typing import Final

import msgspec

from edgewright.agent.breakers import DECIDING_STARTS_TO_END
from edgewright.wire.canonical import sha256_hex
from simulators.disk.platter import STYLES, Platter, lay_out
from simulators.disk.recording import Kind, Operation, Recorder
from simulators.disk.stories import STORIES, Promise, Stage, Story, promise

PERSIST_POINTS: Final = frozenset(Kind) - {Kind.WRITE, Kind.MARK, Kind.UNSEEN}
"""Operations that change names or lengths, or make something durable."""

AGAIN: Final = 0.3
"""Probability that the power goes again during a recovery."""

MAX_CUTS: Final = 6
"""In a row. From the third on a device with a last good model may go back to it and say so (decision 23)."""

LOOP_CUTS: Final = DECIDING_STARTS_TO_END

KILLED: Final = "killed"
"""Only the process ends: the next one sees what was never synchronised, and a later cut takes it away."""

WAYS: Final = (*STYLES, KILLED)

PARTIAL: Final = ".partial"
"""Suffix of files of the store that are on their way."""

Place = tuple[str, int]
"""File and offset of a chunk in the store."""


class Outcome(msgspec.Struct, frozen=True):
    """How a run ended.

    Attributes:
        story, position, style: where and how the power went first.
        broken: what did not hold; empty where all did.
        waste: most chunks that one cut made the device write again.
        cuts: how often the power went.
    """

    story: str
    position: int
    style: str
    broken: str
    waste: int
    cuts: int


class Life:
    """One recorded life of a device.

    Args:
        start: the disk as it was before.
        operations: everything that happened to it, in order.
        chunks: digests that the broker was asked for; what a patch makes here is no waste.
    """

    def __init__(self, start: Platter, operations: list[Operation], chunks: set[str]) -> None:
        self._start, self.operations = start, operations
        self._written = [
            (i, (found.path, found.number))
            for i, found in enumerate(operations)
            if found.kind is Kind.WRITE and found.path.endswith(PARTIAL) and sha256_hex(found.data) in chunks
        ]

    def persist_points(self) -> list[int]:
        """Before each operation that persists something; the last one is behind all of them."""
        points = [i for i, found in enumerate(self.operations) if found.kind in PERSIST_POINTS]
        return [*points, len(self.operations)]

    def disk(self, position: int) -> Platter:
        """The disk before an operation."""
        disk = self._start.copy()
        for found in self.operations[:position]:
            disk.take(found)
        return disk

    def promised(self, position: int) -> Promise | None:
        """The device's last word before an operation."""
        marks = (found.path for found in reversed(self.operations[:position]) if found.kind is Kind.MARK)
        last = next(marks, None)
        return msgspec.json.decode(last, type=Promise) if last else None

    def written(self, position: int) -> set[Place]:
        """Chunks that were written to the store before an operation."""
        return {place for i, place in self._written if i < position}


class Theatre:
    """All stories, each recorded once in this process.

    Args:
        work: an empty folder, best on a file system in memory.
        stories: what is played.
        deaf_to: name of a kind of operation that this disk does not carry out, to see that it is missed.
    """

    def __init__(self, work: Path, stories: tuple[Story, ...] = STORIES, deaf_to: str = "") -> None:
        self._work, self._recorder, self._deaf_to = work, Recorder(), deaf_to
        self._stages: dict[str, Stage] = {}
        self._lives: dict[str, Life] = {}
        for story in stories:
            self._record(story)

    def persist_points(self) -> list[tuple[str, int]]:
        """Every place of every story where the power has to go at least once."""
        return [(name, point) for name, life in self._lives.items() for point in life.persist_points()]

    def draw_point(self, draw: random.Random) -> tuple[str, int]:
        """Any operation of any story."""
        name = draw.choice(list(self._lives))
        return name, draw.randrange(len(self._lives[name].operations) + 1)

    def run(self, name: str, position: int, draw: random.Random) -> Outcome:
        """Cut the power, and perhaps again; what came of it."""
        life, at, style = self._lives[name], position, draw.choice(WAYS)
        first, promised, waste, cuts = style, None, 0, 0
        written: set[Place] = set()
        while True:
            cuts += 1
            promised = life.promised(at) or promised
            written |= life.written(at)
            killed = style == KILLED
            life, broken = self._recover(
                name, self._lay_out(name, life.disk(at), style, draw), promised, cuts
            )
            again = not broken and cuts < MAX_CUTS and (killed or draw.random() < AGAIN)
            at = draw.randrange(len(life.operations) + 1) if again else len(life.operations)
            style = draw.choice(WAYS)
            waste = max(waste, len(written & life.written(at)))
            if not again:
                return Outcome(name, position, first, broken, waste, cuts)

    def _record(self, story: Story) -> None:
        folder = self._work / "device"
        stage = self._stages[story.name] = Stage(folder)
        story.before(stage)
        folder.mkdir(exist_ok=True)
        start = Platter(folder)
        self._recorder.begin(folder)
        stage.tell = self._tell
        story.during(stage)
        operations = self._heard()
        self._lives[story.name] = Life(start, operations, _asked(stage))
        shutil.rmtree(folder)

    def _lay_out(self, name: str, disk: Platter, style: str, draw: random.Random) -> Platter:
        """Make the device's folder of what is left; the disk on which its next life begins."""
        folder = self._stages[name].folder
        if style == KILLED:
            lay_out(disk.after_kill(), folder)
            disk.laid_out_in(folder)
            return disk
        lay_out(disk.left(style, draw), folder)
        return Platter(folder)

    def _recover(self, name: str, start: Platter, promised: Promise | None, cuts: int) -> tuple[Life, str]:
        """Start the device over what is left; its life, and what did not hold."""
        stage = self._stages[name]
        self._recorder.begin(stage.folder)
        try:
            broken = _live(stage, promised, cuts)
        except Exception as error:  # noqa: BLE001 - whatever ends a device is what is looked for here
            broken = f"ended with {error!r}"
        operations = self._heard()
        shutil.rmtree(stage.folder)
        return Life(start, operations, _asked(stage)), broken

    def _heard(self) -> list[Operation]:
        return [found for found in self._recorder.end() if found.kind.name != self._deaf_to]

    def _tell(self, word: Promise) -> None:
        self._recorder.mark(msgspec.json.encode(word).decode())


def _asked(stage: Stage) -> set[str]:
    """Chunks that a life has asked the broker for; the next one asks anew."""
    asked = stage.simulator.topics.subscribed
    digests = {topic.rpartition("/")[2] for topic in asked}
    asked.clear()
    return digests


def _live(stage: Stage, promised: Promise | None, cuts: int) -> str:
    """Start alone, then with the network; what did not hold."""
    network = stage.simulator.topics
    network.connected = False
    stage.start()
    if "DamagedDatabase" in stage.device.names():
        return "takes its database for damaged"
    if broken := _decides(stage, promised) or _taken_back(promise(stage.device), promised):
        return broken
    network.connected = True
    reached = stage.reaches_its_version() or (cuts >= LOOP_CUTS and stage.went_back())
    newest = stage.device.latest
    stage.stop()
    return "" if reached else f"stays at {newest.state} with E{newest.error:03d} {newest.detail}"


def _decides(stage: Stage, promised: Promise | None) -> str:
    artifact, running = stage.device.running_artifact, stage.device.running
    if artifact is None:
        return "decides with no model" if promised and promised.decides else ""
    version = stage.artifacts.get(sha256_hex(artifact))
    if running is None or version != running.version:
        return f"decides with {version}, and the journal says {running}"
    return ""


def _taken_back(word: Promise, promised: Promise | None) -> str:
    """What a device no longer says although it has said it."""
    if promised is None:
        return ""
    if word.assignment < promised.assignment:
        return f"has forgotten assignment {promised.assignment}"
    if word.next_seq < promised.next_seq:
        return f"numbers its messages from {word.next_seq} again, not from {promised.next_seq}"
    for model, counter in promised.floors.items():
        if word.floors.get(model, 0) < counter:
            return f"has lowered the floor of {model} from {counter}"
    return ""
