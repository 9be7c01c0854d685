"""The HTTPS door: Enrolment over Secure Transport as other programs speak it (RFC 7030)."""

import base64
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7
from fastapi.testclient import TestClient

from edgewright.agent.certificates import make_request
from edgewright.agent.devicekey import DeviceKey
from edgewright.controller.api.app import create_app
from edgewright.controller.cli import main
from edgewright.controller.identity.authority import CertificateAuthority
from tests.controller.doors import OpenDoor, opened
from tests.controller.parts import TOKEN

ROBOT = "press-7"
EST = "/.well-known/est"


@pytest.fixture
def door(tmp_path: Path) -> Iterator[OpenDoor]:
    """A door that is open."""
    with opened(tmp_path / "controller") as door:
        yield door


def client(door: OpenDoor, own: Path | None = None) -> httpx.Client:
    """Somebody who trusts the fleet's root, and may show a certificate."""
    context = ssl.create_default_context(cadata=door.authority.root_pem)
    if own:
        context.load_cert_chain(own)
    return httpx.Client(base_url=door.url, verify=context, trust_env=False, timeout=20)


def certificates(answer: httpx.Response) -> list[x509.Certificate]:
    """What a certs-only answer holds."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/pkcs7-mime")
    assert answer.headers["content-transfer-encoding"] == "base64"
    return pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer.content))


def enrolled(door: OpenDoor, folder: Path, device: str = ROBOT) -> tuple[Path, x509.Certificate]:
    """Key and certificate of a device that has enrolled by EST, in one file."""
    key = DeviceKey.generate()
    with client(door) as http:
        answer = http.post(
            f"{EST}/simpleenroll",
            content=make_request(key, device),
            auth=(device, door.token(device=device)),
            headers={"Content-Type": "application/pkcs10"},
        )
    (made,) = certificates(answer)
    own = folder / f"{device}.pem"
    issuing = door.authority.authorities[1]
    pems = (part.public_bytes(serialization.Encoding.PEM) for part in (made, issuing))
    own.write_bytes(key.pem() + b"".join(pems))
    return own, made


def test_the_authority_is_given_to_everybody(door: OpenDoor) -> None:
    """Cacerts answers without any credential, with root and issuing authority."""
    with client(door) as http:
        assert set(certificates(http.get(f"{EST}/cacerts"))) == set(door.authority.authorities)


def test_enrol_and_renew(door: OpenDoor, tmp_path: Path) -> None:
    """A token gives a certificate, and the certificate gives the next one, for a new key."""
    own, first = enrolled(door, tmp_path)
    key = DeviceKey.generate()
    with client(door, own) as http:
        (second,) = certificates(
            http.post(f"{EST}/simplereenroll", content=make_request(key, "somebody-else"))
        )
    assert second.subject == first.subject
    assert second.public_key() == key.private.public_key()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the program openssl")
def test_a_request_of_openssl_is_granted(door: OpenDoor, tmp_path: Path) -> None:
    """Key and request made by openssl, with a subject of their own, get the token's certificate."""
    command = ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-subj", "/CN=whatever/O=A plant", "-outform", "DER", "-keyout", str(tmp_path / "key.pem")]
    made = subprocess.run(command, capture_output=True, check=True).stdout
    with client(door) as http:
        answer = http.post(
            f"{EST}/simpleenroll", content=base64.encodebytes(made), auth=(ROBOT, door.token())
        )
    (certificate,) = certificates(answer)
    assert certificate.subject.rfc4514_string() == f"CN={ROBOT}"


@pytest.mark.parametrize("shown", [None, "Basic", "Basic !!!", "Basic bm8tY29sb24=", "Bearer x"])
def test_who_shows_no_token_is_asked_for_one(door: OpenDoor, shown: str | None) -> None:
    """401 with a challenge for HTTP Basic, which makes an ordinary client try again with it."""
    headers = {"Authorization": shown} if shown else {}
    with client(door) as http:
        answer = http.post(
            f"{EST}/simpleenroll", content=make_request(DeviceKey.generate(), ROBOT), headers=headers
        )
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert answer.json()["number"] == 94


