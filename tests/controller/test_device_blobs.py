"""The second transport: ranges of published blobs at the HTTPS door, by a device's certificate."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from edgewright.agent.certificates import make_request
from edgewright.agent.devicekey import DeviceKey
from edgewright.controller.api import deviceblobs
from edgewright.controller.api.ranges import Part, wanted_part
from edgewright.controller.database import select
from edgewright.controller.database.tables import Certificate
from edgewright.controller.downloads import LINGER_S, OF_A_DEVICE, OF_AN_ADDRESS, PLACES, Places
from edgewright.controller.publisher import PublishedBlob
from edgewright.wire.canonical import sha256_hex
from tests.controller.doors import OpenDoor, opened
from tests.controller.test_est import EST, ROBOT, client, enrolled

DATA = random.Random(9).randbytes(700_001)
NAME = sha256_hex(DATA)
ADDRESS = f"/device/v1/blobs/{NAME}"
ETAG = f'"{NAME}"'
HANG_S = 30.0
WHOLE = Part(0, 10, whole=True)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[OpenDoor]:
    """A door behind which one blob is published."""
    with opened(tmp_path / "controller") as door:
        publish(door, DATA)
        yield door


def publish(door: OpenDoor, data: bytes) -> str:
    """Make a blob part of a published release."""
    name = door.parts.blobs.put(data)
    door.parts.publisher.found[name] = PublishedBlob(door.parts.blobs.path(name), len(data))
    return name


@pytest.fixture
def robot(door: OpenDoor, tmp_path: Path) -> Iterator[httpx.Client]:
    """A device that has enrolled, with its certificate."""
    own, _ = enrolled(door, tmp_path)
    with client(door, own) as http:
        yield http


def test_a_device_gets_a_whole_blob(robot: httpx.Client) -> None:
    """200 with the bytes, their digest as the entity tag, and the word that ranges are served."""
    answer = robot.get(ADDRESS)
    assert (answer.status_code, answer.content) == (200, DATA)
    assert answer.headers["etag"] == ETAG
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-length"] == str(len(DATA))


@pytest.mark.parametrize(
    ("asked", "first", "end"),
    [
        ("0-131071", 0, 131072),
        ("655360-786431", 655360, 700001),
        ("700000-", 700000, 700001),
        ("-5", 699996, 700001),
    ],
)
def test_a_device_gets_a_range(robot: httpx.Client, asked: str, first: int, end: int) -> None:
    """206 with exactly the range, cut at the end of the blob, and where it stands in Content-Range."""
    answer = robot.get(ADDRESS, headers={"Range": f"bytes={asked}", "If-Range": ETAG})
    assert (answer.status_code, answer.content) == (206, DATA[first:end])
    assert answer.headers["content-range"] == f"bytes {first}-{end - 1}/{len(DATA)}"


def test_ranges_of_one_connection_make_the_blob(robot: httpx.Client) -> None:
    """One range after the other gives the same bytes as the whole."""
    got = b"".join(
        robot.get(ADDRESS, headers={"Range": f"bytes={at}-{at + 131071}"}).content
        for at in range(0, len(DATA), 131072)
    )
    assert sha256_hex(got) == NAME


def test_a_range_beyond_the_end_is_not_satisfiable(robot: httpx.Client) -> None:
    """416 tells how long the blob is."""
    answer = robot.get(ADDRESS, headers={"Range": f"bytes={len(DATA)}-"})
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(DATA)}")
    assert answer.json()["number"] == 99


def test_head_tells_the_length_and_sends_nothing(robot: httpx.Client) -> None:
    """HEAD answers as GET without a range would, without the bytes."""
    answer = robot.head(ADDRESS)
    assert (answer.status_code, answer.content) == (200, b"")
    assert (answer.headers["content-length"], answer.headers["etag"]) == (str(len(DATA)), ETAG)


def some(first: int, end: int) -> Part:
    """A part of ten bytes."""
    return Part(first, end, whole=False)


@pytest.mark.parametrize(
    ("asked", "if_range", "part"),
    [
        (None, None, WHOLE),
        ("bytes=2-4", None, some(2, 5)),
        ("bytes=2-4", '"a"', some(2, 5)),
        ("bytes=2-4", 'W/"a"', WHOLE),
        ("bytes=2-4", "Sat, 21 Nov 2026 08:00:00 GMT", WHOLE),
        ("bytes=2-4,6-7", None, WHOLE),
        ("bytes=4-2", None, WHOLE),
        ("bytes=-", None, WHOLE),
        ("lines=2-4", None, WHOLE),
        ("bytes=-0", None, None),
        ("bytes=10-12", None, None),
        ("bytes=-99", None, some(0, 10)),
        ("bytes=9-9999999999999999999", None, some(9, 10)),
        ("bytes=" + "9" * 40 + "-", None, None),
        ("bytes=2-" + "9" * 40, None, some(2, 10)),
        pytest.param("bytes=" + "9" * 5000 + "-", None, WHOLE, id="unreadable"),
    ],
)
def test_which_part_is_wanted(asked: str | None, if_range: str | None, part: Part | None) -> None:
    """What RFC 9110 says of single ranges, and the whole for everything else."""
    assert wanted_part(asked, if_range, '"a"', 10) == part


def test_only_what_is_published_is_given(door: OpenDoor, robot: httpx.Client) -> None:
    """A blob of the store that no published release has is not there for devices: 404."""
    secret = door.parts.blobs.put(b"a source model")
    answer = robot.get(f"/device/v1/blobs/{secret}")
    assert (answer.status_code, answer.json()["number"]) == (404, 118)
    assert robot.head(f"/device/v1/blobs/{secret}").status_code == 404
    assert robot.get("/device/v1/blobs/..%2fkeys").status_code in (404, 422)


def test_who_holds_no_certificate_gets_nothing(door: OpenDoor, robot: httpx.Client, tmp_path: Path) -> None:
    """Without a certificate 401, with a revoked one 403, with an expired one 401 until it is renewed."""
    with client(door) as stranger:
        assert stranger.get(ADDRESS).status_code == 401
        assert stranger.head(ADDRESS).status_code == 401
    assert robot.get(ADDRESS).status_code == 200
    own, _ = enrolled(door, tmp_path, "old-1")
    with door.parts.db.session() as session:
        (row,) = session.exec(select(Certificate).where(Certificate.device == "old-1")).all()
        row.expires = time.time() - 60
        session.add(row)
    with client(door, own) as old:
        answer = old.get(ADDRESS)
        assert (answer.status_code, "renew" in answer.json()["detail"]) == (401, True)
    door.parts.register.revoke(ROBOT, "stolen")
    answer = robot.get(ADDRESS)
    assert (answer.status_code, answer.json()["number"]) == (403, 104)


def test_downloads_leave_the_door_to_others(door: OpenDoor, tmp_path: Path) -> None:
    """When as many devices as may download behind one address do so and read nothing, the next is told when
    to come back, and a device of that address still enrols.
    """
    large = publish(door, random.Random(1).randbytes(30_000_000))
    held = []
    for number in range(OF_AN_ADDRESS):
        own, _ = enrolled(door, tmp_path, f"r{number}")
        http = client(door, own)
        held.append((http, http.send(http.build_request("GET", f"/device/v1/blobs/{large}"), stream=True)))
        assert held[-1][1].status_code == 200
    own, _ = enrolled(door, tmp_path, "late")
    with client(door, own) as late:
        answer = late.get(ADDRESS, headers={"Range": "bytes=0-9"})
        assert (answer.status_code, answer.json()["number"]) == (503, 117)
        assert int(answer.headers["retry-after"]) >= 2
        assert answer.headers["connection"] == "close"
        renewed = late.post(f"{EST}/simplereenroll", content=make_request(DeviceKey.generate(), "late"))
        assert renewed.status_code == 200
    assert door.parts.downloads.counts(time.monotonic()).devices == OF_AN_ADDRESS
    for http, answer in held:
        answer.close()
        http.close()
    deadline = time.monotonic() + HANG_S
    while any(place.requests for place in door.parts.downloads._held.values()):
        assert time.monotonic() < deadline, "a place was not given back"
        time.sleep(0.02)


def test_a_stalled_download_ends(
    door: OpenDoor, robot: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that takes nothing is disconnected, and its file and its place are free."""
    monkeypatch.setattr(deviceblobs, "STALL_S", 0.3)
    large = publish(door, random.Random(1).randbytes(30_000_000))
    with robot.stream("GET", f"/device/v1/blobs/{large}"):
        deadline = time.monotonic() + HANG_S
        while door.parts.downloads._held[ROBOT].requests:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert not [f for f in psutil.Process().open_files() if f.path.endswith(large)]


