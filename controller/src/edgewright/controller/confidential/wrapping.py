"""Wrapping a content key for one device: HPKE to the key that the device enrolled with.

What is wrapped opens with that device's private key only, and only as the key of this model and version: all
three stand in HPKE's ``info``. Each wrapping is fresh, so an assignment that is issued again carries other
bytes. When a device has renewed its key, its next assignment is wrapped for the new one; assignments are
issued again every day, and until then the device still has its last key.

Source: RFC 9180, base mode, DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
"""

import logging
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import load_der_public_key

from edgewright.controller.confidential.keys import ContentKeys
from edgewright.controller.database.engine import Database
from edgewright.controller.database.tables import Artifact, Device
from edgewright.wire.encryption import wrapping_info
from edgewright.wire.errors import ConfidentialKeyError, EdgewrightError

_log = logging.getLogger(__name__)

SUITE: Final = Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def wrap(content_key: bytes, public_der: bytes, info: bytes) -> str:
    """The content key for one device's key, in hexadecimal.

    Args:
        content_key: of the version.
        public_der: the device's P-256 key, SubjectPublicKeyInfo.
        info: see ``edgewright.wire.encryption.wrapping_info``.

    Raises:
        ConfidentialKeyError: the device's key is none that can be wrapped for.
    """
    try:
        public = load_der_public_key(public_der)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfidentialKeyError("The device's public key cannot be read.") from error
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise ConfidentialKeyError("The device's public key is no P-256 key.")
    return SUITE.encrypt(content_key, public, info=info).hex()


class Wrapper:
    """What an assigner asks for ``Orders.content_key``: called with a device's id and an artifact.

    What cannot be wrapped is logged and left empty: the device then refuses the release with error 29 and
    says so, where an exception here would hold back the assignments of all other devices.
    """

    def __init__(self, db: Database, data: Path) -> None:
        self._db, self._keys = db, ContentKeys(data)

    def __call__(self, device: str, artifact: Artifact) -> str:
        """The wrapped content key; empty for an artifact that is not confidential, or where there is none."""
        if not artifact.confidential:
            return ""
        with self._db.reading() as session:
            known = session.get(Device, device)
        info = wrapping_info(artifact.model, artifact.version, device)
        try:
            content_key = self._keys.read(artifact.model, artifact.version)
            return wrap(content_key, known.public_key if known else b"", info)
        except EdgewrightError as error:
            _log.error(
                "%s gets no content key of %s v%d: %s", device, artifact.model, artifact.version, error
            )
            return ""
