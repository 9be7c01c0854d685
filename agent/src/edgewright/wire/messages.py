"""Messages between controller and devices, one struct each, with a ``kind`` that tells them apart.

Up (device to controller), MQTT QoS 1::

    Hello    who I am and what I run; with each connection and repetition, not sequenced
    Report   a deployment moved, or something was refused
    Window   statistics of some time of inference, at most 2 KB
    Sample   one captured frame, with its label where the machine told it
    Piece    a part of a captured frame that is too large for one message
    Lost     what the device has given up because its outbox was full
    Want     chunks that do not arrive
    Goodbye  the last will: the device is gone

Down::

    Ack      what of this stream is stored

Reports, windows, samples, pieces and losses leave the device's outbox. Each carries the outbox's ``stream``
(a random id, made with the outbox's database) and a number in it, which it gets when it is first sent: from
1, without gaps (``numbering``). The controller stores it under (device, stream, seq), so a message that comes
twice counts once, and acknowledges what is stored; the device keeps everything until then and sends it again.
Numbers come in any order, and the newest and most telling messages get theirs first: a ``Report`` says by
``ordinal`` which of two happened later. A PUBACK is the broker's word, not the controller's, and some brokers
forget messages that they have acknowledged.

Every upward message and every ``Ack`` travels sealed (``wire.sealed``); ``Head`` is a hint that nothing
relies on. The signed documents (TUF metadata, assignment, manifest) are not here: see ``manifest`` and
``assignment``.
"""

from typing import Annotated, Final, Literal, TypeVar

import msgspec

from edgewright.wire.decoding import decoded
from edgewright.wire.deployment import State
from edgewright.wire.errors import MalformedMessageError
from edgewright.wire.handshake import PROTOCOL
from edgewright.wire.qualification import Measured

MAX_WINDOW_BYTES: Final = 2048
MAX_MESSAGE_BYTES: Final = 512 * 1024
"""Hard cap of one MQTT payload; NATS refuses more than 1 MB by default."""

MAX_IMAGE_BYTES: Final = 8 * 1024 * 1024
"""Of one sample: a frame of some megapixels as PNG."""

MAX_RUNTIMES: Final = 16
"""Of one device; each provider of a runtime counts."""

MAX_MACHINE_CHARACTERS: Final = 32
"""Of the name of an architecture."""

RuntimeText = Annotated[str, msgspec.Meta(max_length=128)]
"""Name, version and provider of an inference runtime, apart by a space."""

PIECE_BYTES: Final = 32 * 1024
"""Of a picture that travels in pieces: four seconds on a link of 64 kbit/s, so that a report soon follows."""


class Release(msgspec.Struct, frozen=True):
    """What runs or shall run: model, version and the manifest's SHA-256."""

    model: str
    version: int
    manifest_sha256: str


OutboxKind = Literal["report", "window", "sample"]
"""What is counted in an ``Account``."""


class Account(msgspec.Struct, frozen=True, array_like=True):
    """How many messages of a kind an outbox was ever given, how many of those wait, how many it gave up."""

    made: int
    waiting: int
    given_up: int


class Hello(msgspec.Struct, frozen=True, tag_field="kind", tag="hello", kw_only=True):
    """First message of each connection; it is repeated until an ``Ack`` answers it.

    Attributes:
        protocol: see ``handshake``.
        target: the device target.
        tags: what the fleet's selectors match.
        runtime: name and version of the first inference runtime, for example ``onnxruntime 1.31.1``.
        runtimes: name, version and provider of every one that the device has, in environments of their own
            too, for example ``onnxruntime 1.24.1 OpenVINOExecutionProvider``; empty from older agents.
        active, standby: what the two slots hold.
        assignment_version: of the newest accepted assignment, 0 before the first.
        stream: id of the device's outbox.
        oldest: smallest number that the outbox still holds, or the next one where it holds none; whatever is
            smaller was acknowledged. What was acknowledged lately is still held, for a controller that was
            restored from a backup.
        outbox: messages that wait in the outbox.
        accounts: by kind; what was made, waits no more and was not given up has to be with the controller. A
            window that was merged counts as the windows that it was made of.
        counter: connections that this device's database has made; one that does not grow tells of a restored
            or copied device.
        nonce: random, hexadecimal, where the device asks for signed time; the next assignment echoes it.
        assignment_sha256: of the newest accepted assignment, empty before the first.
        seen_root, seen_timestamp: newest image metadata that the device has verified.
        director_root: version of the director's root that the device trusts.
        certificate_expires: end of the device certificate, seconds since the epoch; 0 without one.
        machine: processor architecture, as ``platform.machine()`` spells it; empty from older agents.
        cpu: features of its processor, of ``handshake.CPU_FEATURES``.
        memory_mb: of the whole machine, or of the agent's control group where that is less, MiB.
        qualifies: whether it takes candidates to measure them; see ``qualification``.
    """

    device: str
    agent_version: str
    target: str
    tags: dict[str, str]
    runtime: str
    sent_at: float
    protocol: int = PROTOCOL
    active: Release | None = None
    standby: Release | None = None
    assignment_version: int = 0
    stream: str = ""
    oldest: int = 1
    outbox: int = 0
    accounts: dict[OutboxKind, Account] = {}
    counter: int = 0
    nonce: str = ""
    assignment_sha256: str = ""
    seen_root: int = 0
    seen_timestamp: int = 0
    director_root: int = 0
    certificate_expires: float = 0.0
    runtimes: Annotated[tuple[RuntimeText, ...], msgspec.Meta(max_length=MAX_RUNTIMES)] = ()
    machine: Annotated[str, msgspec.Meta(max_length=MAX_MACHINE_CHARACTERS)] = ""
    cpu: Annotated[tuple[Annotated[str, msgspec.Meta(max_length=16)], ...], msgspec.Meta(max_length=16)] = ()
    memory_mb: int = 0
    qualifies: bool = False


