"""What a controller reads from outside: devices' messages, and files that people and programs send."""

from typing import Any

from edgewright.controller.ingest.rows import verify_numbers, window_row
from edgewright.controller.model_toml import parse_model
from edgewright.wire import messages
from edgewright.wire.deployment import State
from edgewright.wire.histograms import Histogram
from edgewright.wire.messages import Goodbye, Hello, Release, Report, Sample, Want, Window
from tests.fuzz.target import Prepared
from tests.house.sources import ROOT

RELEASE = Release("garment-packing", 1, "0" * 64)


def upward() -> Prepared:
    """A device's message, up to the rows that it becomes."""

    def parse(data: bytes) -> object:
        message = messages.decode_up(data)
        if isinstance(message, Hello | Report | Window | Sample):
            verify_numbers(message)
        return window_row(message) if isinstance(message, Window) else message

    return Prepared(parse, [messages.encode(message) for message in _upward_messages()])


def _upward_messages() -> list[messages.Upward]:
    confidence = Histogram("confidence")
    confidence.add(0.5)
    place: dict[str, Any] = {"device": "robot-1", "stream": "ab" * 16, "seq": 1}
    return [
        Hello(
            device="robot-1",
            agent_version="0.1.0",
            target="x86_64-ort-cpu",
            tags={"line": "1"},
            runtime="onnxruntime 1.20",
            sent_at=1.0,
            active=RELEASE,
        ),
        Report(**place, sent_at=1.0, release=RELEASE, state=State.COMMITTED),
        Window(
            **place,
            start=1.0,
            seconds=10.0,
            model="garment-packing",
            version=1,
            tag="",
            frames=5,
            by_source={"active": 5},
            causes={},
            classes={"Bag": 5},
            histograms={"confidence": confidence.pack()},
            outcomes=(messages.Outcomes(1, 2, 1),),
            truths={"Bag": (2, 1)},
        ),
        Sample(
            **place,
            taken_at=1.0,
            item="i",
            tag="",
            model="garment-packing",
            version=1,
            label="Bag",
            confidence=0.9,
            truth=None,
            reason="random",
            probability=0.1,
            image=b"\x89PNG",
        ),
        Want(device="robot-1", sent_at=1.0, chunks=("0" * 64,)),
        Goodbye(device="robot-1", connected_at=1.0, reason="lost"),
    ]


def model_toml() -> Prepared:
    """A model's declaration, as `edgewright push` reads it."""
    text = (ROOT / "models/garment-packing/model.toml").read_bytes()
    return Prepared(parse_model, [text])
