"""A PostgreSQL server of a test's own, where the machine has one: on loopback, in a folder that goes."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PLACES = ("usr/lib/postgresql/*/bin", "usr/local/pgsql/bin", "opt/homebrew/bin")
NOBODY = "nobody"
"""The server refuses to run as root."""


def programs() -> Path:
    """The folder with initdb and postgres; the test is skipped where there is none."""
    found = [place for pattern in PLACES for place in sorted(Path("/").glob(pattern))]
    found = [place for place in found if (place / "initdb").exists()]
    if not found:
        pytest.skip("there is no PostgreSQL server on this machine")
    return found[-1]


@contextmanager
def postgres() -> Iterator[str]:
    """A running server; yields the address of its database, and ends it."""
    place, user = programs(), NOBODY if os.getuid() == 0 else None
    # Not a test's own temporary folder: another user cannot get there.
    with tempfile.TemporaryDirectory(prefix="edgewright-postgres-") as name:
        if user:
            shutil.chown(name, user)
        cluster = f"{name}/cluster"
        made = [str(place / "initdb"), "-D", cluster, "-U", "edgewright", "-A", "trust", "-N"]
        subprocess.run(made, check=True, capture_output=True, cwd=name, user=user)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        chosen = ("listen_addresses=127.0.0.1", f"port={port}", "unix_socket_directories=", "fsync=off")
        settings = [word for setting in chosen for word in ("-c", setting)]
        server = subprocess.Popen(
            [str(place / "postgres"), "-D", cluster, *settings],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=name,
            user=user,
        )
        try:
            yield f"postgresql://edgewright@127.0.0.1:{port}/postgres"
        finally:
            server.terminate()
            server.wait(timeout=30)
