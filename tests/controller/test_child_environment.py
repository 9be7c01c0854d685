"""What the processes that the controller starts are given: nothing that is the controller's own."""

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from edgewright.controller.childenvironment import child_environment
from tests.controller.test_director_process import started
from tests.house.sources import ROOT

SOURCES = ROOT / "controller/src"
STARTERS = ("Popen", "run", "call", "check_call", "check_output")


def test_a_child_gets_no_secret_and_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own variables and whatever sounds secret stay here; the rest goes on, and what is added."""
    for name in ("EDGEWRIGHT_PIN", "EDGEWRIGHT_URL", "SOFTHSM_PIN", "npm_token", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "kept back")
    given = child_environment({"OMP_NUM_THREADS": "1"})
    assert "kept back" not in given.values()
    assert given["PATH"] == os.environ["PATH"]
    assert given["OMP_NUM_THREADS"] == "1"


def test_the_directors_process_has_no_pin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the environment of a child that runs, as its operating system tells it, there is no PIN."""
    monkeypatch.setenv("EDGEWRIGHT_PIN", "123456")
    director = started(tmp_path)
    try:
        assert "123456" not in psutil.Process(director.pid).environ().values()
    finally:
        director.stop()


def _starts(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            module = node.func.value
            if isinstance(module, ast.Name) and module.id == "subprocess" and node.func.attr in STARTERS:
                yield node


def test_every_child_gets_this_environment() -> None:
    """Wherever the controller starts a process it hands over ``child_environment``."""
    starts = [(path, call) for path in sorted(SOURCES.rglob("*.py")) for call in _starts(path)]
    assert len(starts) >= 5
    for path, call in starts:
        if path.name == "running.py":
            # Takes Python's own variables out of the same environment; ``test_toolchains`` looks inside.
            assert "in child_environment().items()" in path.read_text()
            continue
        given = [ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg == "env"]
        assert given, f"{path.name}, line {call.lineno}"
        assert given[0].startswith("child_environment("), f"{path.name}, line {call.lineno}"
