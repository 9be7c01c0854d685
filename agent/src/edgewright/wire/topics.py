"""Every MQTT topic of Edgewright, built and parsed here and nowhere else.

All topics start with ``ew/1``; the number is the major version of the contract. Downward topics that carry
state are retained, so that a device pulls by subscribing and a rollout goes on without the controller.
Upward topics carry a shard, so that several controllers can share a fleet on a broker without shared
subscriptions.

>>> chunk("9f" * 32)[:14]
'ew/1/chunk/9f9'
>>> up("r1", "window")
'ew/1/up/02/r1/window'
>>> parse_up("ew/1/up/02/r1/window")
Up(device='r1', kind='window')
"""

import hashlib
import re
from typing import Final, Literal, NamedTuple, get_args

from edgewright.wire.errors import UnknownTopicError

ROOT: Final = "ew/1"
SHARDS: Final = 64

UpKind = Literal["hello", "report", "window", "sample", "want", "goodbye"]
UP_KINDS: Final[tuple[UpKind, ...]] = get_args(UpKind)

DOWN_FILTERS: Final = (f"{ROOT}/tuf/#", f"{ROOT}/chunk/#", f"{ROOT}/director/#")
"""What every device may read."""

_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_METADATA_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\.json")


class Up(NamedTuple):
    """A parsed upward topic."""

    device: str
    kind: UpKind


def check_device_id(device: str) -> str:
    """Return ``device`` if it can stand in a topic: 1 to 64 of ``A-Za-z0-9._-``, not starting with a sign.

    Raises:
        UnknownTopicError: it cannot.
    """
    if not _DEVICE.fullmatch(device):
        raise UnknownTopicError(f"The device id {device[:80]!r} cannot stand in a topic.")
    return device


def shard_of(device: str) -> str:
    """Two hexadecimal digits, 00 to 3f: the first byte of the id's SHA-256, modulo 64."""
    return f"{hashlib.sha256(device.encode()).digest()[0] % SHARDS:02x}"


def head() -> str:
    """Retained, unsigned hint: the newest metadata file names."""
    return f"{ROOT}/tuf/head"


def metadata(file: str) -> str:
    """Retained TUF metadata file, zlib-compressed.

    Raises:
        UnknownTopicError: the name is no metadata file name.
    """
    if not _METADATA_FILE.fullmatch(file):
        raise UnknownTopicError(f"{file[:80]!r} is no metadata file name.")
    return f"{ROOT}/tuf/{file}"


def timestamp() -> str:
    """The metadata file that devices stay subscribed to."""
    return metadata("timestamp.json")


def director_root(version: int) -> str:
    """Retained root of the director, zlib-compressed; every version stays.

    >>> director_root(2)
    'ew/1/director/2.root.json'
    """
    return f"{ROOT}/director/{version}.root.json"


def chunk(sha256: str) -> str:
    """Retained piece of a blob, named by the SHA-256 of its bytes.

    Raises:
        UnknownTopicError: no lower-case SHA-256.
    """
    if not _SHA256.fullmatch(sha256):
        raise UnknownTopicError(f"{sha256[:80]!r} is no SHA-256.")
    return f"{ROOT}/chunk/{sha256}"


def assignment(device: str) -> str:
    """Retained signed document that says what this device shall run."""
    return f"{ROOT}/d/{check_device_id(device)}/assignment"


def qualification(device: str) -> str:
    """Retained signed document with candidates that this device shall measure; empty while there are none."""
    return f"{ROOT}/d/{check_device_id(device)}/qualify"


def ack(device: str) -> str:
    """The controller's acknowledgement of stored upward messages; not retained."""
    return f"{ROOT}/d/{check_device_id(device)}/ack"


def up(device: str, kind: UpKind) -> str:
    """Upward topic of a device."""
    return f"{ROOT}/up/{shard_of(check_device_id(device))}/{device}/{kind}"


def up_filter(kind: UpKind | None = None) -> str:
    """Subscription of a controller to all upward topics, or to those of one kind, of all shards."""
    return f"{ROOT}/up/+/+/{kind or '+'}"


def down_of(device: str) -> str:
    """All that is published for one device; beside ``DOWN_FILTERS`` what it may read."""
    return f"{ROOT}/d/{check_device_id(device)}/#"


def parse_up(topic: str) -> Up:
    """Take an upward topic apart.

    Raises:
        UnknownTopicError: the topic is no upward topic, or its shard is not the device's.
    """
    parts = topic.split("/")
    if len(parts) != 6 or "/".join(parts[:3]) != f"{ROOT}/up":
        raise UnknownTopicError(f"{topic[:120]!r} is no upward topic.")
    shard, device, kind = parts[3:]
    if kind not in UP_KINDS or shard_of(check_device_id(device)) != shard:
        raise UnknownTopicError(f"{topic[:120]!r} has a kind or a shard that the contract does not know.")
    return Up(device, kind)


def parse_chunk(topic: str) -> str:
    """The SHA-256 in a chunk topic.

    Raises:
        UnknownTopicError: the topic is no chunk topic.
    """
    prefix, _, sha256 = topic.rpartition("/")
    if prefix != f"{ROOT}/chunk" or not _SHA256.fullmatch(sha256):
        raise UnknownTopicError(f"{topic[:120]!r} is no chunk topic.")
    return sha256