class Report(msgspec.Struct, frozen=True, tag_field="kind", tag="report", kw_only=True):
    """A deployment moved, or something happened that a person should know.

    Attributes:
        stream, seq: place in the outbox.
        ordinal: place among the things that happened, growing; 0 from a device of protocol 2, whose numbers
            say it.
        release: what it is about; None where nothing was accepted yet.
        state: the deployment's new state; None for an event outside a deployment.
        error: number of the error, 0 for none.
        name: name of the error, of the attack, or of the event (for example ``RunnerReplaced``).
        detail: one sentence.
        assignment_version: the assignment that caused it.
        swap_gap_us: time between the last decision of the old and the first of the new model.
        fetched_bytes: payload bytes that this deployment took from the network.
        measured: of a candidate, where the report is the answer to an order to measure it. It is a field and
            no message of its own, so that an older controller stores and acknowledges it as any other report.
    """

    device: str
    stream: str
    seq: int
    sent_at: float
    ordinal: int = 0
    release: Release | None = None
    state: State | None = None
    error: int = 0
    name: str = ""
    detail: str = ""
    assignment_version: int = 0
    swap_gap_us: int = 0
    fetched_bytes: int = 0
    measured: Measured | None = None


class Outcomes(msgspec.Struct, frozen=True, array_like=True):
    """What one source told of one version's decisions: labelled ones, and how many of them were wrong.

    Attributes:
        source: who told; empty for the machine's one source.
        weight, wrong_weight: sums of one over the chance with which each item was chosen to be told of, over
            all and over the wrong ones (Horvitz and Thompson 1952); 0 from an agent that does not count them.
        weight_squares: sum of the squares of those weights over all items.
    """

    version: int
    labelled: int
    wrong: int
    source: str = ""
    weight: float = 0.0
    wrong_weight: float = 0.0
    weight_squares: float = 0.0


class Window(msgspec.Struct, frozen=True, tag_field="kind", tag="window", kw_only=True):
    """Statistics of the frames of one version over some time; all fields merge by addition.

    Attributes:
        stream, seq: place in the outbox.
        start, seconds: when, by the device's clock, and how long.
        merged: how many windows became this one, because the outbox was full.
        model, version: what decided; version 0 where nothing ran.
        tag: the machine's tag of these frames (SKU, recipe), empty without one.
        frames: frames that came in; each got exactly one decision.
        by_source: decisions by ``active``, ``standby`` and ``fallback``.
        causes: why a frame was not decided by the active runner.
        classes: decisions by label.
        histograms: packed histograms by signal (``confidence``, ``margin``, ``entropy``, ``latency_us``,
            ``brightness``, ``contrast``, ``sharpness``, ``saturation``); ``labelled_confidence`` and
            ``right_confidence`` are those of this version's decisions whose truth arrived in this window, and
            of those of them that were right.
        outcomes: labels that arrived in this window, by the version that had decided and by their source.
        truths: labels that arrived, by true class: [labelled, wrong].
        grace: whether the frames came right after a changeover, when neither goods nor light have settled.
        embedding: packed moments of the pictures' embedding; see ``wire.moments``; empty without pictures.
        unknown_truths: labels that arrived for items that the line does not, or no longer, remember.
    """

    device: str
    stream: str
    seq: int
    start: float
    seconds: float
    model: str
    version: int
    tag: str
    frames: int
    by_source: dict[str, int]
    causes: dict[str, int]
    classes: dict[str, int]
    histograms: dict[str, bytes]
    outcomes: tuple[Outcomes, ...]
    truths: dict[str, tuple[int, int]]
    merged: int = 1
    grace: bool = False
    embedding: bytes = b""
    unknown_truths: int = 0


