"""The hook that fetches the web page's assets, against packages made here; nothing leaves the machine.

A program named ``npm`` on the PATH stands for the npm client: it copies tarballs from a folder, as
``npm pack`` copies them from a registry. The hook's checks see what a hostile registry could serve.
"""

import base64
import hashlib
import importlib.util
import io
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

from tests.house.sources import ROOT

CHART = b"function chart() {}"

NPM = """\
#!/bin/sh
# npm pack --silent --pack-destination DIR name@version...
into=$4
shift 4
for package in "$@"; do
  cp "{shelf}/$(echo "$package" | tr '@' '-').tgz" "$into/" || {{ echo "npm error 404" >&2; exit 1; }}
done
"""


def _load_hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "controller/hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hook = _load_hook()


def _pack(shelf: Path, content: bytes) -> bytes:
    """Put a package ``chart`` 1.0.0 on the shelf and return its bytes."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        member = tarfile.TarInfo("package/dist/chart.js")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    (shelf / "chart-1.0.0.tgz").write_bytes(held.getvalue())
    return held.getvalue()


def _project(folder: Path, tarball: bytes, content: bytes) -> Path:
    """A project whose assets.lock names the tarball and the file."""
    integrity = base64.b64encode(hashlib.sha512(tarball).digest()).decode()
    folder.mkdir()
    (folder / "assets.lock").write_text(
        '[[package]]\nname = "chart"\nversion = "1.0.0"\n'
        f'integrity = "sha512-{integrity}"\n'
        '[[package.file]]\npath = "dist/chart.js"\nname = "chart.min.js"\n'
        f'sha256 = "{hashlib.sha256(content).hexdigest()}"\n'
    )
    return folder


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A folder of packages, with the ``npm`` that serves from it."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    (folder / "npm").write_text(NPM.format(shelf=folder))
    (folder / "npm").chmod(0o755)
    return folder


def test_named_files_are_taken_under_their_names(shelf: Path, tmp_path: Path) -> None:
    """A package with the right hashes yields exactly the named file."""
    project = _project(tmp_path / "project", _pack(shelf, CHART), CHART)
    assert hook.fetch_assets(project, str(shelf / "npm")) == ["chart.min.js"]
    assert (project / hook.ASSETS / "chart.min.js").read_bytes() == CHART


def test_a_second_build_needs_no_npm(shelf: Path, tmp_path: Path) -> None:
    """What is there with the right hash is kept, without npm."""
    project = _project(tmp_path / "project", _pack(shelf, CHART), CHART)
    hook.fetch_assets(project, str(shelf / "npm"))
    assert hook.fetch_assets(project, None) == []


def test_a_changed_asset_is_fetched_again(shelf: Path, tmp_path: Path) -> None:
    """A file that was edited in place has the wrong hash and is replaced."""
    project = _project(tmp_path / "project", _pack(shelf, CHART), CHART)
    hook.fetch_assets(project, str(shelf / "npm"))
    (project / hook.ASSETS / "chart.min.js").write_bytes(b"edited")
    assert hook.fetch_assets(project, str(shelf / "npm")) == ["chart.min.js"]


def test_a_package_with_another_hash_is_refused(shelf: Path, tmp_path: Path) -> None:
    """A registry that serves other bytes under the locked version gets nothing into the project."""
    project = _project(tmp_path / "project", _pack(shelf, CHART), CHART)
    _pack(shelf, CHART + b"steal()")
    with pytest.raises(hook.AssetsError, match="has not the locked hash"):
        hook.fetch_assets(project, str(shelf / "npm"))
    assert not list((project / hook.ASSETS).glob("*"))


def test_a_file_with_another_hash_is_refused(shelf: Path, tmp_path: Path) -> None:
    """A package of the right hash whose file is not the locked one is refused."""
    project = _project(tmp_path / "project", _pack(shelf, CHART), b"something else")
    with pytest.raises(hook.AssetsError, match=r"dist/chart\.js .* is not what"):
        hook.fetch_assets(project, str(shelf / "npm"))


def test_a_failing_npm_is_quoted(shelf: Path, tmp_path: Path) -> None:
    """When npm fails its own error stands in the one sentence."""
    project = _project(tmp_path / "project", _pack(shelf, CHART), CHART)
    (shelf / "chart-1.0.0.tgz").unlink()
    with pytest.raises(hook.AssetsError, match="npm error 404"):
        hook.fetch_assets(project, str(shelf / "npm"))


def test_a_missing_npm_is_one_sentence(shelf: Path, tmp_path: Path) -> None:
    """Without npm the error says what to install."""
    project = _project(tmp_path / "project", _pack(shelf, CHART), CHART)
    with pytest.raises(hook.AssetsError, match="install it"):
        hook.fetch_assets(project, None)


def test_the_lock_carries_every_licence() -> None:
    """Each package of the real assets.lock brings its licence text along."""
    packages = hook.tomllib.loads((ROOT / "controller/assets.lock").read_text())["package"]
    assert packages
    assert all(any(file["path"] == "LICENSE" for file in package["file"]) for package in packages)
