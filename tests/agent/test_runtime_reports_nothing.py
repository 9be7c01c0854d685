"""What a runtime must not do behind the agent's back."""

import os
import subprocess
import sys
from pathlib import Path

_LOADS = """
import os
import edgewright.agent.runner.onnxruntime_runtime
print(len(os.listdir("/proc/self/task")))
"""


def test_onnxruntime_reports_to_nobody(tmp_path: Path) -> None:
    """A process that has loaded onnxruntime has written no identifier of the device, and no thread sends."""
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", _LOADS],
        env=environment | {"HOME": str(tmp_path), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "1"
    assert not list(tmp_path.iterdir())
