"""What supervisor and line say to each other, one msgpack datagram each.

The line listens on a SEQPACKET socket in the data folder (``line.sock``, mode 0600), which the supervisor
has made and which the line has as its standard input. Datagrams keep their borders, arrive in order, and an
end of file means that the other side is gone. A supervisor that finds its line gone starts another one. A
line that finds its supervisor gone goes on deciding with what it holds: no frame is dropped because the part
that talks to the network died. The next supervisor connects and adopts it:

- The first message on each connection is ``Ready``, which tells what the slots hold. Whatever the line said
  to a supervisor that is gone, and that was about an order, is not repeated.
- News (windows, samples, what befell runners) have numbers of the line's own, in their order. The line keeps
  them until ``Taken`` says that the supervisor has written them down, and tells them again to the next one.
  Numbers belong to one line, which ``Ready`` names; what it had to give up it says, too.
- Without a supervisor nothing changes what decides, except that a model that breaks is given up: a swap that
  waits for a safe tick and a shadowing are called off when the connection ends.
- A newer connection replaces an older one, and only this user's processes, and root's, are let in.
- ``Stop`` ends the line; so does losing the path of its socket to another line.

Down (supervisor to line) are orders about a slot, up are their results and what the line saw::

    Load   -> Loaded           a runner holds the artifact, warm, or the slot is empty again
    Shadow -> Shadowed         the candidate has seen frames beside the active model
    Swap   -> Swapped, Proven  active at a safe tick; then through its probation
    Unload                     the slot is empty; no answer
    Taken                      news up to a number are written down
    Stop                       the line sends its open windows and ends

    Ready            the first message of each connection
    Broke            at any time after a Swap was ordered: instead of Swapped, instead of Proven, or later
    Heartbeat
    RunnerReplaced   news: a runner was killed or had died, and another one is being started
    Trouble          news: the interlock cannot be read
    WindowReady, SampleReady, GivenUp   news

An order that does not fit the slot is answered with ``ok=False`` or ``Broke`` and error 13. ``error`` is
always a number of ``edgewright.wire.errors``, 0 for none.

>>> decode_down(encode(Swap(slot="b", probation_frames=30)))
Swap(slot='b', probation_frames=30)
"""

import socket
import struct
from pathlib import Path
from typing import Final, Literal

import msgspec

from edgewright.wire.decoding import decoded
from edgewright.wire.errors import MalformedMessageError
from edgewright.wire.messages import OutboxKind, Sample, Window

SlotName = Literal["a", "b"]

MAX_CONTROL_BYTES: Final = 200 * 1024
"""Largest datagram: Linux's default send buffer (212,992 bytes) takes it. A larger sample is dropped."""

SEND_BUFFER_BYTES: Final = 1024 * 1024
"""What both ends ask for; the kernel grants at most twice its ``wmem_max``."""

CONNECT_SECONDS: Final = 5
"""How long a supervisor waits for a line that takes no connection, or no order."""

INODE_VARIABLE: Final = "EDGEWRIGHT_LINE_INODE"
"""Environment variable by which a line learns the inode of the socket that was made for it. Until it has read
that, the path may lead to another line already."""


class Load(msgspec.Struct, frozen=True, tag_field="kind", tag="load"):
    """Start a runner for a slot that is not active.

    Attributes:
        stand_in: whether the model was good before and may decide where the active one cannot; a candidate
            decides nothing before its swap.
        content_key: of a confidential model; it stays in the memory of line and runner.
        threads: of an inference, as the qualification chose them.
        digest: of the manifest; the line tells it to the next supervisor.
    """

    slot: SlotName
    manifest_path: str
    artifact_path: str
    stand_in: bool = False
    content_key: bytes = b""
    threads: int = 1
    digest: str = ""

    def __repr__(self) -> str:
        # A content key must not reach a log.
        return f"Load(slot={self.slot!r}, manifest_path={self.manifest_path!r})"


class Shadow(msgspec.Struct, frozen=True, tag_field="kind", tag="shadow"):
    """Run the slot's model beside the active one for so many frames."""

    slot: SlotName
    frames: int


class Swap(msgspec.Struct, frozen=True, tag_field="kind", tag="swap"):
    """Make the slot active at the next safe tick, on probation for so many frames."""

    slot: SlotName
    probation_frames: int


class Unload(msgspec.Struct, frozen=True, tag_field="kind", tag="unload"):
    """End the slot's runner."""

    slot: SlotName


class Taken(msgspec.Struct, frozen=True, tag_field="kind", tag="taken"):
    """The supervisor has committed the line's news up to this number, or has had them before."""

    number: int


