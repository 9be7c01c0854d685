"""Stories about who speaks: unsigned and revoked senders, copied and restored devices, late wills."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from edgewright.agent.devicekey import DeviceKey
from edgewright.controller.blobs import BlobStore
from edgewright.controller.database import col, select
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import Assignment, Device, Event, IssuedAssignment, Position
from edgewright.controller.ingest.batch import Batch
from edgewright.controller.ingest.opening import Opener
from edgewright.wire import messages, topics
from edgewright.wire.sealed import seal
from tests.controller.test_ingest import HELLO, a_window

KEY, OLD_KEY, STRANGER = DeviceKey.generate(), DeviceKey.generate(), DeviceKey.generate()
GREETING = msgspec.structs.replace(HELLO, counter=5, sent_at=100.0, seen_root=2, seen_timestamp=9)


class Controller:
    """The ingest without its thread: opens a batch and stores it."""

    def __init__(self, folder: Path) -> None:
        self.db = Database.in_folder(folder)
        self.db.create()
        self.opener = Opener(self.db)
        self._blobs = BlobStore(folder / "blobs")
        with self.db.session() as session:
            session.add(Device(id="r1", target="t", public_key=KEY.public_der()))

    def hear(self, *payloads: bytes, kind: topics.UpKind = "hello") -> list[messages.Ack]:
        """Take payloads that came on the topics of r1; the acknowledgements that are due."""
        opened, _ = self.opener.open([(topics.up("r1", kind), payload) for payload in payloads])
        return self.store(opened)

    def store(self, opened: Sequence[messages.Upward]) -> list[messages.Ack]:
        """Store opened messages as the writer does."""
        with self.db.session() as session:
            batch = Batch(session, self._blobs, now=1000.0)
            for message in opened:
                batch.apply(message)
            return [ack for _, ack in batch.finish()]

    def greet(self, **changes: object) -> str:
        """A hello of r1 comes; what it is suspected of then."""
        self.store([msgspec.structs.replace(GREETING, **changes)])
        return self.device().suspicion

    def device(self) -> Device:
        """r1."""
        with self.db.reading() as session:
            return session.get_one(Device, "r1")

    def change(self, **columns: object) -> None:
        """Write columns of r1, as enrolment does."""
        with self.db.session() as session:
            row = session.get_one(Device, "r1")
            for name, value in columns.items():
                setattr(row, name, value)
            session.add(row)

    def events(self, kind: str) -> list[str]:
        """Sentences of one kind."""
        with self.db.reading() as session:
            return list(session.exec(select(Event.sentence).where(col(Event.kind) == kind)))


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Controller]:
    """A controller that has enrolled r1."""
    made = Controller(tmp_path)
    yield made
    made.db.close()


def sealed(message: messages.Upward, key: DeviceKey = KEY) -> bytes:
    """A message as a device with this key sends it."""
    return seal(messages.encode(message), "up", key.sign)


def test_a_sealed_hello_counts(controller: Controller) -> None:
    """What the device's key has signed is stored and acknowledged, and the device was seen."""
    (ack,) = controller.hear(sealed(GREETING), sealed(a_window(1)))
    assert ack == messages.Ack(stream="s", through=1, hello=GREETING.counter)
    assert controller.device().last_seen == 1000.0


@pytest.mark.parametrize(
    "forged",
    [
        messages.encode(GREETING),
        sealed(GREETING, STRANGER),
        seal(messages.encode(GREETING), "down", KEY.sign),
        sealed(GREETING)[:-3],
        b"",
    ],
    ids=["unsealed", "stranger", "another purpose", "cut", "empty"],
)
def test_what_the_device_did_not_sign_changes_nothing(controller: Controller, forged: bytes) -> None:
    """A forged hello stores nothing, is not acknowledged, and nobody was seen; one event tells of it."""
    assert controller.hear(forged, forged, forged) == []
    device = controller.device()
    assert (device.last_seen, device.connected, device.agent_version) == (0.0, False, "")
    assert controller.hear(forged) == []
    assert len(controller.events("device.unsigned")) == 1
    assert sum(controller.opener.dropped.values()) == 4
    assert controller.hear(sealed(GREETING))


def test_a_device_cannot_speak_about_another(controller: Controller) -> None:
    """A message that r1 has signed and that names another device is dropped, on whichever topic it comes."""
    other = msgspec.structs.replace(GREETING, device="r2")
    with controller.db.session() as session:
        session.add(Device(id="r2", target="t", public_key=STRANGER.public_der()))
    assert controller.hear(sealed(other)) == []
    opened, _ = controller.opener.open([(topics.up("r2", "hello"), sealed(other))])
    assert opened == []


