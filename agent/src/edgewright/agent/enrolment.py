"""Enrolment: a token for a place in the fleet, once, over HTTPS at the controller's door.

The order, so that a configuration means a complete enrolment:

1. The door is asked for the fleet's authority, by anybody's word; the certificate counts only if it has the
   fingerprint that the token carries (RFC 7030, section 4.1.1). From here on nobody can stand in between.
2. This device makes its key, keeps it, and asks for a certificate with the token. Where the power goes before
   the answer is kept, it asks again with that key: the token is used up, for every other key.
3. Roots, identity, and last the configuration are written, all of them readable by their owner only.
"""

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from edgewright.agent.certificates import make_request, pinned, read_certificates, read_pem, verify_granted
from edgewright.agent.configuration import format_settings
from edgewright.agent.devicekey import DeviceKey
from edgewright.agent.door import CERTIFICATES, ENROLMENT, DoorError, ask
from edgewright.agent.identity import save
from edgewright.agent.privatefiles import sync_folder, write_private
from edgewright.agent.settings import FILE_NAME, BrokerSettings
from edgewright.agent.tls import trusting, unverified
from edgewright.agent.trust import Director
from edgewright.wire.errors import EnrolmentError, IdentityError, TamperedMetadataError, UnknownTopicError
from edgewright.wire.topics import check_device_id

PENDING_KEY: Final = "enrolling.pem"


class Request(msgspec.Struct, frozen=True):
    """What a device asks with.

    Attributes:
        device: its id.
        target: what models are compiled for.
        tags: what the fleet's selectors match.
        token: the one-time token.
        csr: its request for a certificate, DER in base64; made here.
    """

    device: str
    target: str
    tags: dict[str, str]
    token: str
    csr: str = ""


class Answer(msgspec.Struct, frozen=True):
    """What the controller answers: a certificate, the tags that count, the broker and two signed roots."""

    broker: BrokerSettings
    certificate: str
    tags: dict[str, str]
    image_root: dict[str, Any]
    director_root: dict[str, Any]


class Trusted(NamedTuple):
    """The fleet's authority, before anything is asked of it.

    Attributes:
        fingerprint: SHA-256 of its certificate, hexadecimal; of the token where it is empty.
        file: its certificate, PEM, where somebody has brought it.
    """

    fingerprint: str = ""
    file: Path | None = None


def enrol(
    controller: str, request: Request, data: Path, trusted: Trusted | None = None, more: str = ""
) -> Path:
    """Enrol this device; the path of its new configuration.

    Args:
        controller: address of its door.
        request: what to ask with.
        data: the data folder.
        trusted: what is known of the fleet's authority beside the token.
        more: TOML that becomes part of the configuration.

    Raises:
        EnrolmentError: the controller did not answer, refused, is not the fleet's, or answered with
            something else.
    """
    door = controller.rstrip("/")
    try:
        check_device_id(request.device)
        authority = _authority(door, request.token, trusted or Trusted())
        key = _kept_key(data / PENDING_KEY)
        asked = msgspec.structs.replace(request, csr=make_request(key, request.device).decode())
        raw = ask(
            door + ENROLMENT,
            trusting(authority.decode()),
            msgspec.json.encode(asked),
            {"Content-Type": "application/json"},
        )
        answer = _read_answer(raw)
        _store(door, request, data, key, authority, answer, more)
        (data / PENDING_KEY).unlink()
    except DoorError as error:
        raise EnrolmentError(str(error)) from error
    except (UnknownTopicError, IdentityError) as error:
        raise EnrolmentError(error.sentence) from error
    except OSError as error:
        raise EnrolmentError(f"The data folder {data} cannot be written: {error.strerror}.") from error
    return data / FILE_NAME


def _kept_key(path: Path) -> DeviceKey:
    """The key of an enrolment that did not get to its end, or a new one."""
    if path.is_file():
        return DeviceKey.load(path)
    key = DeviceKey.generate()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, key.pem())
    sync_folder(path.parent)
    return key


def _authority(door: str, token: str, trusted: Trusted) -> bytes:
    """The root's certificate, PEM."""
    if trusted.file is not None:
        return _read_authority(trusted.file)
    fingerprint = trusted.fingerprint.removeprefix("sha256:") or token.partition(".")[2]
    if not fingerprint:
        raise EnrolmentError("The token carries no fingerprint of the fleet's authority: give --ca FILE.")
    return pinned(read_certificates(ask(door + CERTIFICATES, unverified())), fingerprint)


def _read_authority(file: Path) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise EnrolmentError(
            f"The authority's certificate {file} cannot be read: {error.strerror}."
        ) from error
    read_pem(content)
    return content


def _store(
    door: str, request: Request, data: Path, key: DeviceKey, authority: bytes, answer: Answer, more: str
) -> None:
    granted = verify_granted(read_pem(answer.certificate.encode()), authority, key, request.device)
    trust = data / "trust"
    trust.mkdir(parents=True, exist_ok=True)
    for name, root in (("root.json", answer.image_root), ("director-root.json", answer.director_root)):
        content = json.dumps(root, separators=(",", ":")).encode()
        _verify_root(content)
        write_private(trust / name, content)
    save(
        data,
        request.device,
        key,
        certificates=granted.chain,
        authority=authority,
        issued=granted.issued,
        expires=granted.expires,
    )
    text = format_settings(request.device, request.target, answer.tags, data.absolute(), answer.broker, door)
    write_private(data / FILE_NAME, f"{text}{more and chr(10) + more}".encode())
    sync_folder(data)


def _read_answer(raw: bytes) -> Answer:
    try:
        return msgspec.json.decode(raw, type=Answer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EnrolmentError(f"The controller's answer cannot be read: {error}.") from error


def _verify_root(content: bytes) -> None:
    try:
        Director(content)
    except TamperedMetadataError as error:
        raise EnrolmentError(f"A root in the answer does not sign itself: {error.sentence}") from error
