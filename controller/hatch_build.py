"""Hatch hook: fetch the web page's assets from the npm registry, with pinned hashes.

assets.lock names each package with its version and integrity, and each file that is taken with its SHA-256.
Where the registry is, and how to log in to it, is the npm client's business: this hook asks for packages by
name and names no host. A file that is there already with the right hash is kept, so a second build, a build
from a source distribution and a build without a network need no npm at all.

A wheel must be complete, so building one without the assets fails. An editable install goes on and says what
is missing: every page works without JavaScript, only live updates and charts need it.
"""

import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ASSETS: Final = "src/edgewright/controller/web/_assets"
NPM_TIMEOUT_S: Final = 180
# The largest file taken is 52 kB; anything far above that is not what the lock describes.
MAX_FILE_BYTES: Final = 4 << 20


class AssetsError(Exception):
    """The assets cannot be had; the message is one sentence for the person who builds."""


class AssetsHook(BuildHookInterface):  # type: ignore[type-arg]  # hatchling offers no type for it
    """Put the assets in place before Hatch collects the files."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fetch what is missing; ``version`` is "editable" for an editable install."""
        del build_data
        try:
            fetch_assets(Path(self.root), shutil.which("npm"))
        except AssetsError as error:
            if version != "editable":
                self.app.abort(str(error))
            self.app.display_warning(f"{error} The page works, without live updates and charts.")


def fetch_assets(root: Path, npm: str | None) -> list[str]:
    """Bring ``root``'s assets to what its assets.lock says; return the names of the files written.

    Args:
        root: the project's folder.
        npm: the npm client, None where there is none.

    Raises:
        AssetsError: npm is missing or failed, or a package or a file has not the locked hash.
    """
    packages = tomllib.loads((root / "assets.lock").read_text())["package"]
    folder = root / ASSETS
    missing = [package for package in packages if not _is_complete(folder, package)]
    if not missing:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        _download_packages(npm, missing, Path(scratch))
        contents = [taken for package in missing for taken in _read_package(package, Path(scratch)).items()]
    # Written only when every package proved right: never half of one version and half of another.
    for name, content in contents:
        (folder / name).write_bytes(content)
    return [name for name, _ in contents]


def _is_complete(folder: Path, package: dict[str, Any]) -> bool:
    return all(
        (folder / file["name"]).is_file()
        and hashlib.sha256((folder / file["name"]).read_bytes()).hexdigest() == file["sha256"]
        for file in package["file"]
    )


def _download_packages(npm: str | None, packages: list[dict[str, Any]], into: Path) -> None:
    if npm is None:
        raise AssetsError("The web page's assets come from npm, which is not installed: install it.")
    wanted = [f"{package['name']}@{package['version']}" for package in packages]
    try:
        done = subprocess.run(
            [npm, "pack", "--silent", "--pack-destination", str(into), *wanted],
            cwd=into,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=NPM_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise AssetsError(
            f"`npm pack` gave no answer in {NPM_TIMEOUT_S} s: check npm's registry setting."
        ) from None
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if "error" in line.lower()), "it said nothing")
        raise AssetsError(f"`npm pack` could not fetch the web page's assets ({said.strip()}).")


def _read_package(package: dict[str, Any], folder: Path) -> dict[str, bytes]:
    """The files taken from one package by their new names, all hashes checked."""
    flat = package["name"].removeprefix("@").replace("/", "-")
    tarball = folder / f"{flat}-{package['version']}.tgz"
    if not tarball.is_file():
        raise AssetsError(f"`npm pack` left no {tarball.name}: install npm 7 or newer.")
    check_integrity(package["name"], tarball.read_bytes(), package["integrity"])
    with tarfile.open(tarball) as archive:
        return {file["name"]: _read_member(archive, package["name"], file) for file in package["file"]}


def check_integrity(name: str, content: bytes, integrity: str) -> None:
    """Compare with npm's integrity string, ``sha512-<base64>``.

    Raises:
        AssetsError: the digest differs.
    """
    found = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    if found != integrity:
        raise AssetsError(f"The npm package {name} has not the locked hash: nothing of it was taken.")


def _read_member(archive: tarfile.TarFile, package: str, file: dict[str, str]) -> bytes:
    try:
        member = archive.extractfile(f"package/{file['path']}")
    except KeyError:
        member = None
    content = member.read(MAX_FILE_BYTES) if member else b""
    if hashlib.sha256(content).hexdigest() != file["sha256"]:
        raise AssetsError(f"{file['path']} of the npm package {package} is not what assets.lock names.")
    return content


if __name__ == "__main__":
    try:
        written = fetch_assets(Path(__file__).resolve().parent, shutil.which("npm"))
    except AssetsError as reason:
        sys.exit(f"assets: {reason}")
    if written:
        sys.stdout.write(f"assets: {len(written)} files\n")
