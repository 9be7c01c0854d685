import os

import numpy as np
import pytest

from edgewright.agent.runner.frames import (
    MAX_REPLY_BYTES,
    Layout,
    Reply,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
    map_frames,
)
from edgewright.wire.errors import MalformedMessageError
from tests.agent.tiny_models import golden_bytes, make_manifest, onnx_bytes


def test_two_mappings_see_the_same_frames() -> None:
    """What one side writes into the input or the output, the other one reads."""
    layout = Layout.of(make_manifest(onnx_bytes(), golden_bytes()))
    fd = os.memfd_create("test")
    os.ftruncate(fd, layout.length)
    line, runner = map_frames(fd, layout), map_frames(fd, layout)
    os.close(fd)
    line.inputs[...] = np.arange(line.inputs.size).reshape(line.inputs.shape)
    runner.output[...] = 7
    np.testing.assert_array_equal(runner.inputs, line.inputs)
    np.testing.assert_array_equal(line.output, np.full((1, 3), 7, np.float32))
    assert runner.inputs.ravel()[-1] == runner.inputs.size - 1


def test_requests_and_replies_come_back_as_they_went() -> None:
    """Sequence, error, time, memory and sentence survive; a long sentence is cut to the datagram."""
    reply = Reply(7, 47, 1234, 60_000, "not finite: \N{INFINITY}")
    assert decode_reply(encode_reply(reply)) == reply
    assert decode_request(encode_request(2**32 - 1)) == 2**32 - 1
    assert len(encode_reply(reply._replace(detail="x" * 5000))) == MAX_REPLY_BYTES


@pytest.mark.parametrize("data", [b"", b"123", b"12345"])
def test_short_datagrams_are_refused(data: bytes) -> None:
    """Bytes of another length are neither request nor reply."""
    with pytest.raises(MalformedMessageError):
        decode_request(data)
    with pytest.raises(MalformedMessageError):
        decode_reply(data)
