"""What is right and wrong on this device, in words: read-only, and safe beside a running agent.

A finding that is not good says what was looked at, what was seen, and what to do about it. The order is that
of repair: what is further down often ends with what is further up.
"""

import importlib.util
import os
import shutil
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from edgewright.agent.addresses import parse_door, without_password
from edgewright.agent.clock import BUILD_TIME, STEP_SECONDS
from edgewright.agent.database import Database
from edgewright.agent.environments import find_runtimes
from edgewright.agent.identity import Identity
from edgewright.agent.journal import Journal
from edgewright.agent.outboxtable import WAITING
from edgewright.agent.owntarget import own_facts
from edgewright.agent.settings import Settings
from edgewright.agent.status import release_name
from edgewright.wire.errors import EdgewrightError
from edgewright.wire.matching import fits, rank
from edgewright.wire.targets import shipped_demands

CONNECT_SECONDS: Final = 3.0
HEARING_SECONDS: Final = 0.5
"""How long a server may take to say that it refuses a certificate, after the handshake (TLS 1.3)."""

DAYS_LEFT: Final = 14
"""A certificate of 90 days is renewed when 30 are left; with so few, renewals have failed for a while."""

RTSP_PORT: Final = 554
"""RFC 7826, section 4.2."""

LEAST_MEMORY_MB: Final = 64
_MIB: Final = 1024 * 1024


_FOLDER_REMEDY: Final = "Run this as the agent's user; if that is so, look at the disk and its mount."


class Finding(msgspec.Struct, frozen=True):
    """One sentence, whether it is good news, and what to do where it is not."""

    ok: bool
    said: str
    remedy: str = ""


def examine(settings: Settings) -> list[Finding]:
    """All findings, in the order in which a person would repair them."""
    found = [good(f"The configuration is of device {settings.device}, target {settings.target}.")]
    machine = (_folder, _roots, _identity, _clock, _memory, _broker, _door, _runtimes, _target)
    for look in (*machine, _places, _agent):
        found += look(settings)
    return [*found, *_journal(settings)]


def good(said: str) -> Finding:
    """Nothing to do."""
    return Finding(ok=True, said=said)


def bad(said: str, remedy: str) -> Finding:
    """Something to do."""
    return Finding(ok=False, said=said, remedy=remedy)


def _folder(settings: Settings) -> Iterator[Finding]:
    try:
        os.listdir(settings.folder)  # noqa: PTH208 - names of a folder that may have gone
        free = shutil.disk_usage(settings.folder).free // _MIB
    except OSError as error:
        yield bad(f"The data folder {settings.folder} cannot be read: {error.strerror}.", _FOLDER_REMEDY)
        return
    if not os.access(settings.folder, os.W_OK | os.X_OK):
        yield bad(f"The data folder {settings.folder} cannot be written.", _FOLDER_REMEDY)
        return
    kept = settings.update.free_mb
    if free < kept:
        yield bad(f"{free} MiB are free on the disk, and updates leave {kept}.", "Free disk space.")
    else:
        yield good(f"The data folder {settings.folder} can be written; {free} MiB are free.")


def _roots(settings: Settings) -> Iterator[Finding]:
    for path in (settings.image_root, settings.director_root):
        if path.is_file():
            yield good(f"The enrolled root {path.name} is there.")
        else:
            yield bad(f"The enrolled root {path} is missing.", "Enrol this device again.")


def _identity(settings: Settings) -> Iterator[Finding]:
    try:
        days = (Identity.load(settings.folder).certificate_expires - time.time()) / 86400
    except EdgewrightError as error:
        yield bad(error.sentence, error.remedy)
        return
    if not settings.broker.tls:
        yield good("The identity is there; the broker on this machine asks for none.")
    elif days < 0:
        yield bad(f"The certificate expired {-days:.0f} days ago.", "Run `edgewright-agent renew`.")
    elif days < DAYS_LEFT:
        yield bad(
            f"The certificate ends in {days:.0f} days, and its renewals have failed.",
            "Run `edgewright-agent renew`: it says why.",
        )
    else:
        yield good(f"The certificate is good for {days:.0f} days.")


def _clock(settings: Settings) -> Iterator[Finding]:
    try:
        database = Database(settings.database, read_only=True)
        record = Journal(database).device()
        database.close()
    except (EdgewrightError, sqlite3.Error):  # the journal's own finding says it
        return
    behind = max(record.clock, BUILD_TIME) - time.time()
    offset = record.offset or 0.0
    if behind > STEP_SECONDS or abs(offset) > STEP_SECONDS:
        wrong = (
            f"{behind:.0f} s before what was signed" if behind > STEP_SECONDS else f"{-offset:.0f} s ahead"
        )
        yield bad(
            f"The system's clock stands {wrong}; the agent reckons with signed time.",
            "Let the system take the time from the network: `timedatectl set-ntp true`.",
        )
    else:
        yield good("The system's clock agrees with what was signed.")


