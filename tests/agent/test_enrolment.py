"""Enrolling and renewing from the device's side: whom it trusts, what it keeps, and when it gives up."""

import stat
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest
from fastapi import FastAPI, Response

from edgewright.agent.configuration import read_settings
from edgewright.agent.devicekey import DeviceKey
from edgewright.agent.enrolment import Request, Trusted, enrol
from edgewright.agent.identity import Identity, renew_command, save
from edgewright.agent.renewal import renew
from edgewright.controller.api.app import create_app
from edgewright.controller.database import select
from edgewright.controller.database.tables import Certificate, Device
from edgewright.controller.enrolment import Enrolment, EnrolmentAnswer
from edgewright.controller.identity.authority import CertificateAuthority
from edgewright.controller.identity.requests import certs_only
from edgewright.controller.identity.tls import door_context
from edgewright.controller.listeners import Door, listen
from edgewright.wire.errors import ConfigurationError, EnrolmentError, IdentityError, RenewalRefusedError
from tests.controller.doors import OpenDoor, opened

ROBOT = "press.left-7"


@pytest.fixture
def door(tmp_path: Path) -> Iterator[OpenDoor]:
    """The fleet's door."""
    with opened(tmp_path / "controller") as door:
        yield door


def ask(door_url: str, token: str, data: Path, trusted: Trusted | None = None) -> Path:
    """Enrol."""
    return enrol(door_url, Request(ROBOT, "t", {}, token), data, trusted)


class Impostor:
    """Somebody on the way, with a certificate of their own for the same address.

    Attributes:
        heard: bodies of whatever was sent to enrol.
    """

    def __init__(self, folder: Path, shown: CertificateAuthority | None = None) -> None:
        own = CertificateAuthority(folder)
        own.ensure()
        self.heard: list[bytes] = []
        app = FastAPI()

        @app.get("/.well-known/est/cacerts")
        def cacerts() -> Response:
            return Response(certs_only((shown or own).authorities))

        @app.post("/api/v1/enrol")
        def take(body: bytes) -> None:
            self.heard.append(body)

        listener = listen("127.0.0.1", 0)
        self.url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        self.door = Door(app, listener, door_context(own.bundle, own.server))


@pytest.mark.parametrize("replays", [False, True], ids=["own authority", "replays the fleet's authority"])
def test_a_man_in_the_middle_never_sees_the_token(door: OpenDoor, tmp_path: Path, *, replays: bool) -> None:
    """Whoever cannot prove to be the fleet's door is refused before the token is sent; it stays good."""
    impostor = Impostor(tmp_path / "impostor", door.authority if replays else None)
    impostor.door.start()
    token = door.token()
    try:
        with pytest.raises(EnrolmentError, match=r"E041 .*(fingerprint|CERTIFICATE_VERIFY_FAILED)"):
            ask(impostor.url, token, tmp_path / "data")
    finally:
        impostor.door.stop()
    assert impostor.heard == []
    assert not (tmp_path / "data" / "agent.toml").exists()
    ask(door.url, token, tmp_path / "data")


def test_the_authority_may_be_brought_by_hand(door: OpenDoor, tmp_path: Path) -> None:
    """A token without a fingerprint needs the authority's certificate, or its fingerprint, from elsewhere."""
    secret = door.token().partition(".")[0]
    with pytest.raises(EnrolmentError, match="--ca FILE"):
        ask(door.url, secret, tmp_path / "a")
    with pytest.raises(EnrolmentError, match="cannot be read"):
        ask(door.url, secret, tmp_path / "a", Trusted(file=tmp_path / "none.pem"))
    brought = tmp_path / "root.pem"
    brought.write_text(door.authority.root_pem)
    ask(door.url, secret, tmp_path / "a", Trusted(file=brought))
    fingerprint = Trusted(f"sha256:{door.authority.fingerprint}")
    bound = door.token(device=ROBOT).partition(".")[0]
    ask(door.url, bound, tmp_path / "b", fingerprint)


@dataclass
class MixingUp:
    """An enrolment that hands out a certificate of another key."""

    real: Enrolment
    foreign: str

    def enrol(
        self,
        device: str,
        target: str,
        tags: Mapping[str, str],
        token: str,
        request: bytes,
        host: str,
        address: str,
    ) -> EnrolmentAnswer:
        """Take the device in, and mix the answer up."""
        answer = self.real.enrol(device, target, tags, token, request, host, address)
        return msgspec.structs.replace(answer, certificate=self.foreign)


def test_a_certificate_for_somebody_else_is_refused(door: OpenDoor, tmp_path: Path) -> None:
    """An answer whose certificate is not of this device's key leaves no configuration behind."""
    foreign = door.authority.issue_device(ROBOT, DeviceKey.generate().private.public_key())
    mixing = MixingUp(door.parts.enrolment, foreign.chain_pem)
    listener = listen("127.0.0.1", 0)
    app = create_app(replace(door.parts, enrolment=mixing))  # type: ignore[arg-type]  # a simulator
    wrong = Door(app, listener, door_context(door.authority.bundle, door.authority.server))
    wrong.start()
    with pytest.raises(EnrolmentError, match="somebody else"):
        ask(f"https://127.0.0.1:{listener.getsockname()[1]}", door.token(), tmp_path / "data")
    wrong.stop()
    assert not (tmp_path / "data" / "agent.toml").exists()


