"""Truths by topic, HTTP and CSV: what is taken, what is refused, what is told."""

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from edgewright.agent.cell.control import Noted
from edgewright.agent.cell.truthdoor import HOST, TruthDoor, token_at
from edgewright.agent.cell.truthfiles import TruthFolder
from edgewright.agent.cell.truths import (
    MAX_AT_ONCE,
    MAX_BYTES,
    MAX_TOLD,
    MAX_WAITING,
    Truths,
    outcome_of,
    outcomes_of_json,
)
from edgewright.agent.earlytruths import EARLY_S, MAX_EARLY, EarlyTruths
from edgewright.wire.cell import Outcome
from edgewright.wire.errors import ConfigurationError, MalformedTruthError

TOKEN = b"t" * 40


class _Told:
    """Truths, and what was said of them."""

    def __init__(self) -> None:
        self.noted: list[Noted] = []
        self.truths = Truths(self.noted.append)

    def all(self) -> list[Outcome]:
        """Everything that waits."""
        return list(iter(self.truths.next, None))


@pytest.mark.parametrize(
    "told",
    [
        {"truth": "Bag"},
        {"item": "", "truth": "Bag"},
        {"item": 7, "truth": "Bag"},
        {"item": "7", "truth": "x" * 257},
        {"item": "i" * 1_000_000, "truth": "Bag"},
        {"item": "7\x00", "truth": "Bag"},
        {"item": "7", "truth": "Bag", "source": "s" * 65},
        {"item": "7", "truth": "Bag", "source": "audit"},
        {"item": "7", "truth": "Bag", "source": "line"},
        {"item": "7", "truth": "Bag", "probability": 0},
        {"item": "7", "truth": "Bag", "probability": -0.1},
        {"item": "7", "truth": "Bag", "probability": 1.0001},
        {"item": "7", "truth": "Bag", "probability": "NaN"},
        {"item": "7", "truth": "Bag", "probability": "1e-400"},
        {"item": "7", "truth": "Bag", "probability": True},
        {"item": "7", "truth": "Bag", "probability": [0.5]},
        ["7", "Bag"],
        None,
    ],
)
def test_what_is_no_truth_is_refused_with_a_sentence(told: Any) -> None:
    """Missing, empty, huge, unprintable and absurd values are refused, whatever their kind."""
    with pytest.raises(MalformedTruthError) as refused:
        outcome_of(told)
    assert refused.value.sentence.endswith(".")
    assert len(refused.value.sentence) < 120


def test_json_is_one_truth_or_many() -> None:
    """Places of the wrong ones are named, the others count; a payload of another kind is refused."""
    right, wrong = outcomes_of_json(
        b'[{"item":"1","truth":"a"},{"item":"2"},{"item":"3","truth":"b","source":"s","probability":0.5}]'
    )
    assert right == [Outcome("1", "a"), Outcome("3", "b", "s", 0.5)]
    assert [place for place, _ in wrong] == [1]
    assert outcomes_of_json(b'{"item":"1","truth":"a"}') == ([Outcome("1", "a")], [])
    many = json.dumps([{"item": "1", "truth": "a"}] * (MAX_AT_ONCE + 1)).encode()
    for payload in (b"", b"nonsense", b"[" * 100_000, b'{"item":"\xff"}', b" " * (MAX_BYTES + 1), many):
        with pytest.raises(MalformedTruthError):
            outcomes_of_json(payload)


def test_truths_that_wait_are_bounded() -> None:
    """What can be sent again is refused as a whole where there is no room; of a topic the oldest give way."""
    truths = Truths()
    many = [Outcome(str(number), "a") for number in range(MAX_WAITING)]
    truths.push([*many, Outcome("y", "a")])
    assert not truths.offer([Outcome("x", "a")])
    assert (truths.dropped, truths.next()) == (1, Outcome("1", "a"))


def test_a_topic_in_spate_takes_nothing_that_was_taken() -> None:
    """Truths of requests and files stay, and have their turn, however many a topic tells meanwhile."""
    truths = Truths()
    assert truths.offer([Outcome("asked", "a")])
    truths.keep([Outcome("filed", "a")])
    for start in range(3):
        truths.push([Outcome(f"{start} {number}", "a") for number in range(MAX_WAITING)])
    assert truths.room == 0
    items = [outcome.item for outcome in iter(truths.next, None)]
    assert len(items) == MAX_WAITING
    assert {"asked", "filed"} <= set(items[:4])
    assert truths.dropped == 2 * MAX_WAITING + 2


