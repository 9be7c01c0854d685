"""Messages, manifests and the cell's stream, as bytes."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.wire import cell, messages
from edgewright.wire.assignment import read_custom, read_orders
from edgewright.wire.errors import MalformedMessageError, ProtocolMismatchError
from edgewright.wire.handshake import OLDEST_PROTOCOL, PROTOCOL, verify_protocol
from edgewright.wire.manifest import CHUNK_BYTES, decode_manifest, split_blob


def a_window(**changes: object) -> messages.Window:
    """A small window."""
    window = messages.Window(
        device="r1",
        stream="s",
        seq=1,
        start=1.0,
        seconds=1.0,
        model="m",
        version=1,
        tag="",
        frames=2,
        by_source={"active": 2},
        causes={},
        classes={"Bag": 2},
        histograms={},
        outcomes=(messages.Outcomes(1, 2, 1),),
        truths={"Bag": (2, 1)},
    )
    return msgspec.structs.replace(window, **changes)


@pytest.mark.parametrize(
    "message",
    [
        a_window(),
        messages.Hello(device="r1", agent_version="0.1.0", target="t", tags={}, runtime="x", sent_at=1.0),
        messages.Report(device="r1", stream="s", seq=3, sent_at=1.0, name="RunnerReplaced"),
        messages.Want(device="r1", sent_at=1.0, chunks=("ab",)),
        messages.Goodbye(device="r1", connected_at=1.0, reason="lost"),
    ],
)
def test_upward_messages_round_trip(message: messages.Upward) -> None:
    """Each upward message decodes to itself, of its own class."""
    assert messages.decode_up(messages.encode(message)) == message


@given(st.binary(max_size=400))
def test_any_bytes_are_a_message_or_malformed(data: bytes) -> None:
    """Bytes from the network are a message or raise the one error that says so."""
    for decode in (messages.decode_up, messages.decode_down):
        try:
            message = decode(data)
        except MalformedMessageError:
            continue
        assert messages.encode(message)


def test_unknown_fields_of_a_newer_peer_are_ignored() -> None:
    """A field that a later release adds does not stop an older reader."""
    raw = msgspec.msgpack.decode(messages.encode(messages.Ack(stream="s", through=4)))
    raw["added_later"] = [1, 2, 3]
    assert messages.decode_down(msgspec.msgpack.encode(raw)) == messages.Ack(stream="s", through=4)


def test_a_hello_lists_runtimes_within_bounds() -> None:
    """A device tells every runtime that it has, an older agent none, and nobody more or longer ones than a
    device can have.
    """
    hello = messages.Hello(device="r1", agent_version="1", target="t", tags={}, runtime="x", sent_at=1.0)
    raw = msgspec.msgpack.decode(messages.encode(hello))
    del raw["runtimes"]
    assert messages.decode_up(msgspec.msgpack.encode(raw)) == hello
    told = msgspec.structs.replace(hello, runtimes=("x" * 128,) * messages.MAX_RUNTIMES)
    assert messages.decode_up(messages.encode(told)) == told
    for absurd in (("x" * 129,), ("x",) * (messages.MAX_RUNTIMES + 1)):
        with pytest.raises(MalformedMessageError):
            messages.decode_up(messages.encode(msgspec.structs.replace(hello, runtimes=absurd)))


def test_a_window_beyond_two_kilobytes_is_not_sent() -> None:
    """The limit of a window holds at the sender."""
    with pytest.raises(MalformedMessageError, match="Window"):
        messages.encode(a_window(classes={f"class {i}": i for i in range(200)}))


def test_the_handshake_names_the_older_side() -> None:
    """A protocol outside the range is refused and the sentence says who has to be upgraded."""
    verify_protocol(PROTOCOL, "r1")
    with pytest.raises(ProtocolMismatchError, match="this side is older"):
        verify_protocol(PROTOCOL + 1, "r1")
    with pytest.raises(ProtocolMismatchError, match="r1 is older"):
        verify_protocol(OLDEST_PROTOCOL - 1, "r1")


@given(st.lists(st.builds(cell.Outcome, st.text(max_size=20), st.text(max_size=20)), max_size=8), st.data())
def test_cell_messages_survive_any_cutting_of_the_stream(
    sent: list[cell.Outcome], data: st.DataObject
) -> None:
    """However a stream is cut into reads, the same messages come out in the same order."""
    stream = b"".join(cell.encode(message) for message in sent)
    inbox, received = cell.Inbox(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        received += inbox.feed(stream[:size])
        stream = stream[size:]
    assert received == sent


def test_a_cell_message_of_absurd_length_is_refused_at_once() -> None:
    """A length beyond the limit raises before anything is buffered for it."""
    with pytest.raises(MalformedMessageError, match="exceeds"):
        cell.Inbox().feed(b"\xff\xff\xff\xff")


@given(st.binary(max_size=400))
def test_any_bytes_are_a_manifest_or_malformed(data: bytes) -> None:
    """A manifest that cannot be read raises the one error that says so."""
    with pytest.raises(MalformedMessageError):
        decode_manifest(data)


def test_signed_fields_of_another_shape_are_refused() -> None:
    """The custom part and the orders of an assignment allow no missing, wrong or additional field."""
    good = {"model": "m", "target": "t", "version": 1, "release_counter": 1}
    assert read_custom(good).version == 1
    for bad in ({}, {**good, "version": "1"}, {**good, "more": 1}, None, 7):
        with pytest.raises(MalformedMessageError):
            read_custom(bad)
        with pytest.raises(MalformedMessageError):
            read_orders(bad)


@given(st.integers(0, 3 * CHUNK_BYTES + 5))
def test_a_blob_is_its_chunks(length: int) -> None:
    """Chunks put together are the blob, and all but the last have the full size."""
    data = bytes(length)
    blob, chunks = split_blob(data)
    assert b"".join(chunks) == data
    assert blob.length == length
    assert len(blob.chunks) == len(chunks)
    assert all(len(chunk) == CHUNK_BYTES for chunk in chunks[:-1])