def _memory(_: Settings) -> Iterator[Finding]:
    lines = Path("/proc/meminfo").read_text().splitlines()
    available = next(int(line.split()[1]) // 1024 for line in lines if line.startswith("MemAvailable"))
    if available < LEAST_MEMORY_MB:
        yield bad(
            f"{available} MiB of memory are available.", "End what else runs here, or choose a smaller model."
        )
    else:
        yield good(f"{available} MiB of memory are available.")


def _broker(settings: Settings) -> Iterator[Finding]:
    broker = settings.broker
    yield _reach("broker", broker.host, broker.port, settings, tls=broker.tls)


def _door(settings: Settings) -> Iterator[Finding]:
    if settings.door:
        door = parse_door(settings.door)
        yield _reach("controller's door", door.host, door.port, settings, tls=door.secure)


def _reach(name: str, host: str, port: int, settings: Settings, *, tls: bool) -> Finding:
    """Go the way of a connection step by step, and name the one that fails."""
    place = f"{host} port {port}"
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4]
    except (OSError, UnicodeError) as error:  # what IDNA refuses is a UnicodeError
        cause = error.strerror if isinstance(error, OSError) else error
        return bad(f"The name {host} of the {name} is unknown here: {cause}.", "Look at this device's DNS.")
    try:
        stream = socket.create_connection((str(address[0]), port), timeout=CONNECT_SECONDS)
    except TimeoutError:
        return bad(
            f"The {name} at {place} does not answer.", "Look at the cable, the route and the firewall."
        )
    except OSError as error:
        return bad(f"No {name} listens at {place}: {error.strerror}.", "Start it, or correct the address.")
    with stream:
        if not tls:
            return good(f"The {name} at {place} answers.")
        return _shake_hands(name, host, place, stream, settings)


def _shake_hands(name: str, host: str, place: str, stream: socket.socket, settings: Settings) -> Finding:
    try:
        context = Identity.load(settings.folder).tls_context()
    except EdgewrightError:
        return good(f"The {name} at {place} answers; without an identity TLS was not tried.")
    try:
        with context.wrap_socket(stream, server_hostname=host) as secure:
            secure.settimeout(HEARING_SECONDS)
            secure.recv(1)
    except TimeoutError:
        return good(f"The {name} at {place} answers, and takes this device's certificate.")
    except OSError as error:  # ssl.SSLError is one
        return bad(
            f"TLS with the {name} at {place} fails: {error}.",
            "If its certificate is not the fleet's, look who is in between; if ours is refused, enrol again.",
        )
    return bad(f"The {name} at {place} hangs up.", "This device may be revoked: look at its page.")


def _runtimes(settings: Settings) -> Iterator[Finding]:
    for name, python in settings.runtime.environments.items():
        if not os.access(python, os.X_OK):
            yield bad(
                f"The environment of {name} has no interpreter {python}.", "Make it, or drop the setting."
            )
    if found := find_runtimes(settings.runtime.environments):
        yield good(f"Inference runtimes: {', '.join(map(str, found))}.")
    else:
        yield bad("No inference runtime is installed.", "Install edgewright-agent[onnxruntime] or [litert].")


def _target(settings: Settings) -> Iterator[Finding]:
    """Whether this device still is what it enrolled as; the controller's own targets are not known here."""
    table, name = shipped_demands(), settings.target
    if name not in table:
        yield good(f"The target {name} is the site's own: the controller knows whether it fits.")
        return
    facts = own_facts(settings.machine, settings.runtime.environments)
    best = "".join(rank(facts, table.values())[:1])
    again = f"Enrol it again with --target {best}." if best else "Run `edgewright-agent target`: it says why."
    if reasons := fits(table[name], facts).reasons:
        yield bad(f"This device is not what {name} asks for: {'; '.join(reasons)}.", again)
    elif best and list(table).index(best) < list(table).index(name):
        yield good(f"This device is what {name} asks for; {best} would fit too, and be better.")
    else:
        yield good(f"This device is what {name} asks for.")


