#!/usr/bin/env python3
"""``install_agent.py WHEELS ARCH TREE``: mmdebstrap's hook. Puts the agent into a tree, without a network.

The tree's own programs are not run, so it works for every architecture: the environment below /opt/edgewright
is laid out as ``python3 -m venv`` does it, and pip unpacks the wheels for the other machine.
"""

import compileall
import shutil
import subprocess
import sys
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Final

from build_image import HERE, MACHINES, PYTHON, ROOT, binary_only

PREFIX: Final = Path("opt/edgewright")
SCRIPT: Final = f"""#!/{PREFIX}/bin/python3
import sys

from edgewright.agent.cli import main

sys.exit(main())
"""
UNITS: Final = (ROOT / "agent/systemd/edgewright-agent.service", HERE / "files/edgewright-first-boot.service")
ENABLED: Final = (*(unit.name for unit in UNITS), "systemd-networkd.service", "systemd-resolved.service")


def main() -> int:
    """Install into the tree."""
    wheels, architecture, tree = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    lay_environment(tree / PREFIX)
    packages = tree / PREFIX / f"lib/python{PYTHON}/site-packages"
    unpack(wheels, MACHINES[architecture], packages)
    compile_packages(packages, tree)
    lay_files(tree)
    return 0


def lay_environment(prefix: Path) -> None:
    """A virtual environment over Debian's Python (PEP 405)."""
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin/python3").symlink_to("/usr/bin/python3")
    (prefix / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    script = prefix / "bin/edgewright-agent"
    script.write_text(SCRIPT)
    script.chmod(0o755)


def unpack(wheels: Path, machine: str, packages: Path) -> None:
    """Install every wheel of a folder; nothing is asked of a network."""
    files = [str(path) for path in sorted(wheels.glob("*.whl"))]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
    subprocess.run([*command, *binary_only(machine), "--target", str(packages), *files], check=True)
    shutil.rmtree(packages / "bin", ignore_errors=True)  # scripts with the paths of this machine


def compile_packages(packages: Path, tree: Path) -> None:
    """Put byte code beside the modules: the service may not write there, and would compile at each start.

    Byte code is of a version of Python, not of a machine (PEP 3147). It says that its source need not be
    looked at (PEP 552, unchecked): an image's files do not change, and a second build gives the same bytes.
    """
    if f"{sys.version_info.major}.{sys.version_info.minor}" != PYTHON:
        raise SystemExit(f"The image's byte code is made by Python {PYTHON}; this is {sys.version}.")
    # Some packages ship files for other Pythons; what does not compile is not imported either.
    compileall.compile_dir(
        packages,
        quiet=2,
        stripdir=tree,
        prependdir="/",
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
    )


def lay_files(tree: Path) -> None:
    """Units, the agent's user, the network, and no identity: each board gets its own at its first boot."""
    units = tree / "etc/systemd/system"
    for unit in UNITS:
        shutil.copyfile(unit, units / unit.name)
    wanted = units / "multi-user.target.wants"
    wanted.mkdir(exist_ok=True)
    for name in ENABLED:
        place = units / name if (units / name).exists() else tree / "usr/lib/systemd/system" / name
        link = wanted / name
        if not link.is_symlink():
            link.symlink_to("/" + str(place.relative_to(tree)))
    shutil.copyfile(HERE / "files/edgewright.conf", tree / "usr/lib/sysusers.d/edgewright.conf")
    shutil.copyfile(HERE / "files/80-dhcp.network", tree / "etc/systemd/network/80-dhcp.network")
    (tree / "etc/machine-id").write_text("uninitialized\n")
    (tree / "etc/hostname").write_text("edgewright\n")


if __name__ == "__main__":
    sys.exit(main())
