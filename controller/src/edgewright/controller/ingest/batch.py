"""Applying a batch of upward messages, whose signatures were verified, in one transaction.

The rows of one batch and the positions of its streams are committed together, so that a controller that
is killed has stored a message and counted it, or neither. Acknowledgements are what the caller publishes
afterwards.
"""

from typing import Any

import msgspec

from edgewright.controller.blobs import BlobStore
from edgewright.controller.database import Session, col, select
from edgewright.controller.database.bulk import add_to_rollups, insert_outcomes, insert_windows
from edgewright.controller.database.tables import (
    Assignment,
    Device,
    IssuedAssignment,
    Position,
)
from edgewright.controller.events import record
from edgewright.controller.ingest.bounds import (
    STREAMS,
    describe,
    own_tags,
    shortened,
    told_time,
    verify_lengths,
)
from edgewright.controller.ingest.pictures import Pictures
from edgewright.controller.ingest.positions import acknowledgement, greet, is_live, is_other, take
from edgewright.controller.ingest.rows import outcome_rows, rollup_rows, verify_numbers, window_row
from edgewright.controller.ingest.suspicion import (
    Known,
    Name,
    Suspicion,
    is_late,
    not_issued,
    other_content,
    other_target,
    suspect,
)
from edgewright.controller.ingest.told import Told
from edgewright.controller.qualification.results import note_willing
from edgewright.wire import messages
from edgewright.wire.errors import MalformedMessageError, ProtocolMismatchError
from edgewright.wire.handshake import verify_protocol
from edgewright.wire.numbering import Place


