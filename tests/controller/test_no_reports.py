"""What the compiler's runtime must not do behind the controller's back."""

import os
import subprocess
import sys
from pathlib import Path

from edgewright.controller.childenvironment import child_environment

COMPILER = "import edgewright.controller.compiler.ort"
RECIPE = "import onnxruntime"
COUNT = "; import os; print(len(os.listdir('/proc/self/task')))"


def threads(code: str, home: Path, environment: dict[str, str]) -> str:
    """Threads of a process that has imported something, with a home folder of its own."""
    environment |= {"HOME": str(home), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code + COUNT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def test_the_compiler_reports_to_nobody(tmp_path: Path) -> None:
    """Importing the compiler's runtime starts no thread that sends, and writes no identifier."""
    told = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    assert threads(COMPILER, tmp_path, told) == "1"
    assert not list(tmp_path.iterdir())


def test_a_recipe_reports_to_nobody(tmp_path: Path) -> None:
    """A child that imports onnxruntime by itself does neither."""
    assert threads(RECIPE, tmp_path, child_environment()) == "1"
    assert not list(tmp_path.iterdir())
