"""Which inference runtimes this device has, and which Python runs each: found without importing any.

Some runtimes cannot share one environment: onnxruntime and onnxruntime-openvino are the same import package,
tflite-runtime works only with numpy below 2. Such a runtime lives in an environment of its own, and
``[runtime] environments`` names that environment's interpreter, by runtime or by runtime and provider.

Rules:

- Which Python runs is said by the device's own configuration. A manifest names a runtime and a provider; it
  can choose among the interpreters that the device's owner entered, and never brings one.
- The runner in another environment is this agent's own source, started by ``runner/entry.py``. Nothing else
  of this environment gets onto its path, so numpy and the runtime are the other environment's.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from edgewright.agent.footprint import installed_version
from edgewright.wire.errors import RuntimeLoadError
from edgewright.wire.manifest import RuntimeRange
from edgewright.wire.versions import is_within

ENTRY: Final = Path(__file__).parent / "runner" / "entry.py"
"""What another environment's Python is started with."""

Environments = Mapping[str, str]
"""Interpreters by ``runtime`` or ``runtime/provider``, as in the configuration."""

NO_ENVIRONMENTS: Final[Environments] = MappingProxyType({})
"""Of a device whose runtimes all live beside the agent."""


class _Distribution(NamedTuple):
    """An installable package: the runtime that it is, and the providers that it brings, its best first."""

    package: str
    runtime: str
    providers: tuple[str, ...]


_CPU: Final = "CPUExecutionProvider"

_DISTRIBUTIONS: Final = (
    _Distribution("onnxruntime-openvino", "onnxruntime", ("OpenVINOExecutionProvider", _CPU)),
    _Distribution("onnxruntime-gpu", "onnxruntime", ("CUDAExecutionProvider", _CPU)),
    _Distribution("onnxruntime", "onnxruntime", (_CPU,)),
    _Distribution("ai-edge-litert", "litert", ("XNNPACK",)),
    _Distribution("tflite-runtime", "tflite-runtime", ("XNNPACK",)),
)
"""Of packages that overwrite each other the more special one stands first: it is what was asked for."""


class InstalledRuntime(NamedTuple):
    """A runtime with one of its providers, and the interpreter that has it."""

    name: str
    version: str
    provider: str
    python: str

    def __str__(self) -> str:
        return f"{self.name} {self.version} {self.provider}"


def python_for(needed: RuntimeRange, environments: Environments = NO_ENVIRONMENTS) -> str:
    """The interpreter that runs a manifest's runtime.

    >>> python_for(RuntimeRange("litert", "2", "3", "XNNPACK"), {"litert": "/opt/litert/bin/python"})
    '/opt/litert/bin/python'
    """
    by_provider = environments.get(f"{needed.name}/{needed.provider}")
    return by_provider or environments.get(needed.name) or sys.executable


def runner_command(needed: RuntimeRange, environments: Environments = NO_ENVIRONMENTS) -> list[str]:
    """How a runner of a manifest's runtime is started; its command and arguments follow.

    In another environment Python is isolated (``-I``): neither ``PYTHONPATH`` nor the folder that the agent
    was started in can put this environment's packages before the other's.
    """
    python = python_for(needed, environments)
    if python == sys.executable:
        return [python, "-m", "edgewright.agent.runner"]
    return [python, "-I", str(ENTRY)]


def find_runtimes(environments: Environments = NO_ENVIRONMENTS) -> tuple[InstalledRuntime, ...]:
    """Every runtime with each provider that this device has, the environment of the agent itself first."""
    own = (found for name in ("onnxruntime", "litert", "tflite-runtime") for found in _found(name, ""))
    others = (found for key, python in sorted(environments.items()) for found in _found(*_split(key), python))
    return tuple(dict.fromkeys([*own, *others]))


def installed_runtime(needed: RuntimeRange, environments: Environments = NO_ENVIRONMENTS) -> str:
    """Version of a manifest's runtime where ``python_for`` finds it, empty where it is not."""
    python = python_for(needed, environments)
    places = None if python == sys.executable else _packages_of(python)
    versions = (installed_version(of.package, places) for of in _DISTRIBUTIONS if of.runtime == needed.name)
    return next(filter(None, versions), "")


def verify_runtime(needed: RuntimeRange, environments: Environments = NO_ENVIRONMENTS) -> None:
    """Demand that the installed runtime is one on which the artifact was proven, before it is fetched.

    Raises:
        RuntimeLoadError: it is not, or there is none.
    """
    version = installed_runtime(needed, environments)
    if not version:
        raise RuntimeLoadError(f"The artifact needs {needed.name}, which is not installed.")
    verify_version(needed, version)


def verify_version(needed: RuntimeRange, version: str) -> None:
    """Hold a version against the half-open range of a manifest.

    Raises:
        RuntimeLoadError: it is outside.
    """
    if not is_within(version, needed.minimum, needed.below):
        raise RuntimeLoadError(
            f"The artifact runs on {needed.name} {needed.minimum} up to, not including, {needed.below}; "
            f"{version} is installed."
        )


def _found(name: str, provider: str = "", python: str = "") -> list[InstalledRuntime]:
    places = _packages_of(python) if python else None
    for distribution in _DISTRIBUTIONS:
        if distribution.runtime == name and (version := installed_version(distribution.package, places)):
            return [
                InstalledRuntime(name, version, each, python or sys.executable)
                for each in distribution.providers
                if provider in {"", each}
            ]
    return []


def _split(key: str) -> tuple[str, str]:
    name, _, provider = key.partition("/")
    return name, provider


def _packages_of(python: str) -> list[str]:
    """Folders in which an interpreter's packages lie: those of its virtual environment, or of the system."""
    prefix = Path(python).parent.parent
    return [
        str(place) for kind in ("site", "dist") for place in prefix.glob(f"lib*/python3*/{kind}-packages")
    ]
