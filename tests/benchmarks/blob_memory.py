"""``python -m tests.benchmarks.blob_memory WAY MIB FOLDER``: the memory that one blob's coming takes.

``prepare`` puts an older blob and a patch into a store; ``chunks`` and ``patch`` let the newer blob come,
each in a process of its own, and print by how many KiB the process was ever larger than before (proc(5):
``VmHWM``, reset by ``clear_refs``, against ``VmRSS``). Nothing but the blob's coming happens in between.
"""

import argparse
import hashlib
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from edgewright.agent.patches import apply_patch
from edgewright.agent.store import Store
from edgewright.wire.canonical import sha256_hex
from edgewright.wire.manifest import CHUNK_BYTES, Blob, Patch

ROOT: Final = Path(__file__).parents[2]
SYNC_CHUNKS: Final = 64
CHANGED: Final = 16
"""Every so many chunks one differs between the two versions."""


def measure(way: str, mib: int, folder: Path) -> int:
    """KiB that the coming of a blob of so many MiB takes at most, by ``chunks`` or by a ``patch``."""
    if way == "patch":
        _step("prepare", mib, folder)
    return int(_step(way, mib, folder))


def _step(step: str, mib: int, folder: Path) -> str:
    command = [sys.executable, "-m", "tests.benchmarks.blob_memory", step, str(mib), str(folder)]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def _chunk(index: int, version: int) -> bytes:
    return random.Random(index * 10 + (version if index % CHANGED == 0 else 0)).randbytes(CHUNK_BYTES)


def _blob(count: int, version: int) -> Blob:
    whole, digests = hashlib.sha256(), []
    for index in range(count):
        data = _chunk(index, version)
        whole.update(data)
        digests.append(sha256_hex(data))
    return Blob(whole.hexdigest(), count * CHUNK_BYTES, tuple(digests))


def _fill(store: Store, blob: Blob, version: int) -> None:
    with store.partial(blob) as partial:
        for index, digest in enumerate(blob.chunks):
            partial.write(digest, _chunk(index, version))
        partial.finish()


def _prepare(count: int, folder: Path) -> None:
    """The controller's part, which holds both blobs."""
    from edgewright.controller.compiler.patches import encode_patch

    old, store = _blob(count, 1), Store(folder, sync_chunks=SYNC_CHUNKS)
    _fill(store, old, 1)
    old_bytes, new_bytes = (b"".join(_chunk(i, version) for i in range(count)) for version in (1, 2))
    data = encode_patch(old_bytes, new_bytes)
    patch = Patch(old.sha256, old.length, Blob(store.put(data), len(data), ()))
    (folder / "patch.json").write_bytes(msgspec.json.encode(patch))


def _coming(way: str, count: int, folder: Path) -> Callable[[], None]:
    new, store = _blob(count, 2), Store(folder, sync_chunks=SYNC_CHUNKS)
    if way == "chunks":
        return lambda: _fill(store, new, 2)
    patch = msgspec.json.decode((folder / "patch.json").read_bytes(), type=Patch)
    return lambda: apply_patch(store, patch, new)


def _kib(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"This kernel does not tell {name}.")
    return int(found[1])


def main() -> int:
    """One step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=("prepare", "chunks", "patch"))
    parser.add_argument("mib", type=int)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    count = given.mib * 2**20 // CHUNK_BYTES
    if given.way == "prepare":
        _prepare(count, given.folder)
        return 0
    come = _coming(given.way, count, given.folder)
    Path("/proc/self/clear_refs").write_text("5")
    before = _kib("VmRSS")
    come()
    print(_kib("VmHWM") - before)
    return 0


if __name__ == "__main__":
    sys.exit(main())
