"""``fuzz_inputs``: inputs of a bounded fuzzing run over every parser of foreign bytes.

The value is what this run fed, ``per_second`` how fast, start of the processes included, and ``findings`` how
many targets ended with anything but a value or a numbered error. The longer recorded run stands in
``tests/fuzz/RECORD.md``. There is no peer: the comparison is with zero findings.
"""

import importlib.util
from collections.abc import Iterator

from tests.fuzz.runs import ENGINES, share_out
from tests.fuzz.targets import TARGETS

INPUTS = 50_000


def run() -> Iterator[dict[str, object]]:
    """Fuzz every target a little."""
    engine = "atheris" if importlib.util.find_spec("atheris") else "seeded"
    runs = [ENGINES[engine](name, inputs) for name, inputs in share_out(list(TARGETS), INPUTS).items()]
    fed, seconds = sum(run.inputs for run in runs), sum(run.seconds for run in runs)
    yield {
        "name": "fuzz_inputs",
        "value": fed,
        "unit": "inputs",
        "peer": "",
        "peer_value": None,
        "ratio": None,
        "per_second": round(fed / seconds),
        "findings": sum(bool(run.found) for run in runs),
        "targets": len(runs),
        "engine": engine,
        "recorded": "tests/fuzz/RECORD.md",
    }
