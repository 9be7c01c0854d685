"""Models that nobody here made: each is read or refused with a number, and small ones are compiled whole."""

import os
from pathlib import Path

import numpy as np
import pytest

from edgewright.controller.compiler.build import compile_model
from edgewright.controller.compiler.protocol import CompileRequest
from edgewright.controller.compiler.sources.reading import read_subject
from edgewright.controller.compiler.subject import Subject
from edgewright.controller.errors import ModelError
from edgewright.controller.model_toml import GatesPart
from tests.zoo.fetch import ZOO, is_fetched
from tests.zoo.folders import write_folder
from tests.zoo.models import ZOO_MODELS, ZooModel, find

REQUIRE = "EDGEWRIGHT_REQUIRE_ZOO"
TARGET = "x86_64-ort-cpu"

# A test does not measure time: on a busy machine two small networks change places.
UNTIMED = GatesPart(latency_ratio=100.0)


@pytest.fixture(autouse=True)
def _zoo() -> None:
    """Skip without the models, or fail where they were demanded."""
    if not is_fetched():
        words = "the models of other packages are not there: python -m tests.zoo brings them"
        pytest.fail(words) if os.environ.get(REQUIRE) == "1" else pytest.skip(words)


def test_the_table_names_what_is_there() -> None:
    """At least fourteen models of ten packages are named, and each named file is there."""
    assert len(ZOO_MODELS) >= 14
    assert len({model.package for model in ZOO_MODELS}) >= 10
    assert all(model.path.is_file() for model in ZOO_MODELS)


def test_every_file_is_read_or_refused_with_a_number() -> None:
    """A bare file gives a subject or an error of this project, whatever is in it."""
    files = sorted(path for suffix in ("onnx", "tflite") for path in ZOO.rglob(f"*.{suffix}"))
    small = [path for path in files if path.stat().st_size < 2_000_000]
    assert len(small) >= 14
    for path in small:
        outcome = _read(path)
        assert outcome.inputs and outcome.outputs if isinstance(outcome, Subject) else outcome > 0


def _read(path: Path) -> Subject | int:
    """The subject, or the number of the refusal; anything else is a traceback."""
    try:
        return read_subject(path)
    except ModelError as error:
        return error.number


@pytest.mark.parametrize("model", [find("silero-vad"), find("ocr-direction")], ids=lambda model: model.name)
def test_a_small_model_becomes_a_smaller_one(model: ZooModel, tmp_path: Path) -> None:
    """A network that came from elsewhere ships quantised, agrees with itself, and names what it refused."""
    write_folder(model, tmp_path / "model", (TARGET,), UNTIMED)
    request = CompileRequest(path=str(tmp_path / "model"), blobs=str(tmp_path / "blobs"))
    (compiled,) = compile_model(request).compiled
    assert compiled.precision in ("int8", "mixed")
    assert compiled.artifact.length < 0.6 * model.path.stat().st_size
    assert compiled.verdict.numbers["logit_error"] <= UNTIMED.logit_error
    assert all(verdict.failures for verdict in compiled.verdicts if not verdict.passed)


def test_calibration_and_holdout_share_nothing() -> None:
    """No call of a model's holdout is among its calibration calls."""
    for name in ("magika", "ocr-direction", "vowel-marks", "wakeword-jarvis"):
        calibration, holdout = (find(name).draw(role).feeds for role in ("calibration", "holdout"))
        first = next(iter(calibration))
        seen = {row.tobytes() for row in calibration[first]}
        assert not seen & {row.tobytes() for row in holdout[first]}, name


def test_feeds_are_the_same_every_time() -> None:
    """A model's feeds come from their seeds alone."""
    one, other = (find("ocr-direction").draw("holdout") for _ in range(2))
    assert np.array_equal(one.feeds["x"], other.feeds["x"])
