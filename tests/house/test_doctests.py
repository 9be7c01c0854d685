"""Examples in docstrings are run."""

import doctest
import importlib
from pathlib import Path

import pytest

from tests.house.sources import ROOT, python_files

SOURCES = [ROOT / "agent/src", ROOT / "controller/src", ROOT / "simulators"]
WITH_EXAMPLES = [
    path for path in python_files(*SOURCES) if "\n    >>> " in (text := path.read_text()) or "\n>>> " in text
]


def _module_name(path: Path) -> str:
    home = next((folder for folder in SOURCES[:2] if path.is_relative_to(folder)), ROOT)
    return ".".join(path.relative_to(home).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("name", [_module_name(path) for path in WITH_EXAMPLES])
def test_examples_are_true(name: str) -> None:
    """Every example of the module gives what its docstring says."""
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
