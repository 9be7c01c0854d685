"""Faults that people plant without meaning to, each in what is sound otherwise, and what the compiler says.

A fault is caught where the compiler refuses it or says it in a sentence, and the sound folder beside it
passes without that sentence. ``test_planted_faults.py`` holds each; ``planted_faults_missed`` counts.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import helper, load_model_from_string, numpy_helper
from onnxruntime.quantization import quant_pre_process, quantize_static

from edgewright.controller.compiler.benches.opening import open_bench
from edgewright.controller.compiler.benches.ort_bench import OrtBench
from edgewright.controller.compiler.build import build_version, compile_model
from edgewright.controller.compiler.candidate import Candidate
from edgewright.controller.compiler.gates import judge
from edgewright.controller.compiler.measure import measure, relative_error
from edgewright.controller.compiler.patches import Base
from edgewright.controller.compiler.protocol import BuildRequest, CompileRequest, CompileResult
from edgewright.controller.compiler.subject import Port, Subject
from edgewright.controller.compiler.targets import find_target
from edgewright.controller.compiler.toolchains.running import INSIDE, run_in, write_arrays
from edgewright.controller.errors import ControllerError
from edgewright.controller.model_tensors import (
    InputPart,
    TensorDataPart,
    TensorModelPart,
    TensorSpec,
    write_tensor_model,
)
from edgewright.controller.model_toml import FILE_NAME
from tests.benchmarks.compile_peers import Calls
from tests.controller.colour_model import write_folder as write_colours
from tests.controller.compiler_graphs import LABELS, UNTIMED, graph, matching_subject

TARGET: Final = "x86_64-ort-cpu"

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: what went wrong, in a few words.
        says: a pattern that the compiler's words match, with the fault and only with it.
        words: what the compiler says of a folder, with or without the fault.
        toolchains: environments that it needs.
    """

    name: str
    says: str
    words: Callable[[Path, bool], str]
    toolchains: tuple[str, ...] = ()

    def is_caught(self, folder: Path) -> bool:
        """Whether it is said where it is planted, and not said where it is not."""
        with_fault, without = (self.words(folder / name, planted) for name, planted in _BOTH)
        return bool(re.search(self.says, with_fault)) and not re.search(self.says, without)


_BOTH: Final = (("planted", True), ("sound", False))


