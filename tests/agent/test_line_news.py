"""What the line tells its supervisors: each window once, or as lost, whoever is killed in between."""

import random
from pathlib import Path

import msgspec
import pytest

from edgewright.agent.control import GivenUp, News, Ready, SampleReady, Stop, Taken, Trouble, WindowReady
from edgewright.agent.database import Database
from edgewright.agent.journal import Journal
from edgewright.agent.ledger import Ledger
from edgewright.agent.line.keeping import ON_THE_WAY, Keeping
from edgewright.agent.linenews import LineNews
from edgewright.agent.outbox import Outbox
from edgewright.agent.samplefiles import SampleFiles
from edgewright.wire import messages
from edgewright.wire.errors import StorageFullError
from edgewright.wire.messages import Lost, Report, Window
from tests.agent.line_rig import PATIENCE_S, LineRig, running_line
from tests.agent.test_outbox import SAMPLE, WINDOW
from tests.agent.tiny_models import write_release

LINE = "the line"


def window(frames: int) -> WindowReady:
    """News of so many frames."""
    return WindowReady(msgspec.structs.replace(WINDOW, frames=frames))


class Listener:
    """A supervisor's half, over a folder; another one over the same folder is the next supervisor.

    Attributes:
        taken: the last number that it acknowledged.
    """

    def __init__(self, folder: Path) -> None:
        self.database = Database(folder / "agent.db")
        self.outbox = Outbox(self.database, "robot-1", SampleFiles(folder / "samples"))
        self.ledger = Ledger("robot-1", self.database, Journal(self.database), self.outbox)
        self.taken = 0
        self.news = LineNews(self.outbox, self.ledger, self._send, lambda _message: None)
        self.news.line_started(LINE)

    def _send(self, taken: Taken) -> None:
        self.taken = taken.number

    def held(self) -> list[messages.Upward]:
        """All messages that wait for the controller."""
        rows = self.database.connection.execute("SELECT payload FROM messages ORDER BY id")
        return [messages.decode_up(payload) for (payload,) in rows]

    def frames(self) -> int:
        """Frames of all windows, and of those that were lost."""
        return sum(found.frames for found in self.held() if isinstance(found, Window | Lost))


def told(keeping: Keeping) -> list[News]:
    """Everything that the line tells now."""
    found = []
    while (message := keeping.next()) is not None:
        found.append(message)
        keeping.told()
    return found


def test_news_are_told_until_they_are_taken() -> None:
    """The next supervisor is told again what the one before did not take, under the same numbers."""
    keeping = Keeping()
    for frames in (1, 2, 3):
        keeping.keep(window(frames))
    assert [message.number for message in told(keeping)] == [1, 2, 3]
    keeping.taken(1)
    keeping.begin_again()
    keeping.keep(window(4))
    assert [message.number for message in told(keeping)] == [2, 3, 4]
    keeping.taken(4)
    keeping.begin_again()
    assert (told(keeping), keeping.waiting) == ([], 0)


def test_a_line_without_room_says_what_it_gave_up() -> None:
    """The oldest that were never told give way and are counted; what was told once never is."""
    keeping = Keeping(most=3, sample_bytes=len(SAMPLE.image))
    for _ in range(ON_THE_WAY):
        keeping.keep(window(1))
        told(keeping)
    for frames in (10, 20, 30, 40, 50):
        keeping.keep(window(frames))
    for _ in range(3):
        keeping.keep(SampleReady(SAMPLE))
    assert told(keeping) == []
    keeping.taken(ON_THE_WAY)
    rest = told(keeping)
    lost = {message.what: message for message in rest if isinstance(message, GivenUp)}
    assert (lost["window"].messages, lost["window"].frames, lost["sample"].messages) == (3, 60, 2)
    assert [message.window.frames for message in rest if isinstance(message, WindowReady)] == [40, 50]