def test_the_key_before_a_renewal_counts_and_one_before_that_does_not(controller: Controller) -> None:
    """Messages that were on their way when the key was renewed are taken."""
    controller.change(public_key=KEY.public_der(), previous_public_key=OLD_KEY.public_der())
    assert controller.hear(sealed(GREETING, OLD_KEY))
    controller.change(public_key=STRANGER.public_der(), previous_public_key=KEY.public_der())
    assert controller.hear(sealed(GREETING, OLD_KEY)) == []


def test_the_will_of_a_revoked_device_is_no_news(controller: Controller) -> None:
    """Ending its connection makes the broker say its goodbye; only what it says itself is told."""
    controller.change(revoked_at=1.0)
    goodbye = messages.Goodbye(device="r1", connected_at=100.0, reason="lost")
    assert controller.hear(sealed(goodbye), kind="goodbye") == []
    assert controller.events("device.unsigned") == []
    assert controller.hear(sealed(GREETING)) == []
    assert len(controller.events("device.unsigned")) == 1


def test_a_revoked_device_is_not_heard(controller: Controller) -> None:
    """What a revoked device signs is dropped, and an event says so once."""
    controller.change(revoked_at=1.0)
    assert controller.hear(sealed(GREETING), sealed(GREETING)) == []
    assert controller.device().last_seen == 0.0
    (sentence,) = controller.events("device.unsigned")
    assert "revoked" in sentence


def test_invented_senders_write_nothing(controller: Controller) -> None:
    """Payloads in names that never enrolled leave no event: a flood cannot fill the database."""
    batch = [(topics.up(f"ghost-{i}", "hello"), b"x") for i in range(300)] + [("nonsense/topic", b"x")]
    opened, sentences = controller.opener.open(batch)
    assert (opened, len(sentences), controller.events("device.unsigned")) == ([], 301, [])


def test_an_honest_device_is_never_suspected(controller: Controller) -> None:
    """Repetitions, new connections, a late hello and restarted timestamps are nothing to suspect."""
    assert controller.greet() == ""
    assert controller.greet() == ""
    assert controller.greet(counter=6, sent_at=200.0, seen_timestamp=12, assignment_version=3) == ""
    assert controller.greet(counter=5, sent_at=100.0) == ""
    assert controller.device().counter == 6
    assert (
        controller.greet(counter=9, sent_at=300.0, seen_root=3, seen_timestamp=1, assignment_version=3) == ""
    )
    new_director = {"seen_root": 3, "seen_timestamp": 1, "assignment_version": 1, "director_root": 2}
    assert controller.greet(counter=10, sent_at=400.0, **new_director) == ""
    assert controller.events("device.suspicious") == []


@pytest.mark.parametrize(
    "older",
    [
        {"counter": 4},
        {"counter": 6, "seen_root": 1},
        {"counter": 6, "seen_timestamp": 8},
        {"counter": 6, "assignment_version": 1},
        {"counter": 6, "director_root": 1},
    ],
    ids="-".join,
)
def test_a_restored_disk_is_noticed(controller: Controller, older: dict[str, int]) -> None:
    """A device comes back with numbers of an older day; one event names it, and a page can show it."""
    controller.greet(assignment_version=2, director_root=2)
    same = {"assignment_version": 2, "director_root": 2, "sent_at": 200.0}
    assert controller.greet(**(same | older)).startswith("restored: ")
    controller.greet(**(same | older))
    assert len(controller.events("device.suspicious")) == 1


def test_two_machines_with_one_identity_are_noticed(controller: Controller) -> None:
    """A copied disk: both count from the same number, so one number stands on two connections."""
    controller.greet()
    controller.greet(counter=6, sent_at=200.0)
    assert controller.greet(counter=6, sent_at=201.5).startswith("clone: two connections")


def test_a_copy_from_an_older_day_ends_as_a_clone(controller: Controller) -> None:
    """A copy that speaks beside its original: first the numbers fall, then they fall again."""
    controller.greet(counter=9)
    assert controller.greet(counter=6, sent_at=200.0).startswith("restored: ")
    controller.greet(counter=10, sent_at=201.0)
    assert controller.greet(counter=7, sent_at=202.0).startswith("clone: ")
    assert len(controller.events("device.suspicious")) == 2


