"""Topics, built and parsed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.wire import topics
from edgewright.wire.errors import UnknownTopicError

DEVICES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)


@given(DEVICES, st.sampled_from(topics.UP_KINDS))
def test_upward_topics_parse_to_what_they_were_built_from(device: str, kind: topics.UpKind) -> None:
    """Parsing an upward topic gives back device and kind."""
    assert topics.parse_up(topics.up(device, kind)) == (device, kind)


@pytest.mark.parametrize("device", ["", "a/b", "a+b", "#", "x" * 65, "-a", "a b", "$SYS"])
def test_device_ids_that_would_change_a_topic_are_refused(device: str) -> None:
    """An id with MQTT's own signs, too long or empty never becomes part of a topic."""
    with pytest.raises(UnknownTopicError):
        topics.assignment(device)


def test_a_wrong_shard_is_refused() -> None:
    """A device cannot speak on another shard than its own."""
    right = topics.shard_of("r1")
    wrong = f"{(int(right, 16) + 1) % topics.SHARDS:02x}"
    with pytest.raises(UnknownTopicError):
        topics.parse_up(topics.up("r1", "window").replace(f"/{right}/", f"/{wrong}/"))


@pytest.mark.parametrize("file", ["../root.json", "a/b.json", "root", ".json", "#"])
def test_metadata_names_cannot_leave_their_topic(file: str) -> None:
    """Only plain file names become metadata topics."""
    with pytest.raises(UnknownTopicError):
        topics.metadata(file)


def test_chunk_topics_round_trip_and_refuse_others() -> None:
    """A chunk's topic gives back its digest; anything else is refused."""
    digest = "ab" * 32
    assert topics.parse_chunk(topics.chunk(digest)) == digest
    for wrong in (topics.head(), "ew/1/chunk/xyz", topics.chunk(digest).upper()):
        with pytest.raises(UnknownTopicError):
            topics.parse_chunk(wrong)
