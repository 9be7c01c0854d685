"""The first message of a connection: who this device is, what it holds, and what it has verified.

The connection's counter is remembered before it is used: a device whose counter does not grow was restored
from an older copy of its disk, or two devices share one identity.
"""

from typing import Protocol

import msgspec

from edgewright.agent.footprint import installed_version
from edgewright.agent.journal import Journal
from edgewright.agent.machine import Machine
from edgewright.agent.outbox import Outbox
from edgewright.wire.messages import MAX_MACHINE_CHARACTERS, MAX_RUNTIMES, Hello, Release


class Greeting(msgspec.Struct, frozen=True):
    """What a device says of itself in each hello; see ``Hello``."""

    device: str
    target: str
    tags: dict[str, str]
    runtimes: tuple[str, ...]
    certificate_expires: float
    machine: Machine = Machine()
    qualifies: bool = False


class Running(Protocol):
    """Who knows what the slots hold."""

    @property
    def active(self) -> Release | None:
        """The release that decides."""

    @property
    def standby(self) -> Release | None:
        """The release in the other slot."""


def greet(
    me: Greeting,
    journal: Journal,
    outbox: Outbox,
    counter: int,
    nonce: str,
    connected_at: float,
    running: Running,
) -> Hello:
    """The hello of a connection; ``counter`` and ``nonce`` are ``Hello``'s."""
    record = journal.device()
    return Hello(
        device=me.device,
        agent_version=installed_version("edgewright-agent"),
        target=me.target,
        tags=me.tags,
        runtime=" ".join(me.runtimes[0].split()[:2]) if me.runtimes else "",
        runtimes=me.runtimes[:MAX_RUNTIMES],
        sent_at=connected_at,
        active=running.active,
        standby=running.standby,
        assignment_version=record.version,
        stream=outbox.stream,
        oldest=outbox.oldest,
        outbox=outbox.waiting,
        accounts=outbox.accounts,
        counter=counter,
        nonce=nonce,
        assignment_sha256=record.sha256,
        seen_root=record.seen.root,
        seen_timestamp=record.seen.timestamp,
        director_root=record.director_root,
        certificate_expires=me.certificate_expires,
        qualifies=me.qualifies,
        machine=me.machine.architecture[:MAX_MACHINE_CHARACTERS],
        cpu=me.machine.cpu,
        memory_mb=me.machine.memory_mb,
    )
