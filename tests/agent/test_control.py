import pytest

from edgewright.agent.control import (
    MAX_CONTROL_BYTES,
    Heartbeat,
    Load,
    Loaded,
    QualificationResult,
    SampleReady,
    Stop,
    control_pair,
    decode_down,
    decode_qualification,
    decode_up,
    encode,
)
from edgewright.wire.errors import MalformedMessageError
from edgewright.wire.messages import Sample


def _sample(image_bytes: int) -> Sample:
    return Sample(
        device="robot-1",
        stream="",
        seq=0,
        taken_at=1.0,
        item="i",
        tag="",
        model="m",
        version=1,
        label="bag",
        confidence=0.5,
        truth=None,
        reason="random",
        probability=0.01,
        image=bytes(image_bytes),
    )


def test_messages_come_back_as_they_went() -> None:
    """An order and a result survive encoding in their own direction."""
    order = Load("a", "m.json", "m.onnx")
    result = Loaded(slot="b", ok=False, error=42, detail="no model")
    assert decode_down(encode(order)) == order
    assert decode_up(encode(result)) == result


@pytest.mark.parametrize("data", [b"", b"\xff\x00", encode(Heartbeat())])
def test_an_order_of_the_wrong_kind_is_refused(data: bytes) -> None:
    """Nonsense, and what only the line says, is no order."""
    with pytest.raises(MalformedMessageError):
        decode_down(data)


def test_a_sample_too_large_for_a_datagram_is_refused() -> None:
    """The limit is checked before the kernel would refuse the datagram."""
    with pytest.raises(MalformedMessageError):
        encode(SampleReady(_sample(MAX_CONTROL_BYTES)))


def test_the_largest_message_passes_in_one_datagram() -> None:
    """A message just below the limit goes through a control pair whole."""
    supervisor, line = control_pair()
    message = SampleReady(_sample(MAX_CONTROL_BYTES - 400))
    with supervisor, line:
        line.settimeout(5)
        supervisor.settimeout(5)
        line.send(encode(message))
        assert decode_up(supervisor.recv(MAX_CONTROL_BYTES)) == message
        supervisor.send(encode(Stop()))
        supervisor.close()
        assert decode_down(line.recv(MAX_CONTROL_BYTES)) == Stop()
        assert line.recv(MAX_CONTROL_BYTES) == b""


def test_a_qualification_line_that_is_none_is_refused() -> None:
    """What a crashed runner leaves on its output is an error of the contract, not a result."""
    with pytest.raises(MalformedMessageError):
        decode_qualification(b"Segmentation fault\n")
    assert decode_qualification(b'{"ok":true}\n') == QualificationResult(ok=True)
