"""TFLite forms of a model: made by onnx2tf and AI Edge Quantizer, and run by a device's own adapters.

Where a toolchain is missing these are skipped, unless ``EDGEWRIGHT_REQUIRE_TOOLCHAINS`` demands it.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from edgewright.agent.line.runnerprocess import RunnerProcess
from edgewright.agent.runner.runtimes import load_session
from edgewright.controller.compiler import tflite_forms
from edgewright.controller.compiler.benches.opening import open_bench
from edgewright.controller.compiler.benches.ort_bench import OrtBench
from edgewright.controller.compiler.candidate import Candidate
from edgewright.controller.compiler.gates import Verdict
from edgewright.controller.compiler.sources.images import image_subject
from edgewright.controller.compiler.sources.tflitefile import look_at_tflite
from edgewright.controller.compiler.subject import Feeds, Subject, take_rows
from edgewright.controller.compiler.targets import TARGETS, Target
from edgewright.controller.compiler.tflite_forms import tflite_candidates
from edgewright.controller.compiler.within import spread_rows
from edgewright.controller.errors import GateFailedError, ToolchainMissingError, UnknownOperatorError
from edgewright.controller.model_toml import read_model
from edgewright.wire.manifest import Manifest, Tensor, encode_manifest
from tests.agent.tiny_models import golden_bytes, make_manifest
from tests.environments import find_environments, need_toolchains
from tests.house.sources import ROOT

LITERT: Final = TARGETS["aarch64-litert"]
TFLITE: Final = TARGETS["armv7-tflite"]
ROWS: Final = 40
PATIENCE_SECONDS: Final = 60.0


@pytest.fixture(scope="module")
def subject() -> Subject:
    """The garment-packing model with some of its frames."""
    folder = ROOT / "models" / "garment-packing"
    whole = image_subject(read_model(folder), folder)
    rows = np.linspace(0, len(whole.truths) - 1, ROWS).astype(int).tolist()
    holdout, truths = take_rows(whole.holdout, rows), whole.truths[rows]
    return replace(whole, calibration=spread_rows(whole.calibration, ROWS), holdout=holdout, truths=truths)


@pytest.fixture(scope="module")
def forms(subject: Subject) -> dict[str, Candidate]:
    """All its forms for LiteRT, by name."""
    need_toolchains(*LITERT.needs)
    left_out: list[Verdict] = []
    found = {candidate.name: candidate for candidate in tflite_candidates(subject, LITERT, left_out.append)}
    assert not left_out
    return found


def _logits(target: Target, candidate: Candidate, subject: Subject) -> NDArray[Any]:
    need_toolchains(target.environment)
    with open_bench(target) as bench:
        return bench.outputs(candidate.model, subject.holdout)[subject.decision]


def _error(found: NDArray[Any], reference: NDArray[Any]) -> float:
    centred = reference - reference.mean(axis=-1, keepdims=True)
    difference = found - found.mean(axis=-1, keepdims=True) - centred
    return float(np.sqrt(np.mean(difference**2) / np.mean(centred**2)))


@pytest.fixture(scope="module")
def reference(subject: Subject) -> NDArray[Any]:
    """What onnxruntime says of the source."""
    with OrtBench("CPUExecutionProvider", batches=True) as bench:
        return bench.outputs(subject.model, subject.holdout)[subject.decision]


def test_fp32_comes_first_and_forms_keep_the_ports(subject: Subject, forms: dict[str, Candidate]) -> None:
    """fp32 is the first form and int8 the next; each has the source's ports, and says what made it."""
    assert list(forms) == ["fp32", "int8", "int8, dynamic", "int8, weights"]
    assert all(form.tools["onnx2tf"].startswith("2.") for form in forms.values())
    assert forms["int8"].tools["ai-edge-quantizer"].startswith("0.")
    for form in forms.values():
        inputs, outputs = look_at_tflite(form.model)
        assert [(port.name, port.shape) for port in inputs] == [("image", (1, 3, 64, 64))]
        assert [(port.name, port.shape) for port in outputs] == [("logits", (1, 8))]


def test_forms_say_what_the_source_says(
    subject: Subject, forms: dict[str, Candidate], reference: NDArray[Any]
) -> None:
    """On LiteRT fp32 is the source to rounding, and every int8 form decides alike, at a third of the size."""
    assert _error(_logits(LITERT, forms["fp32"], subject), reference) < 1e-5
    for name in ("int8", "int8, dynamic", "int8, weights"):
        logits = _logits(LITERT, forms[name], subject)
        assert _error(logits, reference) < 0.03, name
        assert np.mean(logits.argmax(-1) == reference.argmax(-1)) >= 0.97, name
        assert len(forms[name].model) < 0.3 * len(forms["fp32"].model), name


def test_the_same_model_gives_the_same_bytes(subject: Subject, forms: dict[str, Candidate]) -> None:
    """Converted and quantised again by new processes, fp32 and int8 have the same bytes."""
    tflite_forms._converted.cache_clear()
    tflite_forms._quantised.cache_clear()
    again = tflite_candidates(subject, LITERT)
    assert next(again).model == forms["fp32"].model
    assert next(again).model == forms["int8"].model


