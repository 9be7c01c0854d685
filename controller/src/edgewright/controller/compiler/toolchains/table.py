"""The toolchains that Edgewright knows: ``toolchains.toml`` and its locks, read into frozen values.

A toolchain is a compiler or a runtime in a virtual environment of its own. What is installed is its lock:
exact versions with hashes, part of this package, so that the same release compiles with the same tools
everywhere. A lock leaves out what a package declares and nothing here imports.
"""

import hashlib
import re
import tomllib
from importlib.resources import files
from typing import Final

import msgspec

from edgewright.controller.errors import InvalidRequestError

_HERE: Final = files("edgewright.controller.compiler.toolchains")


class Toolchain(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One row of the table.

    Attributes:
        name: what people and targets call it.
        summary: one sentence or two for lists and the documentation.
        packages: what has to be there, the main one first, with the first version and the first that is not.
        python: versions of Python that it runs on.
        machines: processor architectures with packages; empty for all.
        probe: script that makes it work on something tiny.
        requirements: what its lock is resolved from.
        without: packages that are declared below it and not installed.
        lock: what is installed, as pip reads it.
    """

    name: str = ""
    summary: str
    packages: dict[str, tuple[str, str]]
    python: tuple[str, ...]
    machines: tuple[str, ...] = ()
    probe: str
    requirements: tuple[str, ...]
    without: tuple[str, ...] = ()
    lock: str = ""

    @property
    def package(self) -> str:
        """The main package."""
        return next(iter(self.packages))

    @property
    def lock_sha256(self) -> str:
        """What tells one lock from another, remarks aside; an environment remembers its own."""
        lines = [line for line in self.lock.splitlines() if not line.startswith("#")]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    toolchain: dict[str, Toolchain]


def _read() -> dict[str, Toolchain]:
    table = msgspec.convert(tomllib.loads(_HERE.joinpath("toolchains.toml").read_text()), _Table)
    return {
        name: msgspec.structs.replace(
            row, name=name, lock=_HERE.joinpath("locks", f"{name}.lock").read_text()
        )
        for name, row in table.toolchain.items()
    }


TOOLCHAINS: Final = _read()


def find_toolchain(name: str) -> Toolchain:
    """The table's row.

    Raises:
        InvalidRequestError: there is none of this name.
    """
    try:
        return TOOLCHAINS[name]
    except KeyError:
        known = ", ".join(TOOLCHAINS)
        raise InvalidRequestError(f"There is no toolchain {name!r}; there are {known}.") from None


def locked_packages(lock: str) -> int:
    """How many entries a lock has.

    >>> locked_packages("numpy==2.4.6 --hash=sha256:00")
    1
    """
    return len(re.findall(r"^[a-z0-9]", lock, re.MULTILINE | re.IGNORECASE))


def is_within(version: str, minimum: str, below: str) -> bool:
    """Whether a version is in a half-open range; what follows its numbers does not count.

    >>> is_within("2.13.0+cpu", "2.9", "3.0"), is_within("3.0.0rc1", "2.9", "3.0")
    (True, False)
    """
    return _numbers(minimum) <= _numbers(version) < _numbers(below)


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(part) for part in match[0].split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
