"""Signing keys in a PKCS#11 token: a smart card, a YubiKey, an HSM, or softhsm2 on a bench.

The key never leaves the token. What lies on disk is a reference: the library, the token's label, the key's
number in it (CKA_ID) and the public key. The PIN comes from EDGEWRIGHT_PIN, never from a command line, where
every process of the machine could read it. P-256 only: what all such tokens have.

One process can use one library: PKCS#11 libraries keep state that two of them would share.
"""

import os
from pathlib import Path
from typing import Any, Final

import msgspec
from securesystemslib.exceptions import Error as SecuresystemslibError
from securesystemslib.signer import HSMSigner, Key, Signature, Signer, SSlibKey

from edgewright.controller.errors import KeyStoreError
from edgewright.controller.trust.pem import PIN_VARIABLE, SCHEMES

_LIBRARY_VARIABLE: Final = "PYKCS11LIB"
"""Where securesystemslib looks for the library's path."""


class TokenReference(msgspec.Struct, frozen=True):
    """Where a key is.

    Attributes:
        library: path of the token's PKCS#11 library.
        label: of the token; empty where there is only one.
        number: of the key in the token (CKA_ID).
        key: its public part, as TUF writes it.
    """

    library: str
    label: str
    number: int
    key: dict[str, Any] = {}


class TokenSigner(Signer):
    """Signs in a token; every refusal of the token is a ``KeyStoreError``."""

    def __init__(self, library: str, signer: HSMSigner) -> None:
        self._library = library
        self._signer = signer

    @classmethod
    def from_priv_key_uri(cls, priv_key_uri: str, public_key: Key, secrets_handler: Any = None) -> Signer:
        """Not used: a reference is a file of ours; see ``open_token``."""
        raise NotImplementedError

    @property
    def public_key(self) -> SSlibKey:
        """The key's public part."""
        return self._signer.public_key

    def sign(self, payload: bytes) -> Signature:
        """Sign in the token.

        Raises:
            KeyStoreError: no token, no such key, or a wrong PIN.
        """
        os.environ[_LIBRARY_VARIABLE] = self._library
        try:
            return self._signer.sign(payload)
        except KeyStoreError:
            raise
        # python-pkcs11 has some forty exceptions without a root that means "the token said no".
        except Exception as error:
            raise _refused(error) from error


def find_key(library: Path, label: str, number: int) -> TokenReference:
    """Look a key up in a token.

    Raises:
        KeyStoreError: no library, no token, no such key, or a wrong PIN.
    """
    if not library.is_file():
        raise KeyStoreError(f"There is no PKCS#11 library at {library}.")
    os.environ[_LIBRARY_VARIABLE] = str(library)
    try:
        _, key = HSMSigner.import_(number, label or None, _pin)
    except KeyStoreError:
        raise
    except Exception as error:
        raise _refused(error) from error
    if key.scheme not in SCHEMES:
        raise KeyStoreError(f"The token's key {number} is of {key.scheme}; make a P-256 key.")
    return TokenReference(str(library), label, number, {"keyid": key.keyid, **key.to_dict()})


def open_token(reference: TokenReference) -> TokenSigner:
    """A signer over a reference that ``find_key`` made; the token is asked when it signs.

    Raises:
        KeyStoreError: the reference holds no usable public key.
    """
    described = dict(reference.key)
    try:
        key = SSlibKey.from_dict(described.pop("keyid"), described)
        signer = HSMSigner(reference.number, key, _pin, reference.label or None)
    except (KeyError, TypeError, ValueError, SecuresystemslibError) as error:
        raise KeyStoreError("A reference to a key in a token cannot be read.") from error
    return TokenSigner(reference.library, signer)


def has_pin() -> bool:
    """Whether a PIN was given, so that a token can be asked at all."""
    return bool(os.environ.get(PIN_VARIABLE))


def _pin(secret: str) -> str:
    del secret
    pin = os.environ.get(PIN_VARIABLE, "")
    if not pin:
        raise KeyStoreError(f"The token wants a PIN and {PIN_VARIABLE} is not set.")
    return pin


def _refused(error: Exception) -> KeyStoreError:
    said = str(error) or type(error).__name__
    return KeyStoreError(f"The token refused: {said}.")