def test_a_runtime_on_which_a_form_breaks_is_told_apart(
    subject: Subject, forms: dict[str, Candidate], reference: NDArray[Any]
) -> None:
    """The dynamic form is right on LiteRT and nonsense on tflite-runtime 2.14: only a run there tells."""
    dynamic = forms["int8, dynamic"]
    assert _error(_logits(LITERT, dynamic, subject), reference) < 0.03
    assert _error(_logits(TFLITE, dynamic, subject), reference) > 0.5
    assert _error(_logits(TFLITE, forms["int8"], subject), reference) < 0.03


def test_16_bit_activations_break_on_the_newer_runtime(
    subject: Subject, forms: dict[str, Candidate], reference: NDArray[Any]
) -> None:
    """The other way round: int16 activations are right on tflite-runtime 2.14 and not on LiteRT."""
    model = tflite_forms.quantise(forms["fp32"].model, "int16", subject.calibration)
    int16 = Candidate("int16", "int8", model, "tflite")
    some, reference = replace(subject, holdout=take_rows(subject.holdout, range(0, ROWS, 5))), reference[::5]
    assert _error(_logits(TFLITE, int16, some), reference) < 0.03
    with pytest.raises((UnknownOperatorError, AssertionError)):
        assert _error(_logits(LITERT, int16, some), reference) < 0.03


@pytest.mark.parametrize("name", ["fp32", "int8"])
def test_a_device_runs_it_as_the_bench_did(
    name: str, subject: Subject, forms: dict[str, Candidate], tmp_path: Path
) -> None:
    """The agent's own adapters answer with the bench's logits, on LiteRT and on tflite-runtime."""
    some = replace(subject, holdout=take_rows(subject.holdout, range(4)))
    manifest = make_manifest(
        forms[name].model,
        golden_bytes(),
        input=Tensor("image", "float32", (1, 3, 64, 64)),
        output=Tensor("logits", "float32", (1, 8)),
        labels=subject.labels,
    )
    frames = some.holdout["image"]
    here = msgspec.structs.replace(manifest, runtime=LITERT.runtime)
    np.testing.assert_allclose(
        _run_here(forms[name].model, here, frames), _logits(LITERT, forms[name], some), atol=1e-5
    )
    need_toolchains("tflite-runtime")
    there = msgspec.structs.replace(manifest, runtime=TFLITE.runtime)
    np.testing.assert_allclose(
        _run_there(forms[name].model, there, frames, tmp_path), _logits(TFLITE, forms[name], some), atol=1e-5
    )


def _run_here(model: bytes, manifest: Manifest, frames: NDArray[Any]) -> NDArray[Any]:
    session = load_session(model, manifest, threads=1)
    output = np.empty(manifest.output.shape, np.float32)
    found = []
    for frame in frames:
        session.run_into(np.ascontiguousarray(frame), output)
        found.append(output.copy())
    return np.stack(found)


def _run_there(model: bytes, manifest: Manifest, frames: NDArray[Any], folder: Path) -> NDArray[Any]:
    path, described = folder / "model", folder / "model.json"
    path.write_bytes(model)
    described.write_bytes(encode_manifest(manifest))
    runner = RunnerProcess(manifest, described, path, environments=find_environments())
    found = []
    try:
        assert runner.wait(time.monotonic() + PATIENCE_SECONDS)
        for frame in frames:
            runner.frames.inputs[...] = frame
            runner.ask()
            assert runner.wait(time.monotonic() + PATIENCE_SECONDS)
            found.append(runner.frames.output.copy())
    finally:
        runner.kill()
    return np.stack(found)


def test_a_tflite_source_is_its_own_first_form(subject: Subject, forms: dict[str, Candidate]) -> None:
    """A float TFLite file ships as it came or as int8 of itself; one that came quantised only as it came."""
    source = replace(subject, model=forms["fp32"].model, format="tflite")
    found = tflite_candidates(source, LITERT)
    assert next(found).model == source.model
    assert next(found).model == forms["int8"].model
    quantised = replace(subject, model=forms["int8"].model, format="tflite")
    assert [each.name for each in tflite_candidates(quantised, LITERT)] == ["int8, as it came"]


def test_without_the_tools_a_target_is_refused(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its converter a TFLite target is a clear error, and nothing was tried."""
    monkeypatch.setenv("EDGEWRIGHT_TOOLCHAINS", str(tmp_path))
    with pytest.raises(ToolchainMissingError, match="onnx2tf is not installed"):
        next(tflite_candidates(subject, LITERT))


def test_int8_needs_calibration(subject: Subject, forms: dict[str, Candidate]) -> None:
    """Without calibration data no form is quantised, and the sentence says why."""
    empty: Feeds = take_rows(subject.calibration, [])
    with pytest.raises(GateFailedError, match="no calibration data"):
        tflite_forms.quantise(forms["fp32"].model, "static", empty)