def test_a_stream_that_was_left_for_another_does_not_come_back(controller: Controller) -> None:
    """A new outbox is fine; two outboxes that alternate are two machines."""
    controller.greet()
    assert controller.greet(counter=6, sent_at=200.0, stream="new") == ""
    assert controller.greet(counter=7, sent_at=300.0, stream="s").startswith(
        "clone: it goes back to an outbox"
    )


def test_a_number_with_other_content_is_noticed(controller: Controller) -> None:
    """The same window again is a repetition; another window under its number is a second machine's."""
    controller.store([GREETING, a_window(1), a_window(2), a_window(3)])
    controller.store([a_window(2), a_window(3)])
    assert controller.device().suspicion == ""
    controller.store([a_window(2, frames=11)])
    assert controller.device().suspicion.startswith("clone: number 2 of its outbox s")
    with controller.db.reading() as session:
        assert session.get_one(Position, ("r1", "s")).through == 3


def test_a_stale_will_does_not_hide_a_newer_connection(controller: Controller) -> None:
    """The will of an earlier connection comes after the next hello: the device stays connected; its own will
    ends it.
    """
    controller.greet(sent_at=100.0)
    controller.greet(counter=6, sent_at=200.0)
    controller.store([messages.Goodbye(device="r1", connected_at=100.0, reason="lost")])
    assert controller.device().connected
    controller.store([messages.Goodbye(device="r1", connected_at=200.0, reason="lost")])
    assert not controller.device().connected


def test_the_tags_of_the_token_stay(controller: Controller) -> None:
    """A hello changes no tag that the token gave; its own are few, short, and replaced by the next ones."""
    controller.change(tags={"site": "lyon"}, bound_tags={"site": "lyon"})
    controller.greet(tags={"site": "paris", "line": "a", "note": "x" * 65})
    assert controller.device().tags == {"site": "lyon", "line": "a"}
    controller.greet(counter=6, sent_at=200.0, tags={f"key-{n}": "x" for n in range(7000)})
    assert len(controller.device().tags) == 33
    controller.greet(counter=7, sent_at=300.0, tags={})
    assert controller.device().tags == {"site": "lyon"}


def test_another_target_is_noticed_and_not_taken(controller: Controller) -> None:
    """What the device enrolled as decides which models it gets; one that enrolled as nothing may say it."""
    assert controller.greet(target="other").startswith("retargeted: it enrolled as t")
    controller.greet(target="other", counter=6, sent_at=200.0)
    assert controller.device().target == "t"
    assert len(controller.events("device.suspicious")) == 1
    controller.change(target="", suspicion="")
    assert controller.greet(target="other", counter=7, sent_at=300.0) == ""
    assert controller.device().target == "other"


def test_a_restored_controller_accuses_nobody(controller: Controller) -> None:
    """A device with an unknown assignment and acknowledged messages is no alarm; it gets its orders again."""
    assert controller.greet() == ""
    later = {"assignment_version": 9, "assignment_sha256": "a" * 64, "counter": 6, "sent_at": 200.0}
    greeting = msgspec.structs.replace(GREETING, **later, oldest=GREETING.oldest + 40)
    with controller.db.session() as session:
        batch = Batch(session, controller._blobs, now=1000.0)
        batch.apply(greeting)
        assert batch.questions == {"r1": ""}
    assert controller.device().suspicion == ""
    assert controller.events("director.equivocation") == []
    assert "restored from a backup" in controller.events("device.event")[0]


def test_orders_of_a_stolen_director_key_raise_an_alarm(controller: Controller) -> None:
    """A device that acts on a document that this controller has not issued tells of the theft."""
    with controller.db.session() as session:
        session.add(IssuedAssignment(device="r1", version=4, sha256="a" * 64, issued=1.0))
        session.add(
            Assignment(
                device="r1",
                version=4,
                model="m",
                model_version=1,
                manifest_sha256="",
                rollout=0,
                issued=1.0,
                document=b"",
            )
        )
    assert controller.greet(assignment_version=4, assignment_sha256="a" * 64) == ""
    assert controller.greet(assignment_version=3, assignment_sha256="c" * 64, counter=6, sent_at=150.0)
    controller.change(suspicion="")
    suspicion = controller.greet(assignment_version=4, assignment_sha256="b" * 64, counter=7, sent_at=200.0)
    assert suspicion.startswith("equivocation: it acts on an assignment 4")
    controller.change(suspicion="restored: before.")
    unknown = {"assignment_version": 5, "assignment_sha256": "d" * 64}
    suspicion = controller.greet(**unknown, counter=8, sent_at=300.0)
    assert suspicion.startswith("equivocation: ")
    assert len(controller.events("director.equivocation")) == 2
