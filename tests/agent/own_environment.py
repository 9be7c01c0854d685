"""An environment of its own as a device has it, made of this one's packages: numpy, msgspec and onnxruntime,
and no trace of Edgewright.
"""

import sys
import sysconfig
import venv
from pathlib import Path
from typing import Final

_PACKAGES: Final = ("numpy", "numpy.libs", "msgspec", "onnxruntime", "onnxruntime-*.dist-info", "flatbuffers")


def make_environment(folder: Path) -> str:
    """Make it in a new folder; its interpreter."""
    venv.create(folder, with_pip=False, symlinks=True)
    here = Path(sysconfig.get_path("purelib"))
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    there = folder / "lib" / name / "site-packages"
    for pattern in _PACKAGES:
        for found in here.glob(pattern):
            (there / found.name).symlink_to(found)
    return str(folder / "bin" / "python")
