"""Starts a runner under another environment's Python: ``python -I entry.py serve|qualify ...``.

That Python has numpy, msgspec and one runtime, and knows nothing of Edgewright. The package is made known
here under its name, by its folder alone; the folder's neighbours, which in an installed agent are the other
environment's packages, stay out of the path.
"""

import runpy
import sys
from pathlib import Path
from types import ModuleType

if __name__ == "__main__":
    edgewright = ModuleType("edgewright")
    edgewright.__path__ = [str(Path(__file__).resolve().parents[2])]
    sys.modules["edgewright"] = edgewright
    runpy.run_module("edgewright.agent.runner", run_name="__main__", alter_sys=True)