def _places(settings: Settings) -> Iterator[Finding]:
    """What the configuration names outside the agent: camera, interlock, sinks, the cell's broker."""
    source, interlock = settings.source, settings.interlock
    if source.kind in ("camera", "video", "folder"):
        yield _readable("source", f"/dev/video{source.place}" if source.place.isdecimal() else source.place)
    if source.kind == "rtsp":
        yield _network_camera(settings)
    if interlock.kind in ("file", "gpio"):
        yield _readable("interlock", interlock.place)
    for sink in settings.sinks:
        if sink.kind == "callback":
            yield _callback(sink.place)
        if sink.kind == "file" and not os.access(Path(sink.place).parent, os.W_OK):
            yield bad(
                f"The sink's folder {Path(sink.place).parent} cannot be written.", "Make it the agent's."
            )
    if "topic" in (source.kind, interlock.kind, *(sink.kind for sink in settings.sinks)):
        local = settings.local_broker
        yield _reach("cell's broker", local.host, local.port, settings, tls=False)


def _network_camera(settings: Settings) -> Finding:
    """Whether somebody listens there; no stream is asked for, because some cameras give one only."""
    parts = urlsplit(settings.source.place)
    try:
        host, port = parts.hostname or "", parts.port or RTSP_PORT
    except ValueError as error:
        return bad(f"The address of the source is none: {error}.", "Correct the setting.")
    return _reach("network camera", host, port, settings, tls=False)


def _callback(place: str) -> Finding:
    """Whether its package is there; it is not imported, because that runs the site's code."""
    package = place.partition(":")[0].partition(".")[0]
    if importlib.util.find_spec(package) is None:
        return bad(
            f"The callback's package {package} is not installed for this Python.",
            "Install it into the agent's environment, or set the unit's PYTHONPATH here too.",
        )
    return good(f"The callback's package {package} is there.")


def _readable(name: str, place: str) -> Finding:
    path = without_password(place)
    if not os.path.exists(place):  # noqa: PTH110 - shown as it was written
        return bad(f"The {name} {path} is not there.", "Correct the setting, or look at cable and driver.")
    if not os.access(place, os.R_OK):
        return bad(f"The {name} {path} cannot be read by this user.", "Give the agent's user the right to.")
    return good(f"The {name} {path} is there.")


def _agent(settings: Settings) -> Iterator[Finding]:
    """Whether it runs, by its lock: the cell's socket takes one machine, and a probe would throw it out."""
    lock = settings.folder / "lock"
    if not lock.is_file():
        yield bad("The agent has never run here.", "Start it: `edgewright-agent run`, or its unit.")
    elif _is_locked(lock):
        yield good("The agent runs.")
        path = str(settings.cell_socket)
        listening = any(line.endswith(path) for line in Path("/proc/net/unix").read_text().splitlines())
        if listening:
            yield good(f"The line listens at {path}.")
        else:
            yield bad(
                f"No line listens at {path}.", "Look at the agent's log: the line is restarted and ends."
            )
    else:
        yield bad("The agent does not run.", "Start it: `edgewright-agent run`, or its unit.")


def _is_locked(lock: Path) -> bool:
    """Whether a process holds flock(2) on a file, by proc_locks(5): trying would keep an agent from starting.

    File systems may show another device number there than stat(2) does, so only the file's own is compared.
    """
    inode = str(lock.stat().st_ino)
    lines = map(str.split, Path("/proc/locks").read_text().splitlines())
    return any("FLOCK" in words and words[-3].rpartition(":")[2] == inode for words in lines)


def _journal(settings: Settings) -> list[Finding]:
    try:
        database = Database(settings.database, read_only=True)
        try:
            return [*_decides(Journal(database)), _waiting(database.connection.execute)]
        finally:
            database.close()
    except (EdgewrightError, sqlite3.Error) as error:
        said = error.sentence if isinstance(error, EdgewrightError) else str(error)
        return [
            bad(f"The journal cannot be read: {said}", "Start the agent once; if it stays, look at its log.")
        ]


def _decides(journal: Journal) -> Iterator[Finding]:
    active = journal.device().active
    held = journal.slots()[active] if active else None
    if held:
        yield good(f"{release_name(held)} decides.")
    else:
        yield bad(
            "No model decides yet: every frame gets the fallback.", "Roll a version out to this device."
        )
    for item in journal.deployments(5):
        if item.error:
            said = f"{release_name(item)} is {item.state}: E{item.error:03d} {item.detail}"
            yield bad(said, f"docs/reference/errors.md says more about E{item.error:03d}.")


def _waiting(execute: Callable[[str], sqlite3.Cursor]) -> Finding:
    (waiting,) = execute(WAITING).fetchone()
    return good(f"{waiting} messages wait for the controller.")
