"""Environments of the peers: one each below ``.peers``, made from a lock by hash when first asked for."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
ENVIRONMENTS: Final = ROOT / ".peers"


class PeerError(Exception):
    """The peer gave nothing; the message says why."""


def python_of(name: str) -> Path:
    """Python of a peer's environment, which is made when first asked for.

    Raises:
        PeerError: it cannot be installed.
    """
    folder, lock = ENVIRONMENTS / name, Path(__file__).with_name("peers") / f"{name}.lock"
    python, stamp = folder / "bin" / "python", folder / ".installed"
    if stamp.is_file() and stamp.stat().st_mtime >= lock.stat().st_mtime:
        return python
    base = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
    if base is None:
        raise PeerError("needs Python 3.11, which is not here")
    shutil.rmtree(folder, ignore_errors=True)
    pip: list[str | Path] = [
        python,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
        "--quiet",
    ]
    install: list[str | Path] = [*pip, "--no-compile", "--require-hashes", "--requirement", lock]
    create: list[str | Path] = [base, "-m", "venv", folder]
    for command in (create, install):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise PeerError(f"does not install: {last_line(done.stderr)}")
    stamp.touch()
    return python


def last_line(text: str) -> str:
    """What a program said last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no reason given"