class Sample(msgspec.Struct, frozen=True, tag_field="kind", tag="sample", kw_only=True):
    """One captured frame.

    Attributes:
        stream, seq: place in the outbox.
        item: the machine's id of the item, unique on the device.
        model, version, label, confidence: the decision.
        truth: the label that the machine told; None while it has not.
        source: who told it, as in ``Outcomes``; empty where nobody says.
        reason: why it was captured: ``random``, or as a hard case: ``undecided`` by any model, ``novel``,
            which resembles none of late, ``uncertain``, or ``disagreeing``, which a shadowed candidate
            decided otherwise.
        probability: the chance that the draw of this reason had, known before the frame was looked at: 1 over
            it is the sample's weight among those of its reason. 0 of ``disagreeing`` ones, whose chance
            nobody can name.
        image: PNG of the frame as it came from the camera; empty where it has come in pieces before.
        image_sha256, image_bytes: digest and length of such an image.
    """

    device: str
    stream: str
    seq: int
    taken_at: float
    item: str
    tag: str
    model: str
    version: int
    label: str
    confidence: float
    truth: str | None
    reason: Literal["random", "uncertain", "disagreeing", "novel", "undecided"]
    probability: float
    image: bytes
    image_sha256: str = ""
    image_bytes: int = 0
    source: str = ""


class Piece(msgspec.Struct, frozen=True, tag_field="kind", tag="piece", kw_only=True):
    """A part of a sample's image; the ``Sample`` is sent when all of them are acknowledged.

    Attributes:
        stream, seq: place in the outbox.
        sha256: of the whole image.
        offset: of this part, a multiple of ``PIECE_BYTES``.
        data: the part; empty where the device has lost the image meanwhile.
    """

    device: str
    stream: str
    seq: int
    sha256: str
    offset: int
    data: bytes


class Lost(msgspec.Struct, frozen=True, tag_field="kind", tag="lost", kw_only=True):
    """What a device gave up before it was ever sent.

    Attributes:
        stream, seq: place in the outbox.
        what: kind of the messages.
        since, until: when what they told of began and ended, by the device's clock.
        messages: how many; a merged window counts as the windows that it was made of.
        frames: that were counted in them.
        why: one sentence.
    """

    device: str
    stream: str
    seq: int
    what: OutboxKind
    since: float
    until: float
    messages: int
    frames: int
    why: str


class Want(msgspec.Struct, frozen=True, tag_field="kind", tag="want", kw_only=True):
    """Chunks that did not arrive within their deadline, and metadata files likewise."""

    device: str
    sent_at: float
    chunks: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()


class Goodbye(msgspec.Struct, frozen=True, tag_field="kind", tag="goodbye", kw_only=True):
    """The connection's last will; ``connected_at`` tells a stale will from a live one."""

    device: str
    connected_at: float
    reason: Literal["lost", "stopped"]


class Ack(msgspec.Struct, frozen=True, tag_field="kind", tag="ack", kw_only=True):
    """What of ``stream`` the controller has stored.

    Attributes:
        through: everything up to and including this number.
        beyond: bitmap of what it has after that; see ``numbering.Received``.
        hello: ``Hello.counter`` of the hello that this answers, 0 where it answers none. Such an answer may
            go back, which says that the controller was restored from a backup.
    """

    stream: str
    through: int
    beyond: bytes = b""
    hello: int = 0


class Head(msgspec.Struct, frozen=True, tag_field="kind", tag="head", kw_only=True):
    """The unsigned hint: newest versions, so that a fetcher can say "not found" without waiting for silence.

    Attributes:
        root: newest root version; all before it are retained as well.
        director_root: newest version of the director's root.
    """

    root: int
    director_root: int = 1


Upward = Hello | Report | Window | Sample | Piece | Lost | Want | Goodbye
Downward = Ack | Head
Sequenced = Report | Window | Sample | Piece | Lost
"""What goes through the outbox."""

_T = TypeVar("_T")

_encoder = msgspec.msgpack.Encoder()
_upward: msgspec.msgpack.Decoder[Upward] = msgspec.msgpack.Decoder(Upward)
_downward: msgspec.msgpack.Decoder[Downward] = msgspec.msgpack.Decoder(Downward)


def encode(message: Upward | Downward) -> bytes:
    """Encode a message as msgpack.

    Raises:
        MalformedMessageError: it is larger than the contract allows.
    """
    data = _encoder.encode(message)
    limit = MAX_WINDOW_BYTES if isinstance(message, Window) else MAX_MESSAGE_BYTES
    if len(data) > limit:
        raise MalformedMessageError(f"A {type(message).__name__} of {len(data)} bytes exceeds {limit}.")
    return data


def decode_up(data: bytes) -> Upward:
    """Read an upward message.

    Raises:
        MalformedMessageError: the bytes are none.
    """
    return _decode(_upward, data)


def decode_down(data: bytes) -> Downward:
    """Read a downward message.

    Raises:
        MalformedMessageError: the bytes are none.
    """
    return _decode(_downward, data)


def _decode(decoder: msgspec.msgpack.Decoder[_T], data: bytes) -> _T:
    if len(data) > MAX_MESSAGE_BYTES:
        raise MalformedMessageError(f"A message of {len(data)} bytes exceeds {MAX_MESSAGE_BYTES}.")
    return decoded(decoder, data, "The message")
