"""Writing an OpenSSF model-signing bundle with the reference library: the only file that knows it.

The library is the extra ``edgewright-controller[signing]``: 36 packages, a second to import, 59 MiB. So it
runs in a process of its own, for as long as one signature takes; without the extra there is no bundle.
"""

import importlib
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgewright.controller.childenvironment import child_environment
from edgewright.controller.errors import ProvenanceError

LIMIT_S: Final = 120.0
"""A gigabyte is hashed in a few seconds."""


def installed() -> bool:
    """Whether the extra is here; the library forgets to ask for pyOpenSSL and does not start without it."""
    return all(importlib.util.find_spec(name) is not None for name in ("model_signing", "OpenSSL"))


def sign_folder(folder: Path, key_file: Path) -> bytes:
    """The bundle over a folder's files, signed with the P-256 key in a PEM file.

    Raises:
        ProvenanceError: the library did not sign.
    """
    with tempfile.TemporaryDirectory(prefix="edgewright-signing-") as place:
        bundle = Path(place) / "model.sig"
        command = [sys.executable, "-m", __spec__.name, str(folder), str(key_file), str(bundle)]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=LIMIT_S,
                check=False,
                env=child_environment(),
            )
        except subprocess.TimeoutExpired as error:
            raise ProvenanceError(f"model-signing took more than {LIMIT_S:.0f} s.") from error
        if done.returncode != 0 or not bundle.is_file():
            said = (done.stderr.strip().splitlines() or ["nothing"])[-1][:200]
            raise ProvenanceError(f"model-signing did not sign; it said: {said}.")
        return bundle.read_bytes()


def main(arguments: Sequence[str]) -> int:
    """The child's side: folder, key file and the bundle's place."""
    folder, key_file, bundle = arguments
    # Loaded by name: the type checker has no business with a library that may be missing.
    signing = importlib.import_module("model_signing.signing")
    signing.Config().use_elliptic_key_signer(private_key=key_file).sign(folder, bundle)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
