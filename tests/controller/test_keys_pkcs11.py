"""Keys in a PKCS#11 token, with softhsm2 in the token's place."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.controller.errors import KeyStoreError, SignaturesMissingError
from edgewright.controller.trust import ceremony, requests
from edgewright.controller.trust.ceremony import Holder
from edgewright.controller.trust.keys import KeyStore
from edgewright.controller.trust.pem import PIN_VARIABLE
from edgewright.controller.trust.repository import ImageRepository
from tests.controller.test_trust_repository import Device, entry

LIBRARY = Path("/usr/lib/softhsm/libsofthsm2.so")
LABEL, PIN = "release keys", "73501"


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A token with two P-256 keys, numbers 2 and 3; the library reads its configuration once a process."""
    if not (LIBRARY.exists() and shutil.which("softhsm2-util")):
        if os.environ.get("EDGEWRIGHT_REQUIRE_SOFTHSM") == "1":
            pytest.fail("softhsm2 is required and not installed")
        pytest.skip("softhsm2 is not installed")
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(folder / "softhsm2.conf"))
        command = ["softhsm2-util", "--init-token", "--free", "--label", LABEL, "--pin", PIN, "--so-pin", PIN]
        subprocess.run(command, check=True, capture_output=True, timeout=30)
        _make_keys()
        yield


def _make_keys() -> None:
    import pkcs11
    from pkcs11.util.ec import encode_named_curve_parameters

    with pkcs11.lib(str(LIBRARY)).get_token(token_label=LABEL).open(user_pin=PIN, rw=True) as session:
        curve = {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
        for number in (2, 3):
            parameters = session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True)
            parameters.generate_keypair(id=bytes([number]), store=True)


@pytest.fixture
def pin(monkeypatch: pytest.MonkeyPatch, token: None) -> None:
    """The PIN where it belongs."""
    monkeypatch.setenv(PIN_VARIABLE, PIN)


def test_software_and_token_reach_a_threshold(tmp_path: Path, pin: None) -> None:
    """One Ed25519 file and one P-256 token together sign what two of three have to sign."""
    files = [tmp_path / who / "key.pem" for who in ("alice", "bob")]
    signers = [ceremony.make_key(path) for path in files]
    ceremony.export_token(LIBRARY, LABEL, 2, tmp_path / "carol.pub")
    paths = [*(path.with_name("key.pem.pub") for path in files), tmp_path / "carol.pub"]
    holders = [Holder(path) for path in paths]
    data = tmp_path / "data"
    request = ceremony.begin(data, holders, holders, holders, (2, 2, 2))
    assert request is not None
    repository = ceremony.open_folder(data)
    in_token = ceremony.token_signer(LIBRARY, LABEL, 2)
    repository.import_signatures(requests.encode(requests.sign(request, [in_token, signers[0]])))
    repository.ensure()
    with pytest.raises(SignaturesMissingError):
        repository.add_release([entry(1)])
    (request,) = repository.requests()
    repository.import_signatures(requests.encode(requests.sign(request, [signers[1], in_token])))
    device = Device(tmp_path / "device", repository.root_bytes())
    assert device.sees(repository.files(), entry(1).path) == entry(1).custom


def test_a_controller_signs_with_a_token(tmp_path: Path, pin: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release key in a token at the controller signs by itself where it has the PIN, and only there."""
    stick = tmp_path / "alice" / "root.pem"
    ceremony.export_token(LIBRARY, LABEL, 3, tmp_path / "token.pub")
    release = [Holder(tmp_path / "token.pub")]
    data = tmp_path / "data"
    ceremony.begin(data, [Holder(stick)], release, release, (1, 1, 1))
    ceremony.hold(data, "release", ceremony.token_reference(LIBRARY, LABEL, 3))
    repository = ImageRepository(data / "tuf" / "image", KeyStore(data / "keys"))
    repository.ensure()
    assert repository.add_release([entry(1)])
    assert {row.store for row in repository.roster() if row.role == "release"} == {f"token {LABEL}"}
    monkeypatch.delenv(PIN_VARIABLE)
    with pytest.raises(SignaturesMissingError, match="1 more signature"):
        repository.add_release([entry(2)])
    monkeypatch.setenv(PIN_VARIABLE, PIN)
    assert repository.add_release([entry(2)])


@pytest.mark.parametrize("wrong", ["pin", "no pin", "label", "number", "library"])
def test_a_token_that_refuses(
    tmp_path: Path, token: None, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    """A wrong PIN, token, key number or library is one numbered sentence."""
    if wrong != "no pin":
        monkeypatch.setenv(PIN_VARIABLE, "00000" if wrong == "pin" else PIN)
    library = tmp_path / "none.so" if wrong == "library" else LIBRARY
    label = "another" if wrong == "label" else LABEL
    with pytest.raises(KeyStoreError) as refused:
        ceremony.token_signer(library, label, 9 if wrong == "number" else 2).sign(b"something")
    assert PIN not in str(refused.value)
    assert refused.value.number == 66
