"""What lies on disk while something is compiled is nobody else's, and is gone afterwards."""

import subprocess
import sys
from pathlib import Path

import pytest

from edgewright.controller.compiler.protocol import BuildRequest
from edgewright.controller.compiler.scratch import PREFIX, scratch
from edgewright.controller.compiler.worker import run_build
from edgewright.controller.errors import BuildInterruptedError
from tests.controller.small_model import write_folder


def _environments() -> str:
    found = []
    for place in Path("/proc").glob("[0-9]*/environ"):
        try:
            found.append(place.read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return "\0".join(found)


def test_a_stopped_build_leaves_no_file(tmp_path: Path) -> None:
    """The child's temporary files lie in a private folder, and go with it when it is killed."""
    model, data = write_folder(tmp_path / "model"), tmp_path / "data"
    seen: list[int] = []

    def is_stopped() -> bool:
        for folder in data.glob(f"{PREFIX}*"):
            assert f"TMPDIR={folder}" in _environments()
            (folder / "model.onnx").write_bytes(b"secret")
            seen.append(folder.stat().st_mode & 0o777)
        return bool(seen)

    request = BuildRequest(
        folder=str(model), blobs=str(data / "blobs"), version=1, release_counter=1, scratch=str(data)
    )
    with pytest.raises(BuildInterruptedError, match="was stopped"):
        run_build(request, is_stopped=is_stopped)
    assert set(seen) == {0o700}
    assert list(data.iterdir()) == []


def test_the_next_one_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    """A folder whose process was killed is removed by the next; one that is in use stays."""
    program = (
        "import os, pathlib, sys\n"
        "from edgewright.controller.compiler.scratch import scratch\n"
        "with scratch(pathlib.Path(sys.argv[1])) as place:\n"
        "    (place / 'model.onnx').write_bytes(b'secret')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert ended.returncode == -9
    (left,) = tmp_path.iterdir()
    assert (left / "model.onnx").exists()
    with scratch(tmp_path) as first, scratch(tmp_path) as second:
        assert set(tmp_path.iterdir()) == {first, second}
        (first / "model.onnx").write_bytes(b"secret")
    assert list(tmp_path.iterdir()) == []
