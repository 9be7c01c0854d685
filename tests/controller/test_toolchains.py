"""Toolchains: their table and locks, how they are found, installed whole or not at all, and run.

Installation is tested with a package of one file that is made here, so no index is asked.
"""

import hashlib
import json
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from edgewright.controller.cli import main
from edgewright.controller.compiler.targets import TARGETS
from edgewright.controller.compiler.toolchains.installing import choose_python, install, remove
from edgewright.controller.compiler.toolchains.places import (
    MARK,
    Mark,
    find_installed,
    find_own,
    folder_variable,
    require,
    toolchains_folder,
)
from edgewright.controller.compiler.toolchains.running import INSIDE, run_script
from edgewright.controller.compiler.toolchains.table import TOOLCHAINS, Toolchain, find_toolchain
from edgewright.controller.errors import InvalidRequestError, ToolchainFailedError, ToolchainMissingError

HERE: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
PATIENCE_SECONDS: Final = 60.0
WHEEL: Final = "tiny_tool-1.2.3-py3-none-any.whl"

WORKS: Final = "def run(request, folder):\n    import tiny_tool\n    return {'answer': tiny_tool.ANSWER}\n"
FAILS: Final = "def run(request, folder):\n    raise RuntimeError('it does not work')\n"
HANGS: Final = (
    "import pathlib, time\n"
    "def run(request, folder):\n    pathlib.Path({here!r}).touch()\n    time.sleep(600)\n"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of toolchains of this test's own, and an index that has one package."""
    monkeypatch.setenv("EDGEWRIGHT_TOOLCHAINS", str(tmp_path / "toolchains"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with zipfile.ZipFile(tmp_path / WHEEL, "w") as wheel:
        wheel.writestr("tiny_tool.py", "ANSWER = 42\n")
        wheel.writestr(
            "tiny_tool-1.2.3.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-tool\nVersion: 1.2.3\n"
        )
        wheel.writestr(
            "tiny_tool-1.2.3.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr("tiny_tool-1.2.3.dist-info/RECORD", "")
    return tmp_path


def _toolchain(folder: Path, probe: str = WORKS, sha256: str = "") -> Toolchain:
    script = folder / "probe.py"
    script.write_text(probe)
    digest = sha256 or hashlib.sha256((folder / WHEEL).read_bytes()).hexdigest()
    return Toolchain(
        name="tiny",
        summary="One file.",
        packages={"tiny-tool": ("1.0", "2.0")},
        python=(HERE,),
        probe=str(script),
        requirements=(),
        lock=f"# made here\ntiny-tool==1.2.3 \\\n    --hash=sha256:{digest}\n",
    )


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "toolchains").iterdir() if not path.name.endswith(".lock"))


def test_what_targets_need_is_in_the_table() -> None:
    """Each environment and each tool that a target names is a toolchain."""
    named = {name for target in TARGETS.values() for name in (target.environment, *target.needs) if name}
    assert named
    assert named <= set(TOOLCHAINS)


@pytest.mark.parametrize("name", sorted(TOOLCHAINS))
def test_a_lock_pins_by_hash_and_names_no_place(name: str) -> None:
    """Each lock pins its main package and every other one with a hash, without what the row leaves out, and
    without an address or a path.
    """
    toolchain = TOOLCHAINS[name]
    entries = [
        entry for entry in toolchain.lock.replace("\\\n", "").splitlines() if not entry.startswith("#")
    ]
    assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)
    pinned = {entry.partition("==")[0].replace("_", "-") for entry in entries}
    assert set(toolchain.packages) <= pinned
    assert not pinned & set(toolchain.without)
    assert "/" not in toolchain.lock.replace("`edgewright toolchain install`", "")
    assert (INSIDE / toolchain.probe).is_file()


def test_an_unknown_toolchain_is_refused() -> None:
    """A name that is in no row is refused, and the sentence has those that are."""
    with pytest.raises(InvalidRequestError, match="openvino, litert"):
        find_toolchain("tensorflow")


def test_the_folder_is_named_or_below_the_users_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is the variable's, else below XDG_DATA_HOME; a child is told the same one."""
    monkeypatch.setenv("EDGEWRIGHT_TOOLCHAINS", str(tmp_path / "mine"))
    assert toolchains_folder() == tmp_path / "mine"
    assert folder_variable() == {"EDGEWRIGHT_TOOLCHAINS": str(tmp_path / "mine")}
    monkeypatch.delenv("EDGEWRIGHT_TOOLCHAINS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert toolchains_folder() == tmp_path / "edgewright" / "toolchains"


def test_a_toolchain_is_installed_once_whole_and_removed(folder: Path) -> None:
    """The environment is made, proven and found; a second one does nothing. One whose probe fails, or
    whose package has another hash, leaves the old environment as it was and nothing beside it. Removed, it is
    gone.
    """
    toolchain, shares = _toolchain(folder), list[float]()
    place = install(toolchain, on_progress=lambda _words, share: shares.append(share))
    assert (place.version, place.own) == ("1.2.3", False)
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    made_at = (folder / "toolchains" / "tiny").stat().st_mtime_ns
    assert install(toolchain) == place
    other_lock = toolchain.lock.replace("tiny-tool", "tiny_tool")
    with pytest.raises(ToolchainFailedError, match="it does not work"):
        install(msgspec.structs.replace(_toolchain(folder, FAILS), lock=other_lock))
    with pytest.raises(ToolchainFailedError, match="tiny cannot be installed"):
        install(_toolchain(folder, sha256="0" * 64))
    assert (folder / "toolchains" / "tiny").stat().st_mtime_ns == made_at
    assert _left(folder) == ["tiny"]
    assert remove(toolchain)
    assert find_installed(toolchain) is None
    assert not remove(toolchain)
    assert _left(folder) == []


def test_a_killed_installation_counts_for_nothing(folder: Path) -> None:
    """Killed while it tries the environment, an installation leaves no toolchain; the next one makes it and
    clears what was left.
    """
    begun = folder / "begun"
    toolchain = _toolchain(folder, HANGS.format(here=str(begun)))
    (folder / "row.json").write_bytes(msgspec.json.encode(toolchain))
    program = (
        "import sys, msgspec, pathlib\n"
        "from edgewright.controller.compiler.toolchains.installing import install\n"
        "from edgewright.controller.compiler.toolchains.table import Toolchain\n"
        "install(msgspec.json.decode(pathlib.Path(sys.argv[1]).read_bytes(), type=Toolchain))\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(folder / "row.json")]) as child:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not begun.exists():
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
    assert find_installed(toolchain) is None
    assert _left(folder) != []
    assert install(_toolchain(folder)).version == "1.2.3"
    assert _left(folder) == ["tiny"]


def test_an_environment_of_another_lock_does_not_count(folder: Path) -> None:
    """An environment that another release made is not used, and the sentence says so."""
    environment = folder / "toolchains" / "onnx2tf"
    environment.mkdir(parents=True)
    (environment / MARK).write_bytes(msgspec.json.encode(Mark("onnx2tf", "0" * 64, "3.12")))
    with pytest.raises(ToolchainMissingError, match="onnx2tf was installed by another release"):
        require("onnx2tf")


def test_the_controllers_own_environment_counts_in_range(folder: Path) -> None:
    """A package beside the controller counts in the row's range, and not outside of it."""
    row = msgspec.structs.replace(_toolchain(folder), packages={"numpy": ("1.0", "100.0")})
    found = find_own(row)
    assert found is not None
    assert (found.own, found.python) == (True, Path(sys.executable))
    assert find_own(msgspec.structs.replace(row, packages={"numpy": ("1.0", "1.1")})) is None
    assert (
        find_own(msgspec.structs.replace(row, packages={"numpy": ("1.0", "100.0"), "tiny-tool": ("1", "2")}))
        is None
    )


def test_a_python_of_the_wrong_version_is_refused(folder: Path) -> None:
    """A named Python of another version, and one that does not start, are refused with what is needed."""
    toolchain = msgspec.structs.replace(_toolchain(folder), python=("2.7",))
    with pytest.raises(ToolchainFailedError, match=rf"needs Python 2\.7; .* is {HERE}"):
        choose_python(toolchain, sys.executable)
    with pytest.raises(ToolchainFailedError, match="no Python that starts"):
        choose_python(toolchain, str(folder / "missing"))


def _ask(tmp_path: Path, program: str, limit_s: float = PATIENCE_SECONDS) -> Any:
    script, place = tmp_path / "script.py", tmp_path / "place"
    script.write_text(program)
    place.mkdir(exist_ok=True)
    return run_script(Path(sys.executable), script, {"number": 2}, place, limit_s)


def test_a_script_answers_and_is_isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script gets its request, and none of our variables; strings hash alike in every run; it is nice."""
    monkeypatch.setenv("EDGEWRIGHT_PIN", "1234")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    program = (
        "import os, sys\n"
        "def run(request, folder):\n"
        "    ours = [name for name in os.environ if name.startswith(('EDGEWRIGHT_', 'PYTHONPATH'))]\n"
        "    return {'double': 2 * request['number'], 'ours': ours, 'hash': hash('x'), 'nice': os.nice(0)}\n"
    )
    first, second = _ask(tmp_path, program).result, _ask(tmp_path, program).result
    assert (first["double"], first["ours"]) == (4, [])
    assert first["hash"] == second["hash"]
    assert first["nice"] >= 5


@pytest.mark.parametrize(
    ("program", "words", "crashed"),
    [
        (
            "def run(request, folder):\n    raise ValueError('no such thing.\\nmore')\n",
            "ValueError: no such thing",
            False,
        ),
        ("import missing_library\n", "ModuleNotFoundError: No module named 'missing_library'", False),
        (
            "def run(request, folder):\n    import os; os.kill(os.getpid(), 11)\n",
            "it was ended by SIGSEGV",
            True,
        ),
        ("import sys\nsys.exit(3)\n", "it ended with exit status 3", False),
        (
            "def run(request, folder):\n    import socket; socket.create_connection(('127.0.0.1', 9))\n",
            "PermissionError: a toolchain may not use the network",
            False,
        ),
    ],
    ids=["raises", "imports", "crashes", "leaves", "connects"],
)
def test_a_script_that_fails_says_why(tmp_path: Path, program: str, words: str, crashed: bool) -> None:
    """Whatever ends a script, the outcome has one sentence's words and tells a crash from a refusal."""
    outcome = _ask(tmp_path, program)
    assert outcome.result is None
    assert outcome.words == words
    assert outcome.crashed is crashed


def test_a_script_that_hangs_is_ended(tmp_path: Path) -> None:
    """A script that answers nothing is ended after its time."""
    outcome = _ask(tmp_path, "import time\ntime.sleep(600)\n", limit_s=0.5)
    assert outcome.result is None
    assert "took more than" in outcome.words


def test_the_command_lists_and_examines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The list has every toolchain; a doctor asked for a missing one ends with its number."""
    with pytest.raises(SystemExit) as ended:
        main(["toolchain", "list", "--json"])
    assert ended.value.code == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == list(TOOLCHAINS)
    with pytest.raises(SystemExit) as ended:
        main(["toolchain", "doctor", "onnx2tf"])
    assert ended.value.code == ToolchainMissingError.number
    assert "`edgewright toolchain install onnx2tf` brings it" in capsys.readouterr().out


def test_the_doctor_finds_a_broken_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An environment that has the packages' names and no Python that works is broken, with a remedy."""
    environment = folder / "toolchains" / "onnx2tf"
    described = environment / "lib" / f"python{HERE}" / "site-packages" / "onnx2tf-2.6.9.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: onnx2tf\nVersion: 2.6.9\n")
    (environment / "bin").mkdir()
    (environment / "bin" / "python").symlink_to(sys.executable)
    mark = Mark("onnx2tf", TOOLCHAINS["onnx2tf"].lock_sha256, HERE)
    (environment / MARK).write_bytes(msgspec.json.encode(mark))
    with pytest.raises(SystemExit) as ended:
        main(["toolchain", "doctor", "onnx2tf"])
    assert ended.value.code == ToolchainFailedError.number
    said = capsys.readouterr().out
    assert "does not work" in said
    assert "toolchain remove onnx2tf" in said
