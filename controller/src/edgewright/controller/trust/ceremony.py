"""What people do with keys by hand: make one, begin a repository, read a request, sign it.

None of it needs a controller that runs; ``describe`` and ``sign`` need not even a data folder, so they work
on a machine that never had a network.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)
from securesystemslib.signer import CryptoSigner, Key, Signer

from edgewright.controller.durable import write_durably
from edgewright.controller.errors import (
    InvalidRequestError,
    KeyStoreError,
    SignatureRefusedError,
    SignaturesMissingError,
)
from edgewright.controller.trust import requests, words
from edgewright.controller.trust.changes import First
from edgewright.controller.trust.documents import TOP_LEVEL, check_role_name, role_keys
from edgewright.controller.trust.keys import KeyStore
from edgewright.controller.trust.pem import PIN_VARIABLE, load_private, public_pem, read_public
from edgewright.controller.trust.pkcs11 import TokenReference, find_key, open_token
from edgewright.controller.trust.repository import ImageRepository
from edgewright.controller.trust.requests import Request

Kind = Literal["ed25519", "p256"]

PUBLIC_SUFFIX: Final = ".pub"


def make_key(path: Path, kind: Kind = "ed25519", *, locked: bool = False) -> CryptoSigner:
    """Make a private key at ``path``, mode 0600, and its public part at ``path`` + ``.pub``.

    Args:
        path: where; nothing may be there.
        kind: of key; P-256 where another program needs it.
        locked: the file gets a passphrase, from EDGEWRIGHT_PIN.

    Raises:
        KeyStoreError: a file is there already or cannot be written, or there is no passphrase.
    """
    passphrase = os.environ.get(PIN_VARIABLE, "")
    if locked and not passphrase:
        raise KeyStoreError(f"The key shall have a passphrase and {PIN_VARIABLE} is not set.")
    signer = CryptoSigner.generate_ed25519() if kind == "ed25519" else CryptoSigner(_p256())
    data = signer.private_bytes
    if locked:
        data = _locked(data, passphrase.encode())
    _create(path, data)
    _create(path.with_name(path.name + PUBLIC_SUFFIX), public_pem(signer.public_key))
    return signer


def export_token(library: Path, label: str, number: int, path: Path) -> Key:
    """Write the public part of a token's key to ``path``.

    Raises:
        KeyStoreError: the token or the key is not there, or a file is.
    """
    key = open_token(find_key(library, label, number)).public_key
    _create(path, public_pem(key))
    return key


def token_signer(library: Path, label: str, number: int) -> Signer:
    """A signer over a token's key.

    Raises:
        KeyStoreError: the token or the key is not there.
    """
    return open_token(find_key(library, label, number))


def token_reference(library: Path, label: str, number: int) -> TokenReference:
    """Where a token's key is.

    Raises:
        KeyStoreError: the token or the key is not there.
    """
    return find_key(library, label, number)


def hold(data: Path, role: str, signer: Path | TokenReference) -> Key:
    """Let the controller of a data folder sign with a key by itself.

    Args:
        data: the data folder; the controller may run.
        role: whose key it is, for whoever looks into the folder; which roles it signs is signed data.
        signer: a private key file, which is copied, or where in a token the key is.

    Raises:
        KeyStoreError: the key cannot be read.
        DataFolderDamagedError: the folder cannot be written.
    """
    store = KeyStore(data / "keys")
    if isinstance(signer, TokenReference):
        return store.keep_token(f"image/{check_role(role)}", signer)
    return store.keep(f"image/{check_role(role)}", load_private(signer))


def check_role(role: str) -> str:
    """Return ``role`` if it can name a role: one of TUF's, ``release``, or a model.

    Raises:
        ModelTomlError: it cannot.
    """
    return role if role in TOP_LEVEL else check_role_name(role)


class Holder:
    """A key of the first root: a public one that somebody brought, or one that is made now."""

    def __init__(self, path: Path) -> None:
        self.signer: CryptoSigner | None = None
        if path.suffix == PUBLIC_SUFFIX:
            self.key = public_key(path)
        else:
            self.signer = make_key(path)
            self.key = self.signer.public_key


def begin(
    data: Path,
    root: Sequence[Holder],
    targets: Sequence[Holder],
    release: Sequence[Holder],
    thresholds: tuple[int, int, int],
) -> Request | None:
    """Begin a data folder's repository; returns the request that waits, None where all have signed.

    Args:
        data: the data folder of a controller that does not run.
        root: who holds its keys.
        targets: likewise.
        release: likewise, for models that get no keys of their own.
        thresholds: of root, targets and release.

    Raises:
        InvalidRequestError: the folder has a repository already, or a threshold cannot be.
        DataFolderDamagedError: it cannot be written.
    """
    verify_unbegun(data)
    keys = KeyStore(data / "keys")
    repository = open_folder(data, keys)
    online = {role: role_keys([keys.generate(f"image/{role}")], 1) for role in ("snapshot", "timestamp")}
    first = First(
        {
            "root": role_keys([holder.key for holder in root], thresholds[0]),
            "targets": role_keys([holder.key for holder in targets], thresholds[1]),
            **online,
        },
        role_keys([holder.key for holder in release], thresholds[2]),
    )
    with contextlib.suppress(SignaturesMissingError):
        repository.begin(first)
    here = [holder.signer for holder in (*root, *targets) if holder.signer is not None]
    for request in repository.requests():
        signed = requests.sign(request, here)
        if signed != request:
            repository.import_signatures(requests.encode(signed))
    return next(iter(repository.requests()), None)


def verify_unbegun(data: Path) -> None:
    """Refuse a data folder that has keys or waits for its first signatures, before any key is made.

    Raises:
        InvalidRequestError: it does.
    """
    if ImageRepository(data / "tuf" / "image", KeyStore(data / "keys")).is_begun:
        raise InvalidRequestError(f"{data} has keys already; `edgewright keys rotate` replaces them.")


def unbegun(data: Path) -> tuple[Request, ...] | None:
    """What waits in a data folder that has no root yet; None where it has one, or nothing waits.

    Raises:
        DataFolderDamagedError: a request cannot be read.
    """
    repository = ImageRepository(data / "tuf" / "image", KeyStore(data / "keys"))
    if repository.has_root or not repository.is_begun:
        return None
    return repository.requests()


def accept(data: Path, request: Request) -> Request | None:
    """Take a signed first root into a data folder; returns what still waits.

    Raises:
        SignatureRefusedError: it is out of date, or a signature does not count.
    """
    repository = open_folder(data)
    repository.import_signatures(requests.encode(request))
    return next(iter(repository.requests()), None)


def public_text(path: Path) -> str:
    """The public key in a file, as an order names it.

    Raises:
        KeyStoreError: it cannot be read, or is no public key.
    """
    return public_pem(public_key(path)).decode()


def public_key(path: Path) -> Key:
    """The public key in a file.

    Raises:
        KeyStoreError: it cannot be read, or is no public key.
    """
    try:
        return read_public(path.read_bytes())
    except OSError as error:
        raise KeyStoreError(f"The public key {path} cannot be read: {error.strerror}.") from error


def open_folder(data: Path, keys: KeyStore | None = None) -> ImageRepository:
    """The repository of a data folder, as far as it has begun; for a controller that does not run.

    Raises:
        DataFolderDamagedError: keys or files are missing or changed.
    """
    repository = ImageRepository(data / "tuf" / "image", keys or KeyStore(data / "keys"))
    if repository.is_begun:
        with contextlib.suppress(SignaturesMissingError):
            repository.ensure()
    return repository


def read_request(path: Path) -> Request:
    """The request in a file.

    Raises:
        SignatureRefusedError: it is none, or cannot be read.
    """
    try:
        return requests.decode(path.read_bytes())
    except OSError as error:
        raise SignatureRefusedError(f"{path} cannot be read: {error.strerror}.") from error


def describe(request: Request, known: Sequence[Key]) -> list[str]:
    """What a request asks to sign, read from the documents themselves; indented lines are details.

    Args:
        request: from a file that anybody may have written.
        known: the reader's own key, and others that he has not from this file; see ``words.describe``.

    Raises:
        SignatureRefusedError: a document is not what the request says.
    """
    lines = []
    for part in request.parts:
        first, *more = words.describe(part, known)
        lines += [first, *(f"  {line}" for line in (*more, *words.who(part)))]
    return lines


def signer_of(path: Path) -> Signer:
    """A signer over a private PEM file.

    Raises:
        KeyStoreError: it cannot be read.
    """
    return load_private(path)


def verify_asked(request: Request, signer: Signer) -> None:
    """Refuse a key that a request does not ask, or that has signed it.

    Raises:
        SignatureRefusedError: it is such a key.
    """
    keyid = signer.public_key.keyid
    parts = [part for part in request.parts if any(keyid in demand.keys for demand in part.demands)]
    if not parts:
        raise SignatureRefusedError(f"The key {keyid[:16]} is no key of a role that the request is about.")
    if all(keyid in part.signatures for part in parts):
        raise SignatureRefusedError(f"The key {keyid[:16]} has signed it already.")


def sign(path: Path, request: Request, signer: Signer) -> Request:
    """Sign a request and write it back; returns it.

    Raises:
        SignatureRefusedError: no document asks for this key, or it has signed already.
        KeyStoreError: the key's store refuses, or the file cannot be written.
    """
    verify_asked(request, signer)
    signed = requests.sign(request, [signer])
    try:
        write_durably(path, requests.encode(signed))
    except OSError as error:
        raise KeyStoreError(f"{path} cannot be written: {error.strerror}.") from error
    return signed


def _p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _locked(data: bytes, passphrase: bytes) -> bytes:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key: PrivateKeyTypes = load_pem_private_key(data, password=None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase))


def _create(path: Path, data: bytes) -> None:
    """Write a new private file; one that is there is never overwritten."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise KeyStoreError(f"{path} is there already and is not overwritten.") from error
    except OSError as error:
        raise KeyStoreError(f"{path} cannot be written: {error.strerror}.") from error
