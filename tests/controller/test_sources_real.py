"""Models that nobody here made: those which the packages onnx and onnxruntime carry for their own tests."""

from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from edgewright.controller.compiler.ort import Session
from edgewright.controller.compiler.sources.reading import read_subject
from edgewright.controller.compiler.subject import Subject, take_rows
from edgewright.wire.errors import EdgewrightError

RTOL, ATOL = 1e-3, 1e-5
HANDLED = 126
REFUSED = {71: 2, 72: 8, 122: 7}
"""Refused files by error: training operators; shapes that only some values fit; text and sequences."""


def _folder(package: str, *parts: str) -> Path:
    found = find_spec(package)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent.joinpath(*parts)


def _files() -> list[Path]:
    own = sorted(_folder("onnx", "backend", "test", "data").rglob("model.onnx"))
    return own + sorted(_folder("onnxruntime", "datasets").glob("*.onnx"))


@pytest.fixture(scope="module")
def read() -> dict[Path, Subject | EdgewrightError]:
    """What became of each file: a subject or a refusal. Anything else is a defect."""
    results: dict[Path, Subject | EdgewrightError] = {}
    for path in _files():
        try:
            results[path] = read_subject(path)
        except EdgewrightError as error:
            results[path] = error
    return results


def test_every_file_is_handled_or_refused_by_number(read: dict[Path, Subject | EdgewrightError]) -> None:
    """Of all files so many become subjects, and the others have a number and one sentence."""
    refused = [error for error in read.values() if isinstance(error, EdgewrightError)]
    assert Counter(error.number for error in refused) == REFUSED
    assert len(read) - len(refused) == HANDLED
    assert not [error.sentence for error in refused if "\n" in error.sentence or not error.remedy]


def test_every_handled_file_runs_as_its_ports_say(read: dict[Path, Subject | EdgewrightError]) -> None:
    """A subject's model runs on its own feeds, and its outputs have the declared types and sizes."""
    for path, subject in read.items():
        if isinstance(subject, Subject):
            calls = take_rows(subject.holdout, range(2))
            found = Session(subject.model).run_calls(calls, batches=subject.batches)
            seen = {(name, str(values.dtype), values.shape[1:]) for name, values in found.items()}
            assert seen == {(port.name, port.dtype, port.shape) for port in subject.outputs}, path


def test_what_was_changed_computes_what_the_packages_expect(
    read: dict[Path, Subject | EdgewrightError],
) -> None:
    """On the inputs that lie beside the files, every handled model gives the outputs that lie beside them."""
    compared = 0
    for path, subject in read.items():
        recorded = path.parent / "test_data_set_0"
        if not isinstance(subject, Subject) or not recorded.is_dir():
            continue
        given = [_tensor(recorded / f"input_{number}.pb") for number in range(len(subject.inputs))]
        if [values.shape for values in given] != [port.shape for port in subject.inputs]:
            continue
        feeds = {port.name: values[np.newaxis] for port, values in zip(subject.inputs, given, strict=True)}
        found = Session(subject.model).run_calls(feeds)
        for number, port in enumerate(subject.outputs):
            expected = _tensor(recorded / f"output_{number}.pb")
            np.testing.assert_allclose(found[port.name][0], expected, RTOL, ATOL, err_msg=str(path))
        compared += 1
    assert compared == 124


def _tensor(path: Path) -> NDArray[Any]:
    tensor = onnx.TensorProto.FromString(path.read_bytes())
    return np.asarray(onnx.numpy_helper.to_array(tensor))
