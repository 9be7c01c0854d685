#!/usr/bin/env python3
"""Build a Debian root file system with the agent in it.

    .venv/bin/python firmware-images/debian/build_image.py --arch amd64 --out images

Two steps. The first gathers wheels into ``<out>/wheels-<arch>``: the agent's, built from this checkout, and
those that it needs, exactly as requirements.lock pins them, each checked against its hash. The second runs
mmdebstrap and installs these wheels without a network. Nothing in the image is a secret: a board makes its
own key when it enrols (README.md).
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]
SUITE: Final = "bookworm"
PYTHON: Final = "3.11"
FULL_PYTHON: Final = "3.11.2"
"""Debian bookworm's."""

MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}
GLIBC_MINORS: Final = range(36, 16, -1)
"""manylinux_2_36 is bookworm's own glibc; 2_17 the oldest that wheels for it name."""

PACKAGES: Final = (
    "systemd-sysv",
    "systemd-resolved",
    "systemd-timesyncd",
    "udev",
    "dbus",
    "python3",
    "libpython3-stdlib",
    "tzdata",
)
EPOCH: Final = "1793491200"
"""2026-11-01: time stamps in the image. The same input gives the same bytes (reproducible-builds.org)."""


def main() -> int:
    """Build one image."""
    parser = argparse.ArgumentParser(description="Build a Debian root file system with the agent in it.")
    parser.add_argument("--arch", choices=sorted(MACHINES), default="amd64")
    parser.add_argument("--out", type=Path, default=Path("images"), metavar="DIR")
    parser.add_argument("--runtime", choices=("onnxruntime", "litert"), default="onnxruntime")
    parser.add_argument("--mirror", default="", metavar="URL", help="of Debian; else what apt here is set to")
    given = parser.parse_args()
    if shutil.which("mmdebstrap") is None:
        sys.stderr.write("mmdebstrap is not installed: run apt-get install mmdebstrap as root.\n")
        return 1
    wheels = given.out.resolve() / f"wheels-{given.arch}"
    image = given.out.resolve() / f"edgewright-debian-{SUITE}-{given.arch}.tar"
    try:
        say(f"1/2 wheels for {given.arch} into {wheels.name}")
        gather(wheels, MACHINES[given.arch], given.runtime)
        say(f"2/2 root file system {image.name} (a minute or two)")
        bootstrap(image, wheels, given.arch, given.mirror)
    except subprocess.CalledProcessError as error:
        sys.stderr.write(f"The build ended: {shlex.join(map(str, error.cmd))[:200]}\n")
        return 1
    say(f"done: {image} ({image.stat().st_size // 2**20} MiB)")
    return 0


def say(line: str) -> None:
    """Tell a person how far it is."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def gather(wheels: Path, machine: str, runtime: str) -> None:
    """Put the agent's wheel and all that it needs into a folder."""
    shutil.rmtree(wheels, ignore_errors=True)
    wheels.mkdir(parents=True)
    build = ["-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels)]
    run(sys.executable, *build, str(ROOT / "agent"), quiet=True)
    lock = wheels / "requirements.txt"
    lock.write_text("".join(locked(needed(f"edgewright-agent[line,{runtime}]", machine), machine)))
    download = ["download", "--no-deps", "--require-hashes", "--requirement", str(lock)]
    run(sys.executable, "-m", "pip", *download, *binary_only(machine), "--dest", str(wheels), quiet=True)


def markers(machine: str) -> dict[str, str]:
    """What a requirement's marker asks for (PEP 508), in the image: not of the Python that builds it."""
    return {
        "implementation_name": "cpython",
        "implementation_version": FULL_PYTHON,
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": FULL_PYTHON,
        "python_version": PYTHON,
        "sys_platform": "linux",
    }


def needed(wanted: str, machine: str) -> set[str]:
    """Names of all distributions that one needs in the image, itself left out, by what is installed here."""
    found: set[str] = set()
    waiting = [Requirement(wanted)]
    while waiting:
        requirement = waiting.pop()
        for text in distribution(requirement.name).requires or ():
            need = Requirement(text)
            extras = requirement.extras or {""}
            applies = need.marker is None or any(
                need.marker.evaluate({**markers(machine), "extra": extra}) for extra in extras
            )
            if applies and canonicalize_name(need.name) not in found:
                found.add(canonicalize_name(need.name))
                waiting.append(need)
    return found


def locked(names: set[str], machine: str) -> Iterator[str]:
    """The lock's entries of some distributions that hold for this Python on a machine."""
    entries = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text())
    for entry in entries:
        if entry.startswith("#"):
            continue
        requirement = Requirement(entry.partition("\\")[0].strip())
        holds = requirement.marker is None or requirement.marker.evaluate(markers(machine))
        if canonicalize_name(requirement.name) in names and holds:
            yield entry + "\n"


def binary_only(machine: str) -> list[str]:
    """Options of pip for wheels of bookworm's Python and glibc on a machine."""
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in GLIBC_MINORS]
    named = [option for name in (*platforms, f"manylinux2014_{machine}") for option in ("--platform", name)]
    return ["--only-binary", ":all:", "--python-version", PYTHON, "--implementation", "cp", *named]


def bootstrap(image: Path, wheels: Path, architecture: str, mirror: str) -> None:
    """Run mmdebstrap; its hook installs the agent into the tree."""
    install = [sys.executable, str(HERE / "install_agent.py"), str(wheels), architecture]
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--architectures={architecture}"]
    command += [f"--include={','.join(PACKAGES)}", '--dpkgopt=path-exclude="/usr/share/doc/*"']
    command += [f'--customize-hook={shlex.join(install)} "$1"', SUITE, str(image)]
    run(*command, *([mirror] if mirror else []), SOURCE_DATE_EPOCH=EPOCH)


def run(*command: str, quiet: bool = False, **environment: str) -> None:
    """Run a program to its end; its output is shown unless it is to be quiet.

    Raises:
        CalledProcessError: it failed.
    """
    output = subprocess.DEVNULL if quiet else None
    subprocess.run(command, check=True, stdout=output, env={**os.environ, **environment})


if __name__ == "__main__":
    sys.exit(main())
