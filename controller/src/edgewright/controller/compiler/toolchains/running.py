"""Running a script in a toolchain's environment: JSON in, JSON out, arrays as files, and a time limit.

The child is a plain ``python`` of that environment, isolated as ``-I`` would (``-P -s`` and no PYTHON
variables of ours), except that its hash seed is fixed: sets of strings then have one order, which tools let
through into what they write. It ends with the thread that started it, and inherits a build's niceness. No
pickle crosses the border in either direction.
"""

import io
import json
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgewright.controller.broker.tether import tethered
from edgewright.controller.childenvironment import child_environment
from edgewright.controller.compiler.toolchains.places import require
from edgewright.controller.errors import ToolchainFailedError

INSIDE: Final = Path(__file__).parent / "inside"
"""Scripts that come with Edgewright."""

LIMIT_S: Final = 600.0
_LAST_WORDS_CHARACTERS: Final = 300


class Outcome(NamedTuple):
    """How a script ended.

    Attributes:
        result: what it answered; None where it did not.
        words: why not, in words.
        crashed: whether native code took the process with it.
    """

    result: dict[str, Any] | None
    words: str = ""
    crashed: bool = False


def run_in(
    toolchain: str, script: Path, request: Mapping[str, Any], folder: Path, limit_s: float = LIMIT_S
) -> dict[str, Any]:
    """Run a script's ``run(request, folder)`` in a toolchain's environment.

    Args:
        toolchain: its name.
        script: a file that imports only what that environment has.
        request: JSON values.
        folder: an empty folder of its own; arrays and files lie in it, both ways.
        limit_s: the child is killed after so many seconds.

    Returns:
        What the script answered.

    Raises:
        ToolchainMissingError: it is not installed.
        ToolchainFailedError: it ended without a result; the sentence has its last words.
    """
    outcome = run_script(require(toolchain).python, script, request, folder, limit_s)
    if outcome.result is None:
        raise ToolchainFailedError(f"The toolchain {toolchain} gave no result: {outcome.words}.")
    return outcome.result


def run_script(
    python: Path, script: Path, request: Mapping[str, Any], folder: Path, limit_s: float = LIMIT_S
) -> Outcome:
    """Run a script by an interpreter; see ``run_in``. It raises nothing."""
    answer = folder / "result.json"
    answer.unlink(missing_ok=True)
    (folder / "request.json").write_text(json.dumps(request))
    program = [str(python), "-P", "-s", str(INSIDE / "entry.py"), str(script), str(folder)]
    with tempfile.TemporaryFile() as log:
        try:
            ended = subprocess.run(
                tethered(program),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                timeout=limit_s,
                cwd=folder,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Outcome(None, f"it took more than {limit_s:.0f} s")
        log.seek(0)
        said = log.read().decode(errors="replace").strip().splitlines()
    if not answer.exists():
        how = _ending(ended.returncode)
        return Outcome(
            None, f"{how}; its last words: {_last(said)}" if said else how, crashed=ended.returncode < 0
        )
    read = json.loads(answer.read_bytes())
    return Outcome(read["result"]) if "result" in read else Outcome(None, str(read["error"]).rstrip("."))


def pack_arrays(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Arrays as the bytes of a .npz file, numbered: their names may hold any character, and go elsewhere."""
    packed = io.BytesIO()
    np.savez(
        packed, allow_pickle=False, **{str(n): np.asarray(each) for n, each in enumerate(arrays.values())}
    )
    return packed.getvalue()


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> list[str]:
    """Write arrays beside a request; the names go into the request."""
    path.write_bytes(pack_arrays(arrays))
    return list(arrays)


def read_arrays(path: Path, names: list[str]) -> dict[str, NDArray[Any]]:
    """Read what ``write_arrays``, or a script in the same form, wrote."""
    with np.load(path, allow_pickle=False) as held:
        return {name: held[str(number)] for number, name in enumerate(names)}


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in child_environment().items() if not name.startswith("PYTHON")}
    return {**kept, "PYTHONHASHSEED": "0", "TF_CPP_MIN_LOG_LEVEL": "3", "TQDM_DISABLE": "1"}


def _ending(status: int) -> str:
    if status < 0:
        return f"it was ended by {signal.Signals(-status).name}"
    return f"it ended with exit status {status}"


def _last(said: list[str]) -> str:
    return said[-1][:_LAST_WORDS_CHARACTERS].rstrip(".")