def test_a_renewal_replaces_the_whole_identity(door: OpenDoor, tmp_path: Path) -> None:
    """Key and certificate are new, private, and in force at once; the identity before stays readable."""
    ask(door.url, door.token(), tmp_path)
    before = Identity.load(tmp_path)
    after = renew(tmp_path, door.url)
    assert after.key.public_der() != before.key.public_der()
    assert after.client_id != before.client_id
    assert (tmp_path / "identity").resolve() == after.folder != before.folder
    after.tls_context()
    before.tls_context()
    assert {stat.S_IMODE(path.stat().st_mode) for path in after.folder.iterdir()} == {0o600}
    with door.parts.db.reading() as session:
        row = session.get(Device, ROBOT)
        assert row is not None
        assert (row.public_key, row.previous_public_key) == (after.key.public_der(), before.key.public_der())
    renew(tmp_path, door.url)
    assert not before.folder.exists()


def test_the_child_process_renews(door: OpenDoor, tmp_path: Path) -> None:
    """What the supervisor starts ends with 0, and without a door with E051 and the old identity in force."""
    settings = read_settings(ask(door.url, door.token(), tmp_path))
    before = Identity.load(tmp_path)
    assert subprocess.run(renew_command(settings), check=False).returncode == 0
    after = Identity.load(tmp_path)
    assert after.folder != before.folder
    door.door.stop()
    failed = subprocess.run(renew_command(settings), capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stderr[:5]) == (51, "E051 ")
    assert Identity.load(tmp_path).folder == after.folder


def test_a_revoked_device_is_not_renewed(door: OpenDoor, tmp_path: Path) -> None:
    """E052 with the controller's reason, and the identity is left as it was."""
    ask(door.url, door.token(), tmp_path)
    before = Identity.load(tmp_path)
    door.parts.register.revoke(ROBOT, "stolen")
    with pytest.raises(RenewalRefusedError, match=r"E052 .*revoked"):
        renew(tmp_path, door.url)
    assert Identity.load(tmp_path).folder == before.folder


def test_a_copy_of_an_identity_ends_at_the_next_renewals(door: OpenDoor, tmp_path: Path) -> None:
    """Of a device and its clone only one can keep renewing: the other's certificate is superseded."""
    ask(door.url, door.token(), tmp_path / "device")
    held = Identity.load(tmp_path / "device")
    save(
        tmp_path / "clone",
        ROBOT,
        held.key,
        certificates=(held.folder / "cert.pem").read_bytes(),
        authority=(held.folder / "ca.pem").read_bytes(),
    )
    renew(tmp_path / "device", door.url)
    renew(tmp_path / "device", door.url)
    with pytest.raises(RenewalRefusedError, match="revoked"):
        renew(tmp_path / "clone", door.url)


def test_a_certificate_is_due_after_two_thirds_of_its_life(door: OpenDoor, tmp_path: Path) -> None:
    """Not before, and for every device at most a twentieth of the life later; without a certificate never."""
    ask(door.url, door.token(), tmp_path)
    identity = Identity.load(tmp_path)
    life = identity.certificate_expires - identity.certificate_issued
    assert not identity.due(time.time())
    assert not identity.due(identity.certificate_issued + life * 0.66)
    assert identity.due(identity.certificate_issued + life * 0.72)
    assert not replace(identity, certificate_issued=0.0, certificate_expires=0.0).due(time.time())


def test_an_expired_certificate_is_renewed_by_itself(door: OpenDoor, tmp_path: Path) -> None:
    """A device that was off past its expiry gets a new one with the old; the door's clock decides."""
    ask(door.url, door.token(), tmp_path)
    held = Identity.load(tmp_path)
    with door.parts.db.session() as session:
        (row,) = session.exec(select(Certificate)).all()
        row.expires = time.time() - 3600
        session.add(row)
    assert renew(tmp_path, door.url).folder != held.folder


@pytest.mark.parametrize("part", ["key.pem", "identity.json"])
@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe"])
def test_a_damaged_identity_is_a_clear_error(tmp_path: Path, part: str, content: bytes | None) -> None:
    """E051 names the file, whatever happened to it."""
    save(tmp_path, ROBOT, DeviceKey.generate())
    path = tmp_path / "identity" / part
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(IdentityError, match=f"E051 .*{part}"):
        Identity.load(tmp_path)


def test_a_broker_without_tls_is_on_this_machine(tmp_path: Path) -> None:
    """`tls = false` is refused for any other host, with the file's name."""
    text = 'device = "a"\ntarget = "t"\ndata = "/tmp/x"\n[broker]\nhost = "{}"\nport = 1\ntls = false\n'
    path = tmp_path / "agent.toml"
    path.write_text(text.format("127.0.0.1"))
    assert not read_settings(path).broker.tls
    path.write_text(text.format("plant.example"))
    with pytest.raises(ConfigurationError, match="on this machine only"):
        read_settings(path)


def test_a_power_cut_before_the_answer_is_kept_needs_nobody(door: OpenDoor, tmp_path: Path) -> None:
    """The token is used up, and the same device enrols with it once more: it had kept its key."""
    token, data = door.token(), tmp_path / "robot"
    whole = ask(door.url, token, data)
    key = Identity.load(data).key
    whole.unlink()
    (data / "enrolling.pem").write_bytes(key.pem())
    assert read_settings(ask(door.url, token, data)).device == ROBOT
    assert Identity.load(data).key.public_der() == key.public_der()
    assert not (data / "enrolling.pem").exists()
    with pytest.raises(EnrolmentError, match="used"):
        ask(door.url, token, tmp_path / "thief")
