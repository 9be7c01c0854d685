"""Enrolment: a token for a place in the fleet, once, over HTTP to the controller.

The answer carries the two roots of trust and the broker's address. Everything is written with mode 0600,
files before the configuration, so that a configuration means a complete enrolment.
"""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from edgewright.agent.privatefiles import write_private
from edgewright.agent.settings import FILE_NAME, BrokerSettings, format_settings
from edgewright.agent.trust import Director
from edgewright.wire.errors import EnrolmentError, TamperedMetadataError, UnknownTopicError
from edgewright.wire.topics import check_device_id

TIMEOUT_SECONDS: Final = 30
MAX_ANSWER_BYTES: Final = 1024 * 1024


class Request(msgspec.Struct, frozen=True):
    """What a device asks with."""

    device: str
    target: str
    tags: dict[str, str]
    token: str


class Answer(msgspec.Struct, frozen=True):
    """What the controller answers: the broker and the two signed roots."""

    broker: BrokerSettings
    image_root: dict[str, Any]
    director_root: dict[str, Any]


def enrol(controller: str, request: Request, data: Path) -> Path:
    """Enrol this device; the path of its new configuration.

    Raises:
        EnrolmentError: the controller did not answer, refused, or answered with something else.
    """
    try:
        check_device_id(request.device)
    except UnknownTopicError as error:
        raise EnrolmentError(error.sentence) from error
    answer = _read_answer(_post(f"{controller.rstrip('/')}/api/v1/enrol", request))
    roots = {"root.json": answer.image_root, "director-root.json": answer.director_root}
    trust = data / "trust"
    try:
        trust.mkdir(parents=True, exist_ok=True)
        for name, root in roots.items():
            content = json.dumps(root, separators=(",", ":")).encode()
            _verify_root(content)
            write_private(trust / name, content)
        text = format_settings(request.device, request.target, request.tags, data.absolute(), answer.broker)
        write_private(data / FILE_NAME, text.encode())
    except OSError as error:
        raise EnrolmentError(f"The data folder {data} cannot be written: {error.strerror}.") from error
    return data / FILE_NAME


def _post(url: str, request: Request) -> bytes:
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise EnrolmentError(f"{url} is no HTTP address.")
    posted = urllib.request.Request(  # noqa: S310 - the scheme was checked
        url, data=msgspec.json.encode(request), headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(posted, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310 - see above
            return bytes(response.read(MAX_ANSWER_BYTES))
    except urllib.error.HTTPError as error:
        raise EnrolmentError(f"The controller answered {error.code}: {_problem(error)}.") from error
    except (urllib.error.URLError, OSError, ValueError) as error:
        cause = getattr(error, "reason", error)
        raise EnrolmentError(f"The controller at {url} did not answer: {cause}.") from error


def _problem(error: urllib.error.HTTPError) -> str:
    """The sentence of an RFC 9457 problem, or HTTP's own words."""
    try:
        body: Mapping[str, Any] = json.loads(error.read(MAX_ANSWER_BYTES))
        return str(body.get("detail") or body.get("title") or error.reason).rstrip(".")
    except (ValueError, AttributeError, OSError):
        return str(error.reason)


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