def test_a_wrong_token_is_refused(door: OpenDoor) -> None:
    """403 with the number of the refusal, as at the other address of enrolment."""
    with client(door) as http:
        answer = http.post(
            f"{EST}/simpleenroll",
            content=make_request(DeviceKey.generate(), ROBOT),
            auth=(ROBOT, "ewe_wrong"),
        )
    assert (answer.status_code, answer.json()["number"]) == (403, 95)


@pytest.mark.parametrize("content", [b"", b"%%%", b"QUJD", base64.b64encode(b"x" * 100_000)])
def test_a_body_that_is_no_request_is_refused(door: OpenDoor, content: bytes) -> None:
    """422 with E109, and the token stays good."""
    token = door.token()
    with client(door) as http:
        answer = http.post(f"{EST}/simpleenroll", content=content, auth=(ROBOT, token))
        assert (answer.status_code, answer.json()["number"]) == (422, 109)
        good = make_request(DeviceKey.generate(), ROBOT)
        assert certificates(http.post(f"{EST}/simpleenroll", content=good, auth=(ROBOT, token)))


def test_renewal_needs_the_certificate(door: OpenDoor, tmp_path: Path) -> None:
    """Without one 401; with one of another authority no connection; after a revocation E104."""
    own, _ = enrolled(door, tmp_path)
    wanted = make_request(DeviceKey.generate(), ROBOT)
    with client(door) as http:
        assert http.post(f"{EST}/simplereenroll", content=wanted).status_code == 401
    stranger = CertificateAuthority(tmp_path / "other")
    stranger.ensure()
    with client(door, stranger.controller) as http, pytest.raises(httpx.TransportError):
        http.post(f"{EST}/simplereenroll", content=wanted)
    door.parts.register.revoke(ROBOT, "stolen")
    with client(door, own) as http:
        answer = http.post(f"{EST}/simplereenroll", content=wanted)
    assert answer.json()["number"] == 104


def test_nobody_can_claim_a_certificate_by_a_header(door: OpenDoor, tmp_path: Path) -> None:
    """What proves a certificate is the handshake: headers that proxies use for it count for nothing."""
    _, made = enrolled(door, tmp_path)
    pem = made.public_bytes(serialization.Encoding.PEM).decode().replace("\n", " ").strip()
    headers = {"X-SSL-Client-Cert": pem, "X-Forwarded-Client-Cert": f"Cert={pem}", "client_certificate": pem}
    with client(door) as http:
        wanted = make_request(DeviceKey.generate(), ROBOT)
        assert http.post(f"{EST}/simplereenroll", content=wanted, headers=headers).status_code == 401


def test_certificates_are_given_out_over_tls_only(door: OpenDoor) -> None:
    """In the clear EST refuses, so that a client that was pointed there by mistake hears of it."""
    http = TestClient(create_app(door.parts), base_url="http://127.0.0.1")
    answer = http.get(f"{EST}/cacerts")
    assert (answer.status_code, answer.json()["number"]) == (422, 99)


def test_the_command_line_trusts_the_named_authority(
    door: OpenDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A person elsewhere reaches the door with the authority's certificate, and with no other."""
    stranger = CertificateAuthority(tmp_path / "other")
    stranger.ensure()
    monkeypatch.setenv("EDGEWRIGHT_TOKEN", TOKEN)
    outcomes = {door.authority.bundle: 0, stranger.bundle: 64, tmp_path / "none.pem": 64}
    for named, status in outcomes.items():
        monkeypatch.setenv("EDGEWRIGHT_CA", str(named))
        with pytest.raises(SystemExit) as ended:
            main(["devices", "--url", door.url])
        assert ended.value.code == status, capsys.readouterr().err


def test_the_door_serves_the_api_too(door: OpenDoor) -> None:
    """People on other machines have the pages and the API over HTTPS."""
    with client(door) as http:
        assert http.get("/api/v1/health").json()["status"] == "ok"
        assert http.get("/login").status_code == 200
        assert http.get("/api/v1/health", headers={"Host": "evil.example"}).status_code == 422