def transposed_input(folder: Path, planted: bool) -> str:
    """Pictures whose height and width a script exchanged, in both files."""

    def turn(images: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(images.swapaxes(3, 4)) if planted else images

    subject = matching_subject()
    calibration, holdout = turn(subject.calibration["image"]), turn(subject.holdout["image"])
    _write(folder, subject, {"image": calibration}, {"image": holdout, "labels": _names(subject)})
    return _told(folder)


def swapped_labels(folder: Path, planted: bool) -> str:
    """Two labels that changed places in model.toml."""
    subject = matching_subject()
    labels = (LABELS[2], LABELS[1], LABELS[0], LABELS[3]) if planted else LABELS
    _write(folder, subject, subject.calibration, {**subject.holdout, "labels": _names(subject)}, labels)
    return _told(folder)


def depthwise_per_tensor(folder: Path, planted: bool) -> str:
    """A depthwise layer with one scale for all channels, which a single dead one spoils: a tool's default."""
    subject = _depthwise()
    folder.mkdir(parents=True)
    artifact = _quantised(folder, subject, per_channel=not planted)
    bench = OrtBench("CPUExecutionProvider")
    reference = bench.outputs(subject.model, subject.holdout)
    candidate = Candidate("int8", "int8", artifact)
    _, measured = measure(subject, find_target(TARGET), reference, candidate, bench)
    return "; ".join(judge(measured, subject.gates).failures)


def saturated_calibration(folder: Path, planted: bool) -> str:
    """Calibration pictures that an exposure far too long has burnt out; the holdout is as it should be."""
    subject = matching_subject()
    images = subject.calibration["image"]
    shown = np.clip(100 * images, -0.5, 0.5) if planted else images
    _write(folder, subject, {"image": shown}, {**subject.holdout, "labels": _names(subject)})
    return _told(folder)


def runtime_that_breaks_it(folder: Path, planted: bool) -> str:
    """16-bit activations: right on tflite-runtime 2.14; on LiteRT its delegate runs none of it."""
    folder.mkdir(parents=True)
    calls = {"x": np.random.default_rng(3).normal(0, 1, (16, 1, 4)).astype(np.float32)}
    model = (INSIDE / "tiny.tflite").read_bytes()
    (folder / "float.tflite").write_bytes(model)
    feeds = write_arrays(folder / "feeds.npz", calls)
    request = {"form": "int16" if planted else "static", "feeds": feeds}
    run_in("ai-edge-quantizer", INSIDE / "quantise_tflite.py", request, folder)
    artifact = (folder / "quantised.tflite").read_bytes()
    with open_bench(find_target("armv7-tflite")) as older:
        right, ours = (older.outputs(each, calls)["y"] for each in (model, artifact))
    if relative_error(right, ours) > UNTIMED.logit_error:
        return "wrong on the runtime that it was made for"
    try:
        with open_bench(find_target("aarch64-litert")) as newer:
            newer.outputs(artifact, calls)
    except ControllerError as error:
        return str(error)
    return "runs on both"


def twin_of_the_same_name(folder: Path, planted: bool) -> str:
    """Version 2 is a network for something else, right about its own holdout; only version 1 tells."""
    write_colours(folder / "first")
    write_colours(folder / "second")
    _change_colours(folder / "second", other=planted)
    blobs = folder / "blobs"
    first = build_version(
        BuildRequest(folder=str(folder / "first"), blobs=str(blobs), version=1, release_counter=1)
    )
    bases: dict[str, tuple[Base, ...]] = {built.target: (Base(1, built.sha256),) for built in first.built}
    request = BuildRequest(
        folder=str(folder / "second"), blobs=str(blobs), version=2, release_counter=2, bases=bases
    )
    return "; ".join(build_version(request).warnings)


def twin_in_the_cache(folder: Path, planted: bool) -> str:
    """Another network under the same file name, of the same size and age, is not taken for the one before."""
    subject = matching_subject()
    holdout = {**subject.holdout, "labels": _names(subject)}
    _write(folder, subject, subject.calibration, holdout)
    path = folder / "model.onnx"
    age = path.stat().st_mtime_ns
    before = _compile(folder)
    if planted:
        path.write_bytes(_other_weights(path.read_bytes()))
        os.utime(path, ns=(age, age))
    after = _compile(folder)
    shipped = [one.artifact.sha256 for one in (*before.compiled, *after.compiled)]
    return "compiled anew" if not after.cached and shipped[0] != shipped[1] else "taken from the cache"


FAULTS: Final = (
    Fault("transposed input", "height and width exchanged", transposed_input),
    Fault("swapped labels", "labels are in another order", swapped_labels),
    Fault("depthwise layer per tensor", "relative logit error", depthwise_per_tensor),
    Fault("saturated calibration", "are saturated|lie outside", saturated_calibration),
    Fault(
        "runtime that breaks the artifact",
        "would run 0 of",
        runtime_that_breaks_it,
        ("ai-edge-quantizer", "litert", "tflite-runtime"),
    ),
    Fault("twin of the same name", "another network of the same name", twin_of_the_same_name),
    Fault("twin in the cache", "compiled anew", twin_in_the_cache),
)


def _told(folder: Path) -> str:
    """All that the compiler says about a folder: its refusal, or its notes and every gate's sentence."""
    try:
        result = _compile(folder)
    except ControllerError as error:
        return str(error)
    sentences = [
        sentence for one in result.compiled for verdict in one.verdicts for sentence in verdict.sentences
    ]
    return "\n".join([*result.notes, *(refusal.detail for refusal in result.refused), *sentences])


def _compile(folder: Path) -> CompileResult:
    beside = folder.parent
    request = CompileRequest(path=str(folder), blobs=str(beside / "blobs"), cache=str(beside / "cache"))
    return compile_model(request)


def _write(
    folder: Path, subject: Subject, calibration: Arrays, holdout: Arrays, labels: tuple[str, ...] = LABELS
) -> None:
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(subject.model)
    for name, arrays in (("calibration", calibration), ("holdout", holdout)):
        with (folder / f"{name}.npz").open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
    spec = TensorSpec(
        targets=(TARGET,),
        model=TensorModelPart(
            name="matcher", file="model.onnx", licence="MIT", decision=subject.decision, labels=labels
        ),
        inputs=tuple(
            InputPart(name=port.name, dtype=port.dtype, shape=port.shape) for port in subject.inputs
        ),
        data=TensorDataPart(calibration="calibration.npz", holdout="holdout.npz"),
        gates=UNTIMED,
    )
    (folder / FILE_NAME).write_bytes(write_tensor_model(spec))


def _quantised(folder: Path, subject: Subject, *, per_channel: bool) -> bytes:
    source, prepared, result = (folder / name for name in ("in.onnx", "prepared.onnx", "out.onnx"))
    source.write_bytes(subject.model)
    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    quantize_static(prepared, result, Calls(subject.calibration), per_channel=per_channel)
    return result.read_bytes()


def _change_colours(folder: Path, *, other: bool) -> None:
    """Version 2 of the colours' network: weights that training moved, or a network for the opposite."""
    path = folder / "colours.onnx"
    proto = load_model_from_string(path.read_bytes())
    for stored in proto.graph.initializer:
        values = numpy_helper.to_array(stored) * np.float32(-1 if other else 1.1)
        stored.CopyFrom(numpy_helper.from_array(values, stored.name))
    path.write_bytes(proto.SerializeToString())
    if other:
        for name in ("calibration", "holdout", "replay"):
            with np.load(folder / f"{name}.npz") as file:
                frames, labels = file["frames"], file["labels"]
            np.savez(folder / f"{name}.npz", frames=frames, labels=np.where(labels == "red", "green", "red"))


def _names(subject: Subject) -> NDArray[np.str_]:
    return np.array(LABELS)[subject.truths]


def _other_weights(model: bytes) -> bytes:
    """The same graph with its first weights in another order: same names, same shapes, same length."""
    proto = load_model_from_string(model)
    stored = proto.graph.initializer[0]
    values = numpy_helper.to_array(stored)
    stored.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values[..., ::-1]), stored.name))
    return bytes(proto.SerializeToString())


