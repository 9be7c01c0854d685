"""Where toolchains are: found without importing anything of theirs.

The folder is ``EDGEWRIGHT_TOOLCHAINS``, or else ``edgewright/toolchains`` below ``XDG_DATA_HOME``. A finished
environment lies there under its toolchain's name, with a mark that tells which lock it was made from; one of
another lock, left by another release, does not count. Where the controller's own environment has the packages
in the right versions, that counts, and needs no other.
"""

import os
import sys
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from edgewright.controller.compiler.toolchains.table import Toolchain, find_toolchain, is_within
from edgewright.controller.errors import ToolchainMissingError

FOLDER_VARIABLE: Final = "EDGEWRIGHT_TOOLCHAINS"
MARK: Final = "edgewright.json"


class Mark(msgspec.Struct, frozen=True):
    """What an environment remembers of its making."""

    toolchain: str
    lock_sha256: str
    python: str


class Place(NamedTuple):
    """A toolchain that is there.

    Attributes:
        toolchain: its row.
        python: the interpreter to start.
        versions: of its packages, the main one first.
        own: whether it is the controller's own environment.
    """

    toolchain: Toolchain
    python: Path
    versions: Mapping[str, str]
    own: bool

    @property
    def version(self) -> str:
        """Of the main package."""
        return self.versions[self.toolchain.package]


def toolchains_folder() -> Path:
    """Where environments are looked for and made."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named).absolute()
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "edgewright" / "toolchains"


def folder_variable() -> dict[str, str]:
    """For a child that is to look in the same folder; a child's environment has no variables of ours."""
    return {FOLDER_VARIABLE: str(toolchains_folder())}


def find_place(toolchain: Toolchain) -> Place | None:
    """An environment of its own where there is one, else the controller's where that suffices."""
    return find_installed(toolchain) or find_own(toolchain)


def find_installed(toolchain: Toolchain) -> Place | None:
    """The environment that ``install`` made from this release's lock."""
    environment = toolchains_folder() / toolchain.name
    mark = read_mark(environment)
    if mark is None or mark.lock_sha256 != toolchain.lock_sha256:
        return None
    python = environment / "bin" / "python"
    versions = _versions(toolchain, _packages_of(environment)) if python.exists() else {}
    return Place(toolchain, python, versions, own=False) if versions else None


def find_own(toolchain: Toolchain) -> Place | None:
    """The controller's own environment, if it has all packages in the right versions."""
    versions = _versions(toolchain, sys.path)
    return Place(toolchain, Path(sys.executable), versions, own=True) if versions else None


def require(name: str) -> Place:
    """The place of a toolchain.

    Raises:
        ToolchainMissingError: it is not installed, or was installed by another release.
    """
    toolchain = find_toolchain(name)
    found = find_place(toolchain)
    if found is None:
        stale = read_mark(toolchains_folder() / name) is not None
        why = "was installed by another release with other versions" if stale else "is not installed"
        raise ToolchainMissingError(f"The toolchain {name} {why}.")
    return found


def read_mark(environment: Path) -> Mark | None:
    """The mark of a finished environment; None where there is none."""
    try:
        return msgspec.json.decode((environment / MARK).read_bytes(), type=Mark)
    except (OSError, msgspec.DecodeError):
        return None


def _packages_of(environment: Path) -> list[str]:
    return [str(place) for place in environment.glob("lib/python3*/site-packages")]


def _versions(toolchain: Toolchain, path: list[str]) -> dict[str, str]:
    """Versions of its packages on a path; nothing where one is missing or out of range."""
    found: dict[str, str] = {}
    for package, (minimum, below) in toolchain.packages.items():
        for distribution in distributions(name=package, path=path):
            if is_within(distribution.version, minimum, below):
                found[package] = distribution.version
            break
    return found if len(found) == len(toolchain.packages) else {}