def test_complaints_are_counted_all_and_told_once() -> None:
    """A sender that goes on telling nonsense is one report in ten minutes, and each of it is counted."""
    told = _Told()
    for _ in range(50):
        told.truths.complain("topic x", 2, "It is none.")
    assert (told.truths.malformed, len(told.noted)) == (100, 1)
    for number in range(100):
        told.truths.complain(f"file {number}", 1, "It is none.")
    assert (told.truths.malformed, len(told.noted)) == (200, MAX_TOLD)
    assert told.noted[0] == Noted(MalformedTruthError.number, "topic x: It is none.")


def test_early_truths_wait_within_bounds() -> None:
    """The first one of an item waits; too many, too old and second ones come out once."""
    early = EarlyTruths()
    for number in range(MAX_EARLY + 1):
        early.keep(Outcome(str(number), "a"), 0.0)
    early.keep(Outcome("5", "b"), 1.0)
    assert [outcome.item for outcome in early.expired(1.0)] == ["0", "5"]
    assert early.take("5") == Outcome("5", "a")
    assert (early.take("0"), early.take("5")) == (None, None)
    assert len(early.expired(EARLY_S + 1)) == MAX_EARLY - 1
    assert (len(early), early.expired(EARLY_S + 1)) == (0, [])


@pytest.fixture
def door() -> Iterator[TruthDoor]:
    """A door on a free port."""
    opened = TruthDoor(0, TOKEN, Truths())
    opened.start()
    yield opened
    opened.stop()


def _post(
    door: TruthDoor, body: bytes, token: bytes = TOKEN, path: str = "/truths", **headers: str
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(HOST, door.port, timeout=10)
    try:
        shown = {"Authorization": f"Bearer {token.decode()}", **headers}
        connection.request("POST", path, body, shown)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_truths_are_posted_with_the_token(door: TruthDoor) -> None:
    """One or many are taken in their order, wrong ones are named by place, and nothing without the token."""
    assert _post(door, b'{"item":"1","truth":"a"}') == (200, {"taken": 1, "refused": []})
    status, answer = _post(door, b'[{"item":"2","truth":"b"},{"item":"3","truth":"c","probability":2}]')
    assert (status, answer["taken"], [one["place"] for one in answer["refused"]]) == (200, 1, [1])
    assert door.truths.next() == Outcome("1", "a")
    for token in (b"", b"T" * 40, TOKEN + b"x"):
        assert _post(door, b'{"item":"9","truth":"a"}', token)[0] == 401
    assert _post(door, b"{}", path="/other")[0] == 404
    assert _post(door, b"nonsense")[0] == 400
    assert (door.truths.taken, door.truths.malformed) == (2, 2)


def test_a_door_without_room_takes_nothing(door: TruthDoor) -> None:
    """Where the line takes no truths, a post is refused as a whole with 503, to be sent again."""
    door.truths.push([Outcome(str(number), "a") for number in range(MAX_WAITING)])
    assert _post(door, b'{"item":"1","truth":"a"}')[0] == 503
    assert door.truths.taken == MAX_WAITING


def test_hostile_requests_end_no_door(door: TruthDoor) -> None:
    """Lengths that lie, are missing or huge, half a request and noise are let go; then it works."""
    random = Random(3)
    for request in (
        b"POST /truths HTTP/1.0\r\nAuthorization: Bearer " + TOKEN + b"\r\n\r\n",
        b"POST /truths HTTP/1.0\r\nAuthorization: Bearer " + TOKEN + b"\r\nContent-Length: -1\r\n\r\n",
        b"POST /truths HTTP/1.0\r\nAuthorization: Bearer "
        + TOKEN
        + b"\r\nContent-Length: 99999999999999\r\n\r\n",
        b"POST /truths HTTP/1.0\r\nAuthorization: Bearer " + TOKEN + b"\r\nContent-Length: 900000\r\n\r\n",
        b"GET /truths HTTP/1.0\r\n\r\n",
        random.randbytes(2000),
        b"POST ",
        b"A" * 70_000,
    ):
        with socket.create_connection((HOST, door.port), timeout=10) as caller:
            caller.sendall(request)
            caller.shutdown(socket.SHUT_WR)
            answer = caller.recv(65536)
        assert b" 200 " not in answer.split(b"\r\n")[0]
    assert _post(door, b'{"item":"1","truth":"a"}')[0] == 200


def test_a_token_that_others_can_read_opens_nothing(tmp_path: Path) -> None:
    """It is made with mode 0600 and kept; a wider mode, a short one and a taken port are refused."""
    path = tmp_path / "labels.token"
    token = token_at(path)
    assert (path.stat().st_mode & 0o777, token_at(path) == token, len(token) >= 40) == (0o600, True, True)
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="Others can read"):
        token_at(path)
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(ConfigurationError, match="too short"):
        token_at(path)
    with socket.create_server((HOST, 0)) as taken, pytest.raises(ConfigurationError, match="port"):
        TruthDoor(taken.getsockname()[1], token, Truths())