def test_a_large_blob_takes_no_memory(door: OpenDoor, robot: httpx.Client) -> None:
    """200 MB go through a process that grows by a small part of that."""
    path = door.parts.data / "large"
    with path.open("wb") as file:
        file.truncate(200_000_000)
    door.parts.publisher.found["ab" * 32] = PublishedBlob(path, 200_000_000)
    before, taken, highest = psutil.Process().memory_info().rss, 0, 0
    with robot.stream("GET", f"/device/v1/blobs/{'ab' * 32}") as answer:
        for piece in answer.iter_raw(1 << 20):
            taken += len(piece)
            highest = max(highest, psutil.Process().memory_info().rss)
    assert taken == 200_000_000
    assert highest - before < 60_000_000


def test_places_are_bounded_by_device_address_and_door() -> None:
    """A device gets its requests, an address its devices, the door its places, for a while."""
    places = Places()
    assert [places.enter("r", "a", 0.0) for _ in range(OF_A_DEVICE + 1)] == [True] * OF_A_DEVICE + [False]
    others = [places.enter(f"a{n}", "a", 0.0) for n in range(OF_AN_ADDRESS)]
    assert others == [True] * (OF_AN_ADDRESS - 1) + [False]
    everybody = [places.enter(f"x{n}", f"x{n}", 0.0) for n in range(PLACES)]
    assert sum(everybody) == PLACES - OF_AN_ADDRESS
    places.leave("a0", 100, 1.0)
    assert not places.enter("late", "a", 1.0 + LINGER_S - 0.1)
    assert places.enter("a0", "a", 1.0 + LINGER_S - 0.1)
    places.leave("a0", 50, 20.0)
    assert places.enter("late", "a", 20.0 + LINGER_S)
    assert places.counts(30.0).bytes == 150
