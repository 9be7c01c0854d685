"""The environment of every process that the controller starts.

Children run native code, a model's recipe or another project's broker. None of them needs what the controller
was given for itself: the PIN of its keys, somebody's token. It is left out here, for all of them alike.

This keeps a secret out of a crash report or of a careless ``print(os.environ)``. It does not keep it from
code that looks for it: a child has the controller's account, and so its files.
"""

import os
from collections.abc import Mapping
from typing import Final

OWN_PREFIX: Final = "EDGEWRIGHT_"
NO_REPORTS: Final = {"ORT_DISABLE_TELEMETRY": "1"}
"""onnxruntime reports to its maker where nobody says no; a recipe imports it as it likes."""

SECRET_WORDS: Final = ("PIN", "TOKEN", "SECRET", "PASSWORD", "PASSPHRASE")


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what is its own or sounds secret, and with ``extra``; no reports."""
    kept = {name: value for name, value in os.environ.items() if not _is_kept_back(name.upper())}
    return {**kept, **NO_REPORTS, **(extra or {})}


def _is_kept_back(name: str) -> bool:
    return name.startswith(OWN_PREFIX) or any(word in name for word in SECRET_WORDS)
