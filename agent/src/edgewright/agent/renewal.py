"""Renewing the certificate: ``python -m edgewright.agent.renewal DATA DOOR``, a process of its own.

The old certificate asks for the new one, over TLS (RFC 7030, ``simplereenroll``); each renewal has a new key.
An identity changes in one rename: a power cut leaves the old one or the new one. If the answer is lost, the
old one still holds, at the broker and for asking again.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from edgewright.agent.certificates import make_request, read_certificates, verify_granted
from edgewright.agent.devicekey import DeviceKey
from edgewright.agent.door import CERTIFICATES, RENEWAL, DoorError, ask
from edgewright.agent.identity import Identity, save
from edgewright.wire.errors import EdgewrightError, IdentityError, RenewalRefusedError


def renew(data: Path, door: str) -> Identity:
    """Renew once; the new identity, which is in force.

    Raises:
        RenewalRefusedError: the controller said no.
        IdentityError: it did not answer, or with something else; the old identity is in force.
    """
    held = Identity.load(data)
    context, key = held.tls_context(), DeviceKey.generate()
    authority = (held.folder / "ca.pem").read_bytes()
    headers = {"Content-Type": "application/pkcs10", "Content-Transfer-Encoding": "base64"}
    try:
        own = ask(door + RENEWAL, context, make_request(key, held.device), headers)
        issuers = ask(door + CERTIFICATES, context)
    except DoorError as error:
        raise (RenewalRefusedError if error.refused else IdentityError)(str(error)) from error
    certificates = [*read_certificates(own), *read_certificates(issuers)]
    granted = verify_granted(certificates, authority, key, held.device)
    try:
        save(
            data,
            held.device,
            key,
            certificates=granted.chain,
            authority=authority,
            issued=granted.issued,
            expires=granted.expires,
        )
    except OSError as error:
        raise IdentityError(f"The identity cannot be written to {data}: {error.strerror}.") from error
    return Identity.load(data)


def main(arguments: Sequence[str]) -> int:
    """Renew; the exit status."""
    data, door = arguments
    try:
        renew(Path(data), door)
    except EdgewrightError as error:
        sys.stderr.write(f"{error}\n")
        return error.number
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