class _Folder:
    """A folder of truths, and a clock that a test turns."""

    def __init__(self, path: Path) -> None:
        self.path, self.told, self.now = path / "labels", _Told(), 0.0
        self.path.mkdir(exist_ok=True)
        self.memory = path / "labels-done.json"
        self.folder = TruthFolder(self.path, self.memory, self.told.truths)

    def put(self, name: str, content: bytes) -> None:
        """Write a file."""
        (self.path / name).write_bytes(content)

    def turn(self, turns: int = 4) -> list[Outcome]:
        """Let seconds pass; what was told meanwhile."""
        got = []
        for _ in range(turns):
            self.now += 1.1
            self.folder.turn(self.now)
            got += self.told.all()
        return got


def test_a_file_is_taken_once_when_it_is_whole(tmp_path: Path) -> None:
    """A file that grows waits; taken, it is not taken again, nor by a restarted cell; changed, it is."""
    rig = _Folder(tmp_path)
    rig.put("a.csv", b"item,truth\n1,Bag\n")
    assert rig.turn(1) == []
    rig.put("a.csv", b"item,truth\n1,Bag\n2,Boot\n")
    assert rig.turn(1) == []
    assert rig.turn() == [Outcome("1", "Bag"), Outcome("2", "Boot")]
    assert rig.turn(6) == []
    again = _Folder(tmp_path)
    assert again.turn(6) == []
    again.put("a.csv", b"item,truth\n1,Bag\n2,Boot\n3,Shoe\n")
    assert [outcome.item for outcome in again.turn()] == ["1", "2", "3"]
    assert again.told.noted == []


def test_bad_lines_are_told_by_number_and_the_others_count(tmp_path: Path) -> None:
    """Latin-1, too few values, a wrong chance, open quotes and long lines: five of eight are none."""
    rig = _Folder(tmp_path)
    lines = [
        b"\xef\xbb\xbfProbability;Item;Truth;note",
        b"0.5;1;Bag;fine",
        "1;2;H\u00fclle;x".encode("latin-1"),
        b"0.5;3",
        b"nan;4;Bag;",
        b'1;5;"Bag',
        b";6;" + b"B" * 5000 + b";",
        b'1;"a;b";H\xc3\xbclle;',
        b"",
        b";8;Boot",
    ]
    rig.put("b.csv", b"\r\n".join(lines))
    assert rig.turn() == [Outcome("1", "Bag", "", 0.5), Outcome("a;b", "H\u00fclle"), Outcome("8", "Boot")]
    assert rig.told.truths.malformed == 5
    (noted,) = rig.told.noted
    assert noted.sentence.startswith("file b.csv: 5 lines are no truths, 3 are. Line 3: It is no UTF-8.")
    assert all(f"Line {number}:" in noted.sentence for number in (3, 4, 5, 6, 7))


@pytest.mark.parametrize(
    "content",
    [b"", b"1,Bag\n", b"item,truth,item\n1,Bag,2\n", b"name,class\n1,2\n", b"\x00\xff\xfe", b'"item\n'],
)
def test_a_file_without_a_usable_header_is_left_out(tmp_path: Path, content: bytes) -> None:
    """It is told once, by name, nothing of it counts, and the next file is taken."""
    rig = _Folder(tmp_path)
    rig.put("a.csv", content)
    rig.put("b.CSV", b"truth\titem\nBag\t1\n")
    assert rig.turn(6) == [Outcome("1", "Bag")]
    assert [noted.sentence.split(":")[0] for noted in rig.told.noted] == ["file a.csv"]


def test_a_large_file_waits_for_the_line_and_a_killed_cell_begins_it_again(tmp_path: Path) -> None:
    """5,000 truths come out complete and in order while at most 1,000 wait; half taken, all are repeated."""
    rig = _Folder(tmp_path)
    rig.put("a.csv", b"item,truth\n" + b"".join(b"%d,Bag\n" % number for number in range(5000)))
    assert [int(outcome.item) for outcome in rig.turn(40)] == list(range(5000))
    rig.put("b.csv", b"item,truth\n" + b"".join(b"%d,Boot\n" % number for number in range(5000)))
    for _ in range(20):
        rig.now += 1.1
        rig.folder.turn(rig.now)
    assert rig.told.truths.room < 200
    again = _Folder(tmp_path)
    assert len(again.turn(40)) == 5000


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    """It is told once and looked for again; a damaged memory only means that files are taken again."""
    rig = _Folder(tmp_path)
    rig.path.rmdir()
    rig.turn(3)
    assert len(rig.told.noted) == 1
    rig.path.mkdir()
    rig.put("a.csv", b"item,truth\n1,Bag\n")
    assert len(rig.turn()) == 1
    rig.memory.write_bytes(b"{")
    assert len(_Folder(tmp_path).turn()) == 1