class Stop(msgspec.Struct, frozen=True, tag_field="kind", tag="stop"):
    """Send what is open and end."""


Standing = Literal["candidate", "warm", "probation", "active", "broken"]


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What a slot of the line holds.

    Attributes:
        digest: of the manifest, as its ``Load`` had named it.
        standing: ``candidate`` is loaded and decides nothing; ``warm`` may stand in; ``probation`` and
            ``active`` decide; ``broken`` is empty, because this model was given up there.
        error, detail: of a broken one.
    """

    slot: SlotName
    digest: str
    standing: Standing
    error: int = 0
    detail: str = ""


class Ready(msgspec.Struct, frozen=True, tag_field="kind", tag="ready"):
    """The line listens; the first message up on each connection.

    Attributes:
        held: what it holds; a slot that is empty, or that is being loaded, is left out.
        line: drawn when the line started; the numbers of its news are its own.
    """

    pid: int
    held: tuple[Held, ...] = ()
    line: str = ""


class Loaded(msgspec.Struct, frozen=True, tag_field="kind", tag="loaded", kw_only=True):
    """Answer to ``Load``; ``memory_mb`` is the runner's resident memory after one run."""

    slot: SlotName
    ok: bool
    error: int = 0
    detail: str = ""
    memory_mb: float = 0.0


class Disagreement(msgspec.Struct, frozen=True, array_like=True):
    """Frames that the active model decided as one class and the candidate as another."""

    decided: str
    candidate: str
    frames: int


class Shadowed(msgspec.Struct, frozen=True, tag_field="kind", tag="shadowed", kw_only=True):
    """Answer to ``Shadow``.

    Attributes:
        ok: the candidate's runner answered every frame; False empties the slot.
        frames: frames that both models saw; fewer than ordered on an idle line.
        agreement: share of these frames with the same label, 1 where there were none.
        latency_p50_us, latency_p99_us: of the candidate's inference, 0 where there were no frames.
        skipped: frames for which there was no time before the next one.
        worst: the active model's class of which the candidate denied the largest share; empty for none.
        disagreements: by pair of classes, most first; beyond sixteen pairs they count as ``other``.
    """

    slot: SlotName
    ok: bool
    error: int = 0
    detail: str = ""
    frames: int = 0
    agreement: float = 1.0
    latency_p50_us: int = 0
    latency_p99_us: int = 0
    skipped: int = 0
    worst: str = ""
    disagreements: tuple[Disagreement, ...] = ()

    @property
    def words(self) -> str:
        """For a report, in one sentence.

        >>> pairs = (Disagreement("dark", "grey", 2),)
        >>> Shadowed(slot="b", ok=True, frames=10, agreement=0.8, worst="dark", disagreements=pairs).words
        '10 frames, 80.0% agreed, p50 0 us, p99 0 us; worst class dark (dark as grey 2)'
        """
        said = f"{self.frames} frames, {self.agreement:.1%} agreed"
        said += f", p50 {self.latency_p50_us} us, p99 {self.latency_p99_us} us"
        if self.skipped:
            said += f", {self.skipped} skipped for lack of time"
        if self.disagreements:
            pairs = ", ".join(
                f"{one.decided} as {one.candidate} {one.frames}" for one in self.disagreements[:4]
            )
            said += f"; worst class {self.worst} ({pairs})"
        return said


class Swapped(msgspec.Struct, frozen=True, tag_field="kind", tag="swapped"):
    """The slot is active.

    ``gap_us`` is the time in which no model stood ready: from the moment after the old model's last decision
    was sent (on an idle line, from the beginning of the swap) until the new one can take a frame.
    """

    slot: SlotName
    gap_us: int


class Proven(msgspec.Struct, frozen=True, tag_field="kind", tag="proven"):
    """The slot's probation is over; the other slot stays warm with the last good model."""

    slot: SlotName


class Broke(msgspec.Struct, frozen=True, tag_field="kind", tag="broke", kw_only=True):
    """The slot's runner failed too often, or the slot could not take its ``Swap``.

    The slot is empty. ``now_active`` decides already; None means the declared fallback.
    """

    slot: SlotName
    error: int
    detail: str
    now_active: SlotName | None


class RunnerReplaced(msgspec.Struct, frozen=True, tag_field="kind", tag="runner-replaced"):
    """A slot's runner failed (``error`` says how; see ``line.failures``) and a new one is being started."""

    slot: SlotName
    error: int
    detail: str
    number: int = 0


class Trouble(msgspec.Struct, frozen=True, tag_field="kind", tag="trouble"):
    """Something that a person should know and that is of no slot."""

    error: int
    detail: str
    number: int = 0


