"""``python -m edgewright.agent.verifier --fd N --trust DIR``: answers questions until nobody has any.

It has no network and no database. What it may use of the machine is limited before the first byte of signed
metadata is read; after some idle seconds it ends, and the memory goes back.
"""

import argparse
import logging
import resource
import socket
import sys
from pathlib import Path
from typing import Final

from edgewright.agent.footprint import keep_out, load_when_called, load_when_used
from edgewright.agent.servicemanager import set_up_log

SIGNERS: Final = ("azure", "boto3", "botocore", "google.cloud", "hvac", "keylet", "pkcs11")
"""Libraries of places that sign, which securesystemslib loads where it finds them; nothing is signed here."""

ADDRESS_SPACE_BYTES: Final = 512 * 1024 * 1024
CPU_SECONDS: Final = 60
FILE_BYTES: Final = 16 * 1024 * 1024
OPEN_FILES: Final = 64


def limit_resources() -> None:
    """Bound memory, processor time, files; leave no image of this memory behind."""
    for kind, limit in (
        (resource.RLIMIT_AS, ADDRESS_SPACE_BYTES),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        bounded = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (bounded, bounded))


def import_less() -> None:
    """Leave out of this process what takes half of the time of its start; before ``service`` is imported."""
    keep_out(SIGNERS)
    # ngclient's own fetcher, which nobody here uses, brings urllib3 by these two.
    load_when_used("urllib3")
    load_when_called("tuf.ngclient._internal.proxy", "ProxyEnvironment")


def main() -> int:
    """Run one verifier; its exit status."""
    parser = argparse.ArgumentParser(description="Verifies signed metadata for the agent that started it.")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--trust", type=Path, required=True)
    given = parser.parse_args()
    set_up_log(logging.WARNING, "verifier")
    limit_resources()
    import_less()
    from edgewright.agent.verifier.service import serve

    with socket.socket(fileno=given.fd) as connection:
        try:
            serve(connection, given.trust)
        except (BrokenPipeError, ConnectionResetError):
            return 0  # The supervisor is gone.
    return 0


if __name__ == "__main__":
    sys.exit(main())
