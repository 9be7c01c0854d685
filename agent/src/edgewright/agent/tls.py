"""TLS as this device speaks it: the only file of the agent that imports ssl.

Trusted is the fleet's own certificate authority, pinned at enrolment, and nobody else: the machine's list of
authorities is never asked. The other side has to have a certificate for the name that was dialled.

**The times in the other side's certificate are not looked at.** A board without a battery starts in 1970, or
its clock is years ahead: it could then reach neither the broker nor, through the broker, the signed time that
sets it right, and would be lost for good. What a stolen old server key can do with this is little: everything
that a device acts on is signed by other keys. The other side does look at the times of this device's.
"""

import ssl
from pathlib import Path
from typing import Final, TypeAlias

from edgewright.wire.errors import IdentityError

TlsContext: TypeAlias = ssl.SSLContext

NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which the module ssl has no name for."""


def trusting(authority_pem: str) -> ssl.SSLContext:
    """A client's context that trusts one authority.

    Raises:
        IdentityError: the text holds no certificate.
    """
    try:
        context = ssl.create_default_context(cadata=authority_pem)
    except ssl.SSLError as error:
        raise IdentityError("The certificate of the fleet's authority cannot be read.") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags = ssl.VerifyFlags(context.verify_flags | NO_CHECK_TIME)
    return context


def presenting(folder: Path) -> ssl.SSLContext:
    """A client's context that trusts the authority in a folder and shows the certificate in it.

    Raises:
        IdentityError: one of ``ca.pem``, ``cert.pem`` and ``key.pem`` cannot be used.
    """
    try:
        context = trusting((folder / "ca.pem").read_text())
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    except (OSError, UnicodeDecodeError) as error:  # ssl.SSLError is an OSError
        raise IdentityError(f"The identity in {folder} cannot be used: {error}.") from error
    return context


def unverified() -> ssl.SSLContext:
    """A client's context that trusts anybody: only to fetch what is then compared with a fingerprint."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
