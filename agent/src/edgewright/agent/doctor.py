"""What is right and wrong on this device, in words: read-only, and safe beside a running agent."""

import socket
import sqlite3
import time
from pathlib import Path
from typing import Final

import msgspec

from edgewright.agent.database import Database
from edgewright.agent.environments import Environments, find_runtimes
from edgewright.agent.identity import Identity
from edgewright.agent.journal import Deployment, Journal
from edgewright.agent.outboxtable import WAITING
from edgewright.agent.settings import Settings
from edgewright.wire.errors import EdgewrightError

CONNECT_SECONDS: Final = 3.0


class Finding(msgspec.Struct, frozen=True):
    """One sentence, and whether it is good news."""

    ok: bool
    said: str


def examine(settings: Settings) -> list[Finding]:
    """All findings, in the order in which a person would repair them."""
    return [
        Finding(ok=True, said=f"The configuration is of device {settings.device}, target {settings.target}."),
        _folder(settings),
        *(_root(path) for path in (settings.image_root, settings.director_root)),
        _identity(settings),
        _broker(settings),
        _runtime(settings.runtime.environments),
        _cell_socket(settings),
        *_journal(settings),
    ]


def describe(settings: Settings) -> list[str]:
    """Status in lines: slots, the newest deployments, what waits.

    Raises:
        ConfigurationError: there is no journal yet, or it cannot be read.
    """
    database = Database(settings.database, read_only=True)
    journal = Journal(database)
    record = journal.device()
    lines = [f"device      {settings.device} ({settings.target})", f"assignment  {record.version}"]
    for slot, held in journal.slots().items():
        marker = "active" if slot == record.active else "standby"
        lines.append(f"slot {slot}      {_release(held) if held else 'empty'} ({marker})")
    for deployment in journal.deployments(5):
        trouble = f", E{deployment.error:03d} {deployment.detail}" if deployment.error else ""
        fetched = f", {deployment.fetched_bytes} bytes fetched" if deployment.fetched_bytes else ""
        lines.append(
            f"deployment  {_release(deployment)}: {deployment.state} "
            f"{_ago(deployment.updated_at)}{fetched}{trouble}"
        )
    (waiting,) = database.connection.execute(WAITING).fetchone()
    lines.append(f"outbox      {waiting} messages wait for the controller")
    database.close()
    return lines


def _folder(settings: Settings) -> Finding:
    probe = settings.folder / ".doctor"
    try:
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        return Finding(
            ok=False, said=f"The data folder {settings.folder} cannot be written: {error.strerror}."
        )
    return Finding(ok=True, said=f"The data folder {settings.folder} can be written.")


def _root(path: Path) -> Finding:
    if path.is_file():
        return Finding(ok=True, said=f"The enrolled root {path.name} is there.")
    return Finding(ok=False, said=f"The enrolled root {path} is missing: enrol this device.")


def _identity(settings: Settings) -> Finding:
    try:
        identity = Identity.load(settings.folder)
    except EdgewrightError as error:
        return Finding(ok=False, said=error.sentence)
    if not settings.broker.tls:
        return Finding(ok=True, said="The identity is there; the broker on this machine asks for none.")
    days = (identity.certificate_expires - time.time()) / 86400
    if days < 0:
        return Finding(ok=False, said=f"The certificate expired {-days:.0f} days ago: renew it.")
    return Finding(ok=True, said=f"The certificate is good for {days:.0f} days.")


def _broker(settings: Settings) -> Finding:
    host, port = settings.broker.host, settings.broker.port
    try:
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        return Finding(ok=False, said=f"No broker answers at {host} port {port}: {error}.")
    return Finding(ok=True, said=f"Something answers at the broker's address {host} port {port}.")


def _runtime(environments: Environments) -> Finding:
    if found := find_runtimes(environments):
        return Finding(ok=True, said=f"Inference runtimes: {', '.join(map(str, found))}.")
    return Finding(ok=False, said="No inference runtime is installed: install edgewright-agent[onnxruntime].")


def _cell_socket(settings: Settings) -> Finding:
    path = settings.cell_socket
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return Finding(ok=False, said=f"No line listens at {path}: the agent does not run here.")
    return Finding(ok=True, said=f"The line listens at {path}.")


def _journal(settings: Settings) -> list[Finding]:
    try:
        database = Database(settings.database, read_only=True)
        journal = Journal(database)
        active = journal.device().active
        held = journal.slots()[active] if active else None
        recent = journal.deployments(5)
        database.close()
    except (EdgewrightError, sqlite3.Error) as error:
        said = error.sentence if isinstance(error, EdgewrightError) else str(error)
        return [Finding(ok=False, said=f"The journal cannot be read: {said}")]
    findings = [
        Finding(ok=True, said=f"{_release(held)} decides.")
        if held
        else Finding(ok=False, said="No model decides yet: every frame gets the fallback.")
    ]
    findings += [
        Finding(ok=False, said=f"{_release(item)} is {item.state}: E{item.error:03d} {item.detail}")
        for item in recent
        if item.error
    ]
    return findings


def _release(deployment: Deployment) -> str:
    return f"{deployment.release.model} {deployment.release.version}"


def _ago(then: float) -> str:
    return f"{max(0.0, time.time() - then):.0f} s ago"