def _depthwise() -> Subject:
    """A network with a dead channel, as trainings leave them: next to no input, and large weights."""
    rng = np.random.default_rng(7)
    channels, dead = 16, 0
    gain = np.ones((channels, 1, 1, 1), np.float32)
    gain[dead] = 1e-3
    heads = rng.normal(0, 0.1, (len(LABELS), channels, 36)).astype(np.float32)
    heads[:, dead] = 0
    weights = {
        "spread": rng.normal(0, 0.3, (channels, 3, 1, 1)).astype(np.float32) * gain,
        "depth": rng.normal(0, 0.5, (channels, 1, 3, 3)).astype(np.float32) / gain,
        "heads": heads.reshape(len(LABELS), -1),
    }
    nodes = [
        helper.make_node("Conv", ["image", "spread"], ["wide"], name="spread"),
        helper.make_node("Conv", ["wide", "depth"], ["deep"], name="depthwise", group=channels),
        helper.make_node("Relu", ["deep"], ["live"], name="live"),
        helper.make_node("Flatten", ["live"], ["flat"], name="flat"),
        helper.make_node("Gemm", ["flat", "heads"], ["logits"], name="heads", transB=1),
    ]
    ports = Port("image", "float32", (1, 3, 8, 8)), Port("logits", "float32", (1, len(LABELS)))
    return matching_subject(graph(nodes, weights, ports[:1], ports[1:]))
