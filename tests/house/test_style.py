"""Lint, format and strict types of everything, as part of the test command."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.sources import CONTROLLER, ROOT, python_files

CHECKED = [
    "agent/src",
    "controller/src",
    "controller/hatch_build.py",
    "simulators",
    "tests",
    "docs",
    "firmware-images/debian",
    ".ci/lock",
]
# Scripts that run outside our packages: models' own, and what toolchains' environments are started with.
SCRIPT_FOLDERS = sorted({path.parent for path in python_files(ROOT / "models")})
SCRIPT_FOLDERS.append(CONTROLLER / "compiler" / "toolchains" / "inside")

# An exception to a rule: the rule's name, then the reason on the same line or in a comment on the line above.
_EXCEPTION = re.compile(r"#\s*(?:noqa:\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*|type:\s*ignore\[[\w,\s-]+\])(.*)")


def _run(*command: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command[:2])}\n{done.stdout}{done.stderr}"


def test_lint() -> None:
    """Ruff finds nothing."""
    _run("ruff", "check", "--output-format", "concise", ".", ".ci/lock")


def test_format() -> None:
    """Every source is formatted as ruff formats it."""
    _run("ruff", "format", "--check", ".", ".ci/lock")


@pytest.mark.timeout(300)  # without its cache, on a busy machine, mypy takes long
def test_types() -> None:
    """Everything passes mypy in strict mode."""
    _run("mypy", *(name for name in CHECKED if (ROOT / name).exists()))


@pytest.mark.parametrize("folder", SCRIPT_FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_types_of_scripts(folder: Path) -> None:
    """Scripts outside our packages pass mypy too: as files, for a model folder's name is no package name."""
    sources = [str(path) for path in sorted(folder.glob("*.py"))]
    above = [str(part) for part in folder.parents if part.is_relative_to(ROOT / "models")]
    # No other option but paths: with the same options all runs share one cache.
    _run("mypy", "--exclude", "^$", *sources, MYPYPATH=os.pathsep.join([str(folder), *above]))


def test_exceptions_carry_their_reason() -> None:
    """Each ``noqa`` and ``type: ignore`` says why, on its line or in the comment above."""
    silent = []
    for path in python_files():
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            found = _EXCEPTION.search(line)
            reason_above = number > 0 and lines[number - 1].lstrip().startswith("#")
            if found and len(found[1].strip(" -#:")) < 3 and not reason_above:
                silent.append(f"{path.relative_to(ROOT)}:{number + 1}")
    assert not silent