class Batch:
    """One transaction's worth of messages.

    Attributes:
        windows: windows that were stored and tell of now, for those who look at evidence. A device's past,
            which comes after an outage and from its end, is no evidence of what is; it is in the charts.
        unknown: devices that sent something and are not enrolled.
        questions: nonces of devices that asked for signed time, by device; empty where a device shall get its
            assignment again, because it has another than this controller knows.
        rejected: errors of messages that were dropped.
    """

    def __init__(self, session: Session, blobs: BlobStore, now: float) -> None:
        self._session = session
        self._now = now
        self._devices: dict[str, Device | None] = {}
        self._positions: dict[tuple[str, str], Position | None] = {}
        self._window_rows: list[dict[str, Any]] = []
        self._outcome_rows: list[dict[str, Any]] = []
        self._touched: dict[tuple[str, str], int] = {}
        self._told = Told(session, now)
        self._pictures = Pictures(session, blobs, now)
        self.windows: list[messages.Window] = []
        self.unknown: set[str] = set()
        self.questions: dict[str, str] = {}
        self.rejected: list[MalformedMessageError | ProtocolMismatchError] = []

    def apply(self, message: messages.Upward) -> None:
        """Take one message in; what cannot be taken is remembered in ``rejected`` or ``unknown``."""
        device = self._device(message.device)
        if device is None:
            self.unknown.add(message.device)
            return
        device.last_seen = self._now
        try:
            match message:
                case messages.Hello():
                    self._hello(device, message)
                case messages.Goodbye():
                    self._goodbye(device, message)
                case messages.Want():
                    pass
                case _:
                    self._sequenced(device, message)
        except (MalformedMessageError, ProtocolMismatchError) as error:
            self.rejected.append(error)

    def finish(self) -> list[tuple[str, messages.Ack]]:
        """Write what was collected; returns the acknowledgements that are due after the commit."""
        insert_windows(self._session, self._window_rows)
        insert_outcomes(self._session, self._outcome_rows)
        add_to_rollups(self._session, rollup_rows(self._window_rows))
        acks = []
        for (device, stream), hello in self._touched.items():
            position = self._positions[device, stream]
            if position is not None:
                acks.append((device, acknowledgement(position, hello)))
        return acks

    def _sequenced(self, device: Device, message: messages.Sequenced) -> None:
        key = (message.device, message.stream)
        position = self._position(*key)
        if position is None:
            return  # its hello is still on the way; the device sends again
        self._touched.setdefault(key, 0)
        body = messages.encode(message)
        # A number moves the position even when its content is rejected: a message that cannot be read will
        # not become readable, and the device need not send it again.
        stands = take(position, message.seq, body)
        if stands is Place.REPEATED and is_other(position, message.seq, body):
            self._suspect(device, other_content(message.stream, message.seq))
        if stands is not Place.NEW:
            return
        device.connected = True
        verify_numbers(message)
        verify_lengths(message)
        match message:
            case messages.Report():
                self._told.report(device, shortened(message))
            case messages.Window():
                self._window(position, message)
            case messages.Sample():
                self._pictures.keep_sample(device, message)
            case messages.Piece():
                self._pictures.keep_piece(device, message)
            case messages.Lost():
                self._told.loss(device, message)

    def _window(self, position: Position, window: messages.Window) -> None:
        window = msgspec.structs.replace(window, start=told_time(window.start, self._now))
        live = is_live(position, window.start + window.seconds, self._now)
        self._window_rows.append(window_row(window, is_past=not live))
        self._outcome_rows += outcome_rows(window)
        if live:
            self.windows.append(window)

    def _hello(self, device: Device, hello: messages.Hello) -> None:
        verify_protocol(hello.protocol, hello.device)
        verify_numbers(hello)
        verify_lengths(hello)
        known = _known(device)
        if is_late(known, hello):
            return
        self._weigh(device, known, hello)
        if hello.nonce:
            self.questions[device.id] = hello.nonce
        if not device.connected:
            sentence = f"{device.id} connected, agent {hello.agent_version}."
            self._told.event(device, "device.connected", sentence)
        device.connected, device.connected_at = True, self._now
        device.agent_version = hello.agent_version
        describe(device, hello)
        note_willing(self._session, device.id, willing=hello.qualifies)
        device.target = device.target or hello.target
        device.tags = {**own_tags(hello.tags), **device.bound_tags}
        device.assignment_version = hello.assignment_version
        if device.stream != hello.stream:
            self._told.begin_again(device)
        device.counter, device.greeted_at, device.stream = hello.counter, hello.sent_at, hello.stream
        device.seen_root, device.seen_timestamp = hello.seen_root, hello.seen_timestamp
        device.director_root = hello.director_root
        device.active_model = hello.active.model if hello.active else ""
        device.active_version = hello.active.version if hello.active else 0
        device.standby_version = hello.standby.version if hello.standby else 0
        if hello.stream:
            self._greet_stream(device, hello)

    def _weigh(self, device: Device, known: Known, hello: messages.Hello) -> None:
        other = known.stream not in ("", hello.stream) and bool(hello.stream)
        stream_is_old = other and self._position(device.id, hello.stream) is not None
        if suspicion := suspect(known, hello, stream_is_old=stream_is_old):
            self._suspect(device, suspicion)
        if device.target not in ("", hello.target):
            self._suspect(device, other_target(device.target, hello.target))
        if hello.assignment_sha256 and not self._was_issued(hello):
            self.questions[device.id] = ""
            if not self._is_behind(hello):
                self._suspect(device, not_issued(hello))
                return
            # Whoever has the director's key alone cannot make a device delete messages.
            said = (
                f"{device.id} has an assignment {hello.assignment_version} and acknowledgements that this "
                "controller does not know: it was probably restored from a backup."
            )
            record(self._session, "device.event", said, device=device.id)

    def _was_issued(self, hello: messages.Hello) -> bool:
        known = self._session.get(IssuedAssignment, (hello.device, hello.assignment_version))
        if known is not None:
            return known.sha256 == hello.assignment_sha256
        # Digests of old documents are forgotten, and those of older releases were never kept.
        newest = self._session.get(Assignment, hello.device)
        return newest is not None and hello.assignment_version <= newest.version

    def _is_behind(self, hello: messages.Hello) -> bool:
        """Whether a device has deleted messages that are not here, as it does once they are acknowledged."""
        position = self._position(hello.device, hello.stream) if hello.stream else None
        return position is not None and hello.oldest > position.through + 1

    def _suspect(self, device: Device, suspicion: Suspicion) -> None:
        """Write a suspicion down; one that stands is replaced by a worse one only, and told once."""
        if device.suspicion and not suspicion.name.outweighs(device.suspicion):
            return
        device.suspicion = suspicion.sentence
        if suspicion.name is Name.EQUIVOCATION:
            kind, said = "director.equivocation", f"{device.id} was given orders by somebody else"
        elif suspicion.name is Name.RETARGETED:
            kind, said = "device.suspicious", f"{device.id} is not the machine that enrolled"
        elif suspicion.name is Name.CLONE:
            kind, said = "device.suspicious", f"{device.id} may be two machines"
        else:
            kind, said = "device.suspicious", f"{device.id} may have been restored from an older copy"
        record(self._session, kind, f"{said}; {suspicion.sentence}", device=device.id)

    def _greet_stream(self, device: Device, hello: messages.Hello) -> None:
        key = (device.id, hello.stream)
        position = self._position(*key)
        if position is None:
            position = Position(
                device=device.id, stream=hello.stream, through=hello.oldest - 1, since=self._now
            )
            self._forget_streams(device.id)
            self._session.add(position)
            self._positions[key] = position
        if missing := greet(position, hello):
            self._told.missing(device, hello, missing)
        self._touched[key] = hello.counter

    def _forget_streams(self, device: str) -> None:
        """Make room for one more stream of a device."""
        known = select(Position).where(col(Position.device) == device).order_by(col(Position.since).desc())
        for old in self._session.exec(known).all()[STREAMS - 1 :]:
            self._positions[device, old.stream] = None
            self._session.delete(old)

    def _goodbye(self, device: Device, goodbye: messages.Goodbye) -> None:
        if goodbye.connected_at < device.greeted_at:
            return  # the will of an earlier connection, held back by the broker: a newer one has said hello
        if device.connected:
            what = "stopped" if goodbye.reason == "stopped" else "is lost"
            self._told.event(device, "device.lost", f"{device.id} {what}.")
        device.connected = False

    def _device(self, device: str) -> Device | None:
        if device not in self._devices:
            row = self._session.get(Device, device)
            if row is not None:
                self._session.add(row)
            self._devices[device] = row
        return self._devices[device]

    def _position(self, device: str, stream: str) -> Position | None:
        key = (device, stream)
        if key not in self._positions:
            # Another controller on the same database may be storing the same stream.
            self._positions[key] = self._session.get(Position, key, with_for_update=True)
        return self._positions[key]


def _known(device: Device) -> Known:
    return Known(
        counter=device.counter,
        sent_at=device.greeted_at,
        assignment_version=device.assignment_version,
        seen_root=device.seen_root,
        seen_timestamp=device.seen_timestamp,
        director_root=device.director_root,
        stream=device.stream,
        suspicion=device.suspicion,
    )
