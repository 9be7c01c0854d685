"""What a toolchain's Python is started with: ``python -P -s entry.py SCRIPT FOLDER``.

The folder has ``request.json``; the script's ``run(request, folder)`` answers with what becomes
``result.json``. Arrays travel as .npz files in the folder. This file and the scripts beside it run in
environments that have neither Edgewright nor what it depends on, so they import nothing of it.

No tool has any business on the network, and one of them has fetched calibration pictures on a plain
conversion: a connection to another machine is refused here.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

NICENESS: Final = 5
"""As the build's own; a child of a build has it already."""

MAX_WORDS_CHARACTERS: Final = 300
REFUSED: Final = frozenset({"socket.connect", "socket.getaddrinfo", "socket.sendto"})


def _stay_off_the_network(event: str, arguments: tuple[Any, ...]) -> None:
    # A path or bytes is a Unix socket's address.
    if event in REFUSED and not isinstance(arguments[-1], str | bytes):
        raise PermissionError("a toolchain may not use the network")


def words_of(error: BaseException) -> str:
    """Class and first line of an error, for people."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}"[:MAX_WORDS_CHARACTERS] if lines else type(error).__name__


def main() -> None:
    """Run a script, and write its result or its error."""
    script, folder = Path(sys.argv[1]), Path(sys.argv[2])
    os.nice(max(0, NICENESS - os.nice(0)))
    sys.addaudithook(_stay_off_the_network)
    sys.path.insert(0, str(script.parent))
    specification = importlib.util.spec_from_file_location("toolchain_script", script)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    answer: dict[str, Any]
    try:
        specification.loader.exec_module(module)
        request = json.loads((folder / "request.json").read_bytes())
        answer = {"result": module.run(request, folder)}
    except Exception as error:  # noqa: BLE001 - the top of a process; foreign code raises anything
        answer = {"error": words_of(error)}
    (folder / "result.json.part").write_text(json.dumps(answer))
    (folder / "result.json.part").rename(folder / "result.json")
    sys.stdout.flush()
    # Native threads of a runtime may hang at an interpreter's end, and nothing is left to do.
    os._exit(0)


if __name__ == "__main__":
    main()
