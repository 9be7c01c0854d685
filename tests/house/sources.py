"""The repository as the house tests read it: its files, its Python sources, their functions and imports."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
AGENT = ROOT / "agent/src/edgewright"
CONTROLLER = ROOT / "controller/src/edgewright/controller"


class Function(NamedTuple):
    """A function and the lines of its body, its docstring left out."""

    place: str
    lines: int


@cache
def repository_files() -> tuple[Path, ...]:
    """Every file that git tracks or would track: what a clone holds, and what is about to be committed."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return tuple(path for name in sorted(set(listed.split("\0"))) if name and (path := ROOT / name).is_file())


def python_files(*folders: Path) -> list[Path]:
    """Python sources, all or those under the folders."""
    return [
        path
        for path in repository_files()
        if path.suffix == ".py" and (not folders or any(path.is_relative_to(folder) for folder in folders))
    ]


@cache
def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a source."""
    return ast.parse(path.read_text(), str(path))


def functions_of(path: Path) -> Iterator[Function]:
    """All functions and methods of a source."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            lines = (node.end_lineno or node.lineno) - body[0].lineno + 1
            yield Function(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", lines)


def imports_of(path: Path) -> set[str]:
    """Dotted names of all absolute imports of a source, those inside functions included."""
    names: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def importers(folder: Path, library: str) -> list[str]:
    """The sources under ``folder`` that import the library, relative to it."""
    return [
        str(path.relative_to(folder))
        for path in python_files(folder)
        if any(name == library or name.startswith(f"{library}.") for name in imports_of(path))
    ]
