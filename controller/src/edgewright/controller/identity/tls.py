"""TLS as the controller speaks it: the only file of the controller that imports ssl."""

import ssl
from pathlib import Path
from typing import Final, TypeAlias

from edgewright.controller.errors import CertificateAuthorityError

TlsContext: TypeAlias = ssl.SSLContext

NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which the module ssl has no name for."""


def trusting(authorities: Path) -> TlsContext:
    """What somebody speaks to the door with who shows no certificate.

    Raises:
        OSError: the file cannot be read, or holds no certificate.
    """
    context = ssl.create_default_context(cafile=authorities)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def client_context(authorities: Path, own: Path) -> ssl.SSLContext:
    """What the controller speaks to a broker with.

    Args:
        authorities: the trusted certificates, PEM.
        own: key and certificate of this side in one file.

    Raises:
        CertificateAuthorityError: one of them cannot be used.
    """
    try:
        context = trusting(authorities)
        context.load_cert_chain(own)
    except OSError as error:  # ssl.SSLError is an OSError
        raise CertificateAuthorityError(f"The certificate {own} cannot be used: {error}.") from error
    return context


def door_context(authorities: Path, own: Path) -> ssl.SSLContext:
    """What the HTTPS door listens with: a client may show a certificate of the fleet, and none other.

    The times of that certificate are not looked at here, because one that expired a short while ago may
    still be renewed: whoever reads it decides.

    Raises:
        CertificateAuthorityError: one of the files cannot be used.
    """
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(own)
        context.load_verify_locations(authorities)
    except OSError as error:
        raise CertificateAuthorityError(f"The certificate {own} cannot be used: {error}.") from error
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags = ssl.VerifyFlags(context.verify_flags | NO_CHECK_TIME)
    return context


def show_anew(context: TlsContext, own: Path) -> None:
    """Let a context show a renewed certificate from its next connection on."""
    context.load_cert_chain(own)


def peer_certificate(connection: object) -> bytes:
    """The DER of the certificate that the other side showed; empty where it showed none."""
    if isinstance(connection, ssl.SSLObject):
        return connection.getpeercert(binary_form=True) or b""
    return b""
