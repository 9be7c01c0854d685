"""Bytes and characters for the zoo's feeds: this repository's own files, and sentences."""

import gzip
import io
import json
import wave
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.zoo.pictures import Role, scene
from tests.zoo.sounds import speech

ROOT: Final = Path(__file__).resolve().parents[2]

_TYPES: Final = {
    ".py": "python",
    ".md": "markdown",
    ".html": "html",
    ".toml": "toml",
    ".svg": "svg",
    ".js": "javascript",
    ".css": "css",
    ".c": "c",
    ".npz": "npz",
    ".onnx": "onnx",
}
"""Types of the repository's files, as the classifier names them."""

_FOLDERS: Final = ("agent", "controller", "docs", "models", "simulators", "tests")
_FILES_A_TYPE: Final = 12
_DRAWN: Final = 6
_ENDS: Final = 1024
"""Bytes that the classifier looks at, from either end."""

_PADDING: Final = 256


def files(role: Role, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """Files with the name of their type: the repository's, every other one for each role, and drawn ones."""
    for suffix, kind in _TYPES.items():
        found = sorted(path for folder in _FOLDERS for path in (ROOT / folder).rglob(f"*{suffix}"))
        mine = [path for path in found if path.stat().st_size > 64][role == "holdout" :: 2]
        for path in mine[:: max(1, len(mine) // _FILES_A_TYPE)][:_FILES_A_TYPE]:
            yield kind, path.read_bytes()
    for _ in range(_DRAWN):
        yield from _drawn_files(role, rng)


def look(data: bytes) -> NDArray[np.int32]:
    """What the classifier is given of a file, int32 ``[1, 2048]``: both ends without white space, padded."""
    head, tail = data[:4096].lstrip()[:_ENDS], data[-4096:].rstrip()[-_ENDS:]
    row = np.full((1, 2 * _ENDS), _PADDING, np.int32)
    row[0, : len(head)] = np.frombuffer(head, np.uint8)
    row[0, 2 * _ENDS - len(tail) :] = np.frombuffer(tail, np.uint8)
    return row


def sentences(role: Role, rng: np.random.Generator, length: int, ids: dict[str, int]) -> Iterator[list[int]]:
    """Arabic sentences as the numbers of their letters, cut and joined to one length."""
    lines = Path(__file__).with_name("arabic.txt").read_text(encoding="utf-8").splitlines()
    mine = lines[role == "holdout" :: 2]
    while True:
        text = " ".join(mine[i] for i in rng.permutation(len(mine)))
        start = int(rng.integers(0, 60))
        yield [ids[letter] for letter in text[start:] if letter in ids][:length]


def _drawn_files(role: Role, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    picture = scene(rng, 64, 64, role)
    yield "png", bytes(cv2.imencode(".png", picture)[1])
    yield "jpeg", bytes(cv2.imencode(".jpg", picture)[1])
    yield "bmp", bytes(cv2.imencode(".bmp", picture)[1])
    table = rng.normal(0, 10, (40, 5)).round(2)
    yield "csv", "\n".join(["a,b,c,d,e", *(",".join(map(str, row)) for row in table)]).encode()
    records = [dict(zip("abcde", row, strict=True)) for row in table.tolist()]
    yield "json", json.dumps(records, indent=1).encode()
    yield "gzip", gzip.compress(table.tobytes(), mtime=0)
    packed, sound = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("table.csv"), table.tobytes())
    yield "zip", packed.getvalue()
    with wave.open(sound, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes((speech(rng, 0.2, 16_000) * 32767).astype("<i2").tobytes())
    yield "wav", sound.getvalue()
