"""The shape of the house: layers, seams to outside libraries, sizes. Each rule is DESIGN's or STYLE's."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.sources import (
    AGENT,
    CONTROLLER,
    ROOT,
    functions_of,
    importers,
    imports_of,
    python_files,
    tree_of,
)

# Each outside library and the one place, a file or a folder, that may know it in a distribution; two concerns
# have a place each.
AGENT_ADAPTERS: dict[str, str | tuple[str, ...]] = {
    "paho": "agent/link.py",
    "tuf": "agent/trust.py",
    "securesystemslib": "agent/trust.py",
    "onnxruntime": "agent/runner/onnxruntime_runtime.py",
    "ai_edge_litert": "agent/runner/litert_runtime.py",
    "tflite_runtime": "agent/runner/tflite_runtime.py",
    "cv2": ("agent/preprocess.py", "agent/cell/opencv.py"),  # the line's pictures; the cell's cameras
    "ssl": "agent/tls.py",
}
CONTROLLER_ADAPTERS = {
    "paho": "link.py",
    "tuf": "trust",
    "securesystemslib": "trust",
    "dbos": "rebuild",
    "sqlmodel": "database",
    "sqlalchemy": "database",
    "onnxruntime": "compiler",
    "typer": "cli",
    "cyclonedx": "compiler/sbom.py",
    "packageurl": "compiler/sbom.py",
    "packaging": "compiler/licences.py",
    "ssl": "identity/tls.py",
    "uvicorn": "listeners.py",
}
# Scripts for other environments: there the library is another build of itself, and nothing of ours is near.
ELSEWHERE = "compiler/toolchains/inside/"
# Where the rule is one file, wherever it stands.
ONE_FILE = [
    (AGENT, "paho"),
    (AGENT, "tuf"),
    (AGENT, "onnxruntime"),
    (CONTROLLER, "paho"),
    (CONTROLLER, "dbos"),
    (CONTROLLER, "onnxruntime"),
]

LONGEST_FILE = 500
LONGEST_FUNCTION = 60
USUAL_FUNCTION = 30
USUAL_SHARE = 0.9
DRAWERS = {"util", "utils", "helper", "helpers", "common", "manager", "managers", "misc"}


def test_layers_hold() -> None:
    """Simulators stand over controller and agent, these two do not know each other, the wire knows nobody."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_namespace_belongs_to_nobody() -> None:
    """No distribution puts an ``__init__.py`` into ``edgewright``, so both can be installed side by side."""
    assert not list(ROOT.glob("*/src/edgewright/__init__.py"))
    spec = importlib.util.find_spec("edgewright")
    assert spec is not None
    assert spec.origin is None


def test_the_wire_needs_only_msgspec() -> None:
    """``edgewright.wire`` imports the standard library, msgspec and itself."""
    allowed = sys.stdlib_module_names | {"msgspec"}
    strangers = {
        f"{path.name} imports {name}"
        for path in python_files(AGENT / "wire")
        for name in imports_of(path)
        if name.partition(".")[0] not in allowed and not name.startswith("edgewright.wire")
    }
    assert not strangers


@pytest.mark.parametrize("module", ["edgewright.agent.supervisor", "edgewright.agent.cli"])
@pytest.mark.parametrize(
    "library", ["numpy", "cv2", "onnxruntime", "tuf", "securesystemslib", "urllib3", "cryptography.x509"]
)
def test_the_supervisor_stays_small(module: str, library: str) -> None:
    """A process that has imported the supervisor holds no array library, no OpenCV, no runtime, and nothing
    that parses signed metadata or certificates.
    """
    program = f"import sys, {module}; sys.exit({library!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr or f"{module} imports {library}"


@pytest.mark.parametrize("library", ["cyclonedx", "onnx", "onnxruntime", "scipy"])
def test_the_compilers_parent_stays_small(library: str) -> None:
    """A process that has imported what starts builds holds nothing that only a build needs."""
    program = f"import sys, edgewright.controller.compiler.worker; sys.exit({library!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr or f"the worker's parent imports {library}"


@pytest.mark.parametrize(
    ("folder", "library", "place"),
    [(AGENT, *rule) for rule in AGENT_ADAPTERS.items()]
    + [(CONTROLLER, *rule) for rule in CONTROLLER_ADAPTERS.items()],
)
def test_an_outside_library_has_one_place(folder: Path, library: str, place: str | tuple[str, ...]) -> None:
    """Outside its adapter no source of a distribution imports the library."""
    places = (place,) if isinstance(place, str) else place
    strangers = [
        name
        for name in importers(folder, library)
        if not any(name in (here, here + ".py") or name.startswith(f"{here}/") for here in places)
    ]
    assert not strangers, f"only {place} may import {library}"


@pytest.mark.parametrize(("folder", "library"), ONE_FILE)
def test_an_adapter_is_one_file(folder: Path, library: str) -> None:
    """At most one source of a distribution imports the library, so foreign exceptions stop in one file."""
    here = [name for name in importers(folder, library) if not name.startswith(ELSEWHERE)]
    assert len(here) <= 1, here


def test_no_long_files() -> None:
    """No source has more than 500 lines."""
    sizes = {path: len(path.read_text().splitlines()) for path in python_files()}
    assert not {str(path.relative_to(ROOT)): n for path, n in sizes.items() if n > LONGEST_FILE}


def test_no_long_functions() -> None:
    """No function body has more than 60 lines, and nine in ten have at most 30."""
    functions = [function for path in python_files() for function in functions_of(path)]
    assert not [f"{f.place}: {f.lines} lines" for f in functions if f.lines > LONGEST_FUNCTION]
    usual = sum(f.lines <= USUAL_FUNCTION for f in functions)
    assert usual / len(functions) >= USUAL_SHARE


def test_files_are_named_by_their_subject() -> None:
    """No module or folder is a drawer for everything."""
    named = {part for path in python_files() for part in (*path.relative_to(ROOT).parent.parts, path.stem)}
    assert not named & DRAWERS


def test_packages_hold_words_only() -> None:
    """The three packages of the namespace export nothing: their ``__init__.py`` is a docstring."""
    for name in (AGENT / "wire", AGENT / "agent", CONTROLLER):
        assert len(tree_of(name / "__init__.py").body) == 1


def test_tests_do_not_mock() -> None:
    """No test imports a mock library or replaces code; a constant, such as a time limit, may be set."""
    replacing = re.compile(r"monkeypatch\.setattr\((?!\s*[\w.]+,\s*\"[A-Z_]+\",)")
    mocking = {
        str(path.relative_to(ROOT))
        for path in python_files(ROOT / "tests", ROOT / "simulators")
        if imports_of(path) & {"mock", "unittest.mock", "pytest_mock"} or replacing.search(path.read_text())
    }
    assert not mocking
