"""Signed statements: DSSE envelopes of in-toto statements, signed with the build key.

The build key is a P-256 key of its own in ``<data>/keys/build``: it vouches for what the controller saw of a
build, and it can release nothing. The processes that compile never hold it. P-256, because OpenSSF
model-signing takes no Ed25519, and one key for both signatures is one key to guard.

Nobody has to be told the build key in advance: a manifest names it (``Manifest.build_key``), and the release
keys sign the manifest.

Sources: DSSE v1.0 (https://github.com/secure-systems-lab/dsse), in-toto attestation v1.
"""

from functools import cached_property
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

from edgewright.controller.durable import write_durably
from edgewright.controller.errors import DataFolderDamagedError, ProvenanceError

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
KEY_FILE: Final = "build.pem"


class BuildKey:
    """The key that signs statements about builds; made at its first use.

    Args:
        data: the data folder.
    """

    def __init__(self, data: Path) -> None:
        self.path = data / "keys" / "build" / KEY_FILE

    @cached_property
    def private(self) -> EllipticCurvePrivateKey:
        """The key itself.

        Raises:
            DataFolderDamagedError: it cannot be made or read, or is of another kind.
        """
        try:
            if not self.path.exists():
                write_durably(self.path, CryptoSigner.generate_ecdsa().private_bytes)
            key = load_pem_private_key(self.path.read_bytes(), password=None)
        except OSError as error:
            said = f"The build key {self.path} cannot be had: {error.strerror}."
            raise DataFolderDamagedError(said) from error
        except (ValueError, TypeError) as error:
            raise DataFolderDamagedError(f"The build key {self.path} is no key.") from error
        if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
            raise DataFolderDamagedError(f"The build key {self.path} is no P-256 key.")
        return key

    @property
    def public_der(self) -> bytes:
        """The public key as SubjectPublicKeyInfo (RFC 5280, section 4.1)."""
        return self.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, statement: bytes) -> bytes:
        """The envelope of a statement, as JSON.

        Raises:
            DataFolderDamagedError: the key cannot be read or made.
        """
        envelope = Envelope(statement, PAYLOAD_TYPE, {})
        envelope.sign(CryptoSigner(self.private))
        return msgspec.json.encode(envelope.to_dict(), order="sorted")


def open_envelope(data: bytes, public_der: bytes) -> bytes:
    """The statement in an envelope that the key has signed.

    Raises:
        ProvenanceError: the bytes are no envelope, hold something else, or the key has not signed them.
    """
    try:
        envelope = Envelope.from_dict(msgspec.json.decode(data, type=dict))
        key = SSlibKey.from_crypto(load_der_public_key(public_der))
        envelope.verify([key], 1)
    except VerificationError as error:
        raise ProvenanceError("A statement about the build is not signed by the build key.") from error
    # securesystemslib raises a KeyError, TypeError or ValueError for most of what is no envelope.
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProvenanceError("A statement about the build cannot be read.") from error
    if envelope.payload_type != PAYLOAD_TYPE:
        raise ProvenanceError(f"A signed envelope holds {envelope.payload_type[:80]!r}, not a statement.")
    return envelope.payload