def test_news_that_come_twice_count_once(tmp_path: Path) -> None:
    """A supervisor drops what the one before had committed, and acknowledges it all the same."""
    first = Listener(tmp_path)
    first.news.heard(msgspec.structs.replace(window(5), number=1))
    first.database.close()
    second = Listener(tmp_path)
    second.news.heard(msgspec.structs.replace(window(5), number=1))
    second.news.heard(Trouble(81, "The interlock cannot be read.", 2))
    second.news.heard(Trouble(81, "The interlock cannot be read.", 2))
    assert (second.frames(), second.taken) == (5, 2)
    assert len([found for found in second.held() if isinstance(found, Report)]) == 1


def test_another_line_begins_its_own_numbers(tmp_path: Path) -> None:
    """The first window of a new line is not taken for the first of the one before."""
    listener = Listener(tmp_path)
    listener.news.heard(msgspec.structs.replace(window(5), number=1))
    listener.news.line_started("another line")
    listener.news.heard(msgspec.structs.replace(window(7), number=1))
    assert listener.frames() == 12


def test_news_wait_for_a_full_disk_in_their_order(tmp_path: Path) -> None:
    """What cannot be written down is not acknowledged, nor is what comes after it, and nothing is lost."""
    listener = Listener(tmp_path)
    listener.database.connection.execute("PRAGMA query_only = 1")
    for number in (1, 2):
        with pytest.raises(StorageFullError):
            listener.news.heard(msgspec.structs.replace(window(5), number=number))
    assert listener.taken == 0
    listener.database.connection.execute("PRAGMA query_only = 0")
    listener.news.take()
    assert (listener.frames(), listener.taken) == (10, 2)


def test_what_a_line_gave_up_is_declared(tmp_path: Path) -> None:
    """The controller hears of it as of what the outbox gives up, and the account holds it."""
    listener = Listener(tmp_path)
    for number in (1, 2):
        loss = GivenUp(what="window", since=1.0, until=6.0, messages=2, frames=9, number=number)
        listener.news.heard(loss)
    (lost,) = listener.held()
    assert isinstance(lost, Lost)
    assert (lost.what, lost.messages, lost.frames) == ("window", 4, 18)
    assert listener.outbox.accounts["window"] == messages.Account(4, 0, 4)


@pytest.mark.parametrize("seed", range(20))
def test_every_frame_is_counted_once_over_kills(tmp_path: Path, seed: int) -> None:
    """Supervisors that are killed after reading, before or after committing, or before acknowledging lose
    no frame and count none twice.
    """
    draw, keeping, frames = random.Random(seed), Keeping(most=8), 0
    listener = Listener(tmp_path)
    for _ in range(150):
        size = draw.randrange(1, 100)
        frames += size
        keeping.keep(window(size))
        fate = draw.random()
        if fate < 0.3:
            continue  # nobody listens
        for message in told(keeping):
            if draw.random() < 0.1:
                break  # killed with it in its hands
            listener.news.heard(message)
            if draw.random() < 0.8:
                keeping.taken(listener.taken)
        if fate < 0.6:
            listener.database.close()
            listener = Listener(tmp_path)
        keeping.begin_again()
    for message in told(keeping):
        listener.news.heard(message)
        keeping.taken(listener.taken)
    for message in told(keeping):
        listener.news.heard(message)
    assert listener.frames() == frames


def test_a_line_tells_the_next_supervisor_what_the_last_one_read(tmp_path: Path) -> None:
    """Windows that a supervisor had read when it was killed, and that lay in its socket, are told again."""
    with running_line(tmp_path, window_seconds=0.05) as rig:
        rig.run("a", write_release(tmp_path))
        rig.connect()
        rig.acknowledges = False
        _ask(rig, 40)
        rig.expect(WindowReady)
        line = rig.adopt().line
        rig.acknowledges = True
        _ask(rig, 10)
        rig.seen.clear()
        assert rig.adopt().line == line
        rig.order(Stop())
        assert rig.process.wait(PATIENCE_S) == 0
        heard = rig.saw(WindowReady)
        assert sum(ready.window.frames for ready in heard) == 50
        assert len({ready.number for ready in heard}) == len(heard)
        assert rig.saw(Ready)[0].line == line


def _ask(rig: LineRig, count: int) -> None:
    for i in range(count):
        assert rig.ask(f"frame-{i}", 200).source == "active"