class WindowReady(msgspec.Struct, frozen=True, tag_field="kind", tag="window-ready"):
    """A window, with ``stream`` and ``seq`` left for the outbox to fill."""

    window: Window
    number: int = 0


class SampleReady(msgspec.Struct, frozen=True, tag_field="kind", tag="sample-ready"):
    """A captured frame, with ``stream`` and ``seq`` left for the outbox to fill."""

    sample: Sample
    number: int = 0


class GivenUp(msgspec.Struct, frozen=True, tag_field="kind", tag="given-up", kw_only=True):
    """What the line could not keep for a supervisor; see ``wire.messages.Lost``."""

    what: OutboxKind
    since: float
    until: float
    messages: int
    frames: int = 0
    number: int = 0
    why: str = "The line had no room."


class Heartbeat(msgspec.Struct, frozen=True, tag_field="kind", tag="heartbeat"):
    """The line's loop turns; sent once a second."""


Down = Load | Shadow | Swap | Unload | Taken | Stop
News = WindowReady | SampleReady | RunnerReplaced | Trouble | GivenUp
"""What the line keeps until it is taken; ``number`` is 0 before it is first told."""

Up = Ready | Loaded | Shadowed | Swapped | Proven | Broke | News | Heartbeat


class QualificationResult(msgspec.Struct, frozen=True, kw_only=True):
    """What ``python -m edgewright.agent.runner qualify`` prints as one JSON line.

    Attributes:
        ok: every limit of the manifest holds on this device.
        error: number of the first limit that does not hold: 42 load, 55 placement, 43 golden outputs,
            44 latency, 56 memory.
        worst_difference: largest difference of a golden output, relative to the range of the golden outputs.
        latency_p50_us, latency_p99_us: of one inference in the runner.
        memory_mb: resident memory of the runner, MiB.
        placement: number of graph nodes by execution provider; empty where the runtime does not tell.
        threads: that did best.
    """

    ok: bool
    error: int = 0
    detail: str = ""
    worst_difference: float = 0.0
    latency_p50_us: int = 0
    latency_p99_us: int = 0
    memory_mb: float = 0.0
    placement: dict[str, int] = {}
    threads: int = 1


_CREDENTIALS = struct.Struct("3i")
_encoder = msgspec.msgpack.Encoder()
_down: msgspec.msgpack.Decoder[Down] = msgspec.msgpack.Decoder(Down)
_up: msgspec.msgpack.Decoder[Up] = msgspec.msgpack.Decoder(Up)


def encode(message: Down | Up) -> bytes:
    """One datagram.

    Raises:
        MalformedMessageError: it is larger than ``MAX_CONTROL_BYTES``.
    """
    data = _encoder.encode(message)
    if len(data) > MAX_CONTROL_BYTES:
        raise MalformedMessageError(
            f"A {type(message).__name__} of {len(data)} bytes exceeds {MAX_CONTROL_BYTES}."
        )
    return data


def decode_down(data: bytes) -> Down:
    """Read an order.

    Raises:
        MalformedMessageError: the bytes are none.
    """
    return decoded(_down, data, "The control message")


def decode_up(data: bytes) -> Up:
    """Read what the line says.

    Raises:
        MalformedMessageError: the bytes are none.
    """
    return decoded(_up, data, "The control message")


def decode_qualification(line: bytes) -> QualificationResult:
    """Read the runner's JSON line.

    Raises:
        MalformedMessageError: the bytes are none.
    """
    try:
        return msgspec.json.decode(line, type=QualificationResult)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedMessageError(f"The qualification result cannot be read: {error}.") from error


def control_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected SEQPACKET sockets: the supervisor's end and a child's."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    return ends


def listen_at(path: Path) -> socket.socket:
    """A listening control socket at a path, mode 0600; what stood there before is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    path.unlink(missing_ok=True)  # Only now: who finds no room for a socket leaves the old one as it is.
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(1)
    return listener


def connect_to(path: Path) -> socket.socket:
    """The supervisor's end of a connection to the line that listens at a path.

    Raises:
        BlockingIOError: who listens there has taken no connection for ``CONNECT_SECONDS``.
        OSError: nobody listens there.
    """
    ours = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        # Of connections too (unix(7)); and a line that stands still must not hold up who sends to it.
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", CONNECT_SECONDS, 0))
        ours.connect(str(path))
    except OSError:
        ours.close()
        raise
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    return ours


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """Process id and user id of who connected, or of who called listen(2) (unix(7), SO_PEERCRED)."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, user, _ = _CREDENTIALS.unpack(credentials)
    return pid, user
