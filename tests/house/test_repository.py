"""What a clone holds: nothing of the machine that it was made on, no address of a registry, a true lock."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.house.sources import ROOT, repository_files

LARGEST_TEXT_BYTES = 1 << 20
TOP_LEVEL = {
    "agent",
    "controller",
    "models",
    "firmware-images",
    "simulators",
    "tests",
    "docs",
    "pyproject.toml",
    "requirements.lock",
    "Makefile",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
}
# An address of a registry, whatever it is called: a setting that names one, or a well-known kind of host.
REGISTRY = re.compile(
    r"(?:index-url|find-links|registry)\W{1,4}https?://|//(?:registry|files|pypi)\.[a-z]", re.IGNORECASE
)


def _texts() -> list[tuple[Path, str]]:
    found = []
    for path in repository_files():
        data = path.read_bytes()
        if len(data) <= LARGEST_TEXT_BYTES and b"\0" not in data:
            found.append((path.relative_to(ROOT), data.decode(errors="replace")))
    return found


def _locked() -> dict[str, set[str]]:
    """Versions by canonical name; a name has several where Python versions differ."""
    locked: dict[str, set[str]] = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if found := re.match(r"([A-Za-z0-9._-]+)==([^\s;]+)", line):
            locked.setdefault(canonicalize_name(found[1]), set()).add(found[2])
    return locked


def _stated() -> list[Requirement]:
    """What the projects ask for, their installed extras and the development group included."""
    agent, controller, top = (
        tomllib.loads((ROOT / name / "pyproject.toml").read_text()) for name in ("agent", "controller", ".")
    )
    optional = agent["project"]["optional-dependencies"]
    asked = [*agent["project"]["dependencies"], *controller["project"]["dependencies"], *optional["line"]]
    asked += [*optional["onnxruntime"], *optional["litert"], *top["dependency-groups"]["dev"]]
    return [Requirement(text) for text in asked if not text.startswith("edgewright-")]


def test_the_top_level_is_the_layout() -> None:
    """Beside the folders of the layout only the named files and dot-files stand at the top."""
    tops = {path.relative_to(ROOT).parts[0] for path in repository_files()}
    assert {top for top in tops if not top.startswith(".")} <= TOP_LEVEL


def test_no_path_of_this_machine() -> None:
    """No file names the folder that this clone lies in or the home of who made it."""
    everybodys = {"/", "/tmp", "/home", "/opt", "/srv"}
    here = [f"{place}/" for place in (ROOT.parent, Path.home()) if str(place) not in everybodys]
    assert not [(str(name), place) for name, text in _texts() for place in here if place in text]


def test_no_address_of_a_registry() -> None:
    """No file names the host of a package registry; clients know where theirs is."""
    assert not [str(name) for name, text in _texts() if REGISTRY.search(text)]


def test_the_lock_holds_hashes_and_no_address() -> None:
    """Each locked package has hashes, and no line is an option or an address."""
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if line[:1] != "#"]
    entries = re.split(r"\n(?=\S)", "\n".join(lines))
    assert len(entries) == len([line for line in lines if re.match(r"[A-Za-z0-9._-]+==", line)])
    assert not [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry]
    assert not [line for line in lines if re.search(r"://|file:|^-", line)]


@pytest.mark.parametrize("need", _stated(), ids=str)
def test_the_lock_has_what_the_projects_ask(need: Requirement) -> None:
    """Each requirement of the three project files is locked at a version that it allows."""
    versions = _locked().get(canonicalize_name(need.name), set())
    assert versions, "run `make lock`"
    assert all(need.specifier.contains(version) for version in versions), "run `make lock`"


def test_the_lock_of_mlflow_stands_beside_the_main_one() -> None:
    """It has the extra's packages at versions that the extra allows, by hash, and none of the main lock's."""
    text = (ROOT / ".ci/requirements-mlflow.lock").read_text()
    entries = re.findall(r"^([\w.-]+)==(\S+)[^\n]*((?:\n +--hash=sha256:\w+.*)+)", text, re.MULTILINE)
    versions = {canonicalize_name(name): version for name, version, _ in entries}
    assert len(versions) == len(re.findall(r"^[\w.-]+==", text, re.MULTILINE))
    assert not versions.keys() & _locked().keys()
    project = tomllib.loads((ROOT / "controller/pyproject.toml").read_text())["project"]
    for need in map(Requirement, project["optional-dependencies"]["mlflow"]):
        assert need.specifier.contains(versions[canonicalize_name(need.name)]), "run `make lock`"


def test_both_distributions_carry_the_licence() -> None:
    """The licence that each distribution ships is the repository's."""
    licence = (ROOT / "LICENSE").read_bytes()
    assert {(ROOT / name / "LICENSE").read_bytes() for name in ("agent", "controller")} == {licence}


def test_both_distributions_have_one_version() -> None:
    """The controller asks for exactly the agent of its own version."""
    agent, controller = (
        tomllib.loads((ROOT / name / "pyproject.toml").read_text())["project"]
        for name in ("agent", "controller")
    )
    assert agent["version"] == controller["version"]
    assert f"edgewright-agent[line,onnxruntime]=={agent['version']}" in controller["dependencies"]
