"""What keeps the supervisor's process small: 40 MB resident is the promise on boards that have 512.

Each measure here was measured, after two updates, on x86-64 with CPython 3.11: the versions are read
without ``importlib.metadata`` (0.8 MB: it brings zip files, CSV and e-mail), all threads allocate from one
arena (0.6 MB), chunks go back to the system when they are stored, and ``urllib.request`` (1.4 MB), which
paho imports for proxies of web sockets that nobody here uses, is loaded when somebody first uses it. Signed
metadata is parsed in a process of its own (``verifier``), so tuf, securesystemslib and urllib3 are not here.
In that process ngclient's own fetcher and the libraries of signing services took half of the time of a start,
which a device's first decision waits for.
"""

import ctypes
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Final

_M_ARENA_MAX: Final = -8
_M_MMAP_THRESHOLD: Final = -3
"""mallopt(3); of glibc only, as the arenas are."""

_LARGE_BYTES: Final = 64 * 1024
"""Half a chunk: what is larger gets pages of its own, which leave no hole behind."""


def use_one_arena() -> None:
    """Let all threads of this process share one heap; call it before the first thread starts."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def load_when_used(module: str) -> None:
    """Let a module's import cost nothing until one of its names is used (PEP 562).

    The library's ``importlib.util.LazyLoader`` loads with the import statement itself in CPython 3.11, which
    looks at the module's ``__spec__``.
    """
    parent, _, own_name = module.rpartition(".")
    spec = importlib.util.find_spec(module)
    if module in sys.modules or spec is None:
        return
    lazy = ModuleType(module)

    def load(name: str) -> object:
        if name.startswith("__"):  # The import machinery asks for these.
            raise AttributeError(name)
        if sys.modules.get(module) is lazy:
            del sys.modules[module]
        return getattr(importlib.import_module(module), name)

    lazy.__dict__.update(__getattr__=load, __spec__=spec)
    sys.modules[module] = lazy
    if parent:
        setattr(sys.modules[parent], own_name, lazy)


def load_when_called(module: str, name: str) -> None:
    """Let ``from module import name`` cost nothing until what it names is called; its packages wait too."""
    if module in sys.modules:
        return
    lazy = ModuleType(module)

    def call(*arguments: object, **named: object) -> object:
        if sys.modules.get(module) is lazy:
            del sys.modules[module]
        loaded: Callable[..., object] = getattr(importlib.import_module(module), name)
        return loaded(*arguments, **named)

    setattr(lazy, name, call)
    sys.modules[module] = lazy


def keep_out(modules: Sequence[str]) -> None:
    """Let the import of a module fail as if it were not installed: for optional parts of libraries.

    It holds for this process, and for modules that nothing has imported yet (library reference, "The module
    cache").
    """
    for module in modules:
        sys.modules.setdefault(module, None)  # type: ignore[arg-type]  # None is how the cache says "not there"


def installed_version(distribution: str, places: Sequence[str] | None = None) -> str:
    """Version of an installed distribution, empty where it is not; nothing of it is imported.

    It stands in the name of the ``.dist-info`` folder (PyPA, "Recording installed projects").

    ``places`` are another environment's folders of packages; without them it is this one's.

    >>> installed_version("no-such-distribution")
    ''
    """
    normal = re.sub(r"[-_.]+", "_", distribution).lower()
    for place in sys.path if places is None else places:
        for folder in Path(place or ".").glob("*.dist-info"):
            name, _, version = folder.name.removesuffix(".dist-info").rpartition("-")
            if re.sub(r"[-_.]+", "_", name).lower() == normal:
                return version
    return ""
