"""What a controller reads from outside: devices' messages, and files that people and programs send."""

import base64
import tempfile
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from edgewright.agent.certificates import make_request
from edgewright.agent.devicekey import DeviceKey
from edgewright.controller.identity.requests import decode_base64, key_in
from edgewright.controller.ingest.rows import verify_numbers, window_row
from edgewright.controller.model_toml import parse_model
from edgewright.controller.people.audit import Tip
from edgewright.controller.people.heads import HeadKey, read_head
from edgewright.controller.provenance.bundle import open_bundle
from edgewright.controller.provenance.modelfolder import verify_folder
from edgewright.controller.trust import ceremony, requests
from edgewright.controller.trust.ceremony import Holder
from edgewright.controller.trust.envelopes import BuildKey, open_envelope
from edgewright.wire import messages
from edgewright.wire.canonical import canonical_json
from edgewright.wire.deployment import State
from edgewright.wire.histograms import Histogram
from edgewright.wire.messages import Goodbye, Hello, Release, Report, Sample, Want, Window
from simulators.releases import make_manifest
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


def certificate_request() -> Prepared:
    """A PKCS#10 request as the EST door takes it, in base64; the first byte says whether it is DER."""
    body = make_request(DeviceKey.generate(), "robot-1")

    def parse(data: bytes) -> object:
        return key_in(data[1:] if data[:1] == b"d" else decode_base64(data[1:]))

    return Prepared(parse, [b"b" + body, b"d" + base64.b64decode(body)])


def signed_statement() -> Prepared:
    """A DSSE envelope and a bundle of two; the first byte says which."""
    with tempfile.TemporaryDirectory() as folder:
        key = BuildKey(Path(folder))
        envelope, public = key.sign(b'{"_type":"s"}'), key.public_der
    manifest = make_manifest(1, b"a", build_key=public.hex())

    def parse(data: bytes) -> object:
        if data[:1] == b"b":
            return open_bundle(data[1:], manifest)
        return open_envelope(data[1:], public)

    return Prepared(parse, [b"e" + envelope, b"b" + envelope + b"\n" + envelope + b"\n"])


def model_signature() -> Prepared:
    """An OpenSSF model-signing bundle beside a folder."""
    recorded = ROOT / "tests/data/model-signing/library"
    key = load_pem_public_key((recorded / "signer.pem").read_bytes())
    public = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    bundle = (recorded / "model.sig").read_bytes()
    return Prepared(lambda data: verify_folder(recorded / "signed", data, public), [bundle])


def signing_request() -> Prepared:
    """A file of signatures that comes back to the controller."""
    with tempfile.TemporaryDirectory() as folder:
        stick = Path(folder) / "stick" / "root.pem"
        signer = ceremony.make_key(stick)
        holder = Holder(stick.with_name("root.pem.pub"))
        held = ceremony.begin(Path(folder) / "data", [holder], [holder], [holder], (1, 1, 1))
    assert held is not None
    signed = requests.sign(held, [signer])

    def parse(data: bytes) -> object:
        shown = requests.decode(data)
        ceremony.describe(shown, [signer.public_key])
        return requests.merge(held, shown)

    return Prepared(parse, [requests.encode(held), requests.encode(signed)])


def audit_head() -> Prepared:
    """A signed head of the audit log that somebody kept."""
    with tempfile.TemporaryDirectory() as folder:
        signed = HeadKey(Path(folder)).sign(Tip(3, "0" * 64), 1.0)
    return Prepared(read_head, [canonical_json(signed)])
