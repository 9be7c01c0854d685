"""Requests for certificates (PKCS#10, RFC 2986), and what answers them (certs-only PKCS#7, RFC 7030).

A request proves that its sender holds a key, and is believed in nothing else: names and extensions in it are
not looked at. Who the certificate is for comes from the enrolment token, or from the certificate that is
renewed.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7

from edgewright.controller.errors import CertificateRequestError

MAX_REQUEST_BYTES: Final = 4096
"""A request with a P-256 key has about 250 bytes; some programs add a few extensions."""


def key_in(request: bytes) -> ec.EllipticCurvePublicKey:
    """The public key of a request (DER), possession of the private one being proven.

    Raises:
        CertificateRequestError: too long, no request, another kind of key, or a wrong signature.
    """
    if len(request) > MAX_REQUEST_BYTES:
        raise CertificateRequestError(f"A certificate request may have {MAX_REQUEST_BYTES} bytes at most.")
    try:
        parsed = x509.load_der_x509_csr(request)
        key = parsed.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise CertificateRequestError("The key of the certificate request is no P-256 key.")
        signed = parsed.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise CertificateRequestError("The bytes are no certificate request.") from error
    if not signed:
        raise CertificateRequestError("The certificate request is not signed by its own key.")
    return key


def decode_base64(text: bytes) -> bytes:
    """DER from base64, line breaks allowed (RFC 8951, section 2.1).

    Raises:
        CertificateRequestError: it is none, or far too long.
    """
    if len(text) > 2 * MAX_REQUEST_BYTES:
        raise CertificateRequestError(f"A certificate request may have {MAX_REQUEST_BYTES} bytes at most.")
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise CertificateRequestError("The certificate request is not encoded in base64.") from error


def certs_only(certificates: Sequence[x509.Certificate]) -> bytes:
    """Certificates as a degenerate PKCS#7, base64 with line breaks (RFC 7030, sections 4.1.3 and 4.2.3)."""
    return base64.encodebytes(pkcs7.serialize_certificates(list(certificates), serialization.Encoding.DER))
