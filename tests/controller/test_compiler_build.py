"""Whole builds of a small network, in this process and in the worker's."""

import io
import json
import platform
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgewright.agent.line.statistics import score
from edgewright.agent.patches import decoded
from edgewright.agent.preprocess import embed
from edgewright.controller.blobs import BlobStore
from edgewright.controller.compiler.build import build_version
from edgewright.controller.compiler.calibration import Calibration
from edgewright.controller.compiler.frames import Frames, decode_picture, read_frames, write_frames
from edgewright.controller.compiler.graph import canonical_graph, fingerprints
from edgewright.controller.compiler.ort import Session
from edgewright.controller.compiler.patches import Base
from edgewright.controller.compiler.profile import signals
from edgewright.controller.compiler.proof import how_proven, was_raced
from edgewright.controller.compiler.protocol import BuildRequest, BuildResult, Built, Progress
from edgewright.controller.compiler.reference_profile import SIGNALS, decode_profile
from edgewright.controller.compiler.subject import Port, Subject
from edgewright.controller.compiler.targets import find_target
from edgewright.controller.compiler.worker import run_build
from edgewright.controller.errors import GateFailedError
from edgewright.controller.model_toml import ModelSpec, read_model
from edgewright.wire.manifest import GoldenVectors, Manifest, Patch, decode_manifest
from edgewright.wire.moments import Moments
from tests.controller.small_model import LABELS, fitted_network, paint, save_frames, spec, write_folder

GARMENT_PACKING = Path(__file__).parents[2] / "models" / "garment-packing"


@dataclass(frozen=True)
class Workshop:
    """A folder, a blob store, and version 1 built from the one into the other."""

    folder: Path
    blobs: BlobStore
    root: Path
    result: BuildResult

    def built(self, target: str, result: BuildResult | None = None) -> Built:
        """What was built for a target."""
        return next(built for built in (result or self.result).built if built.target == target)

    def manifest(self, target: str, result: BuildResult | None = None) -> Manifest:
        """Its manifest."""
        return decode_manifest(self.blobs.read(self.built(target, result).sha256))

    def rebuild(self, folder: Path, *, inherit: bool) -> BuildResult:
        """Version 2 from another folder, on top of version 1."""
        bases: dict[str, tuple[Base, ...]] = {
            built.target: (Base(1, built.sha256),) for built in self.result.built
        }
        request = BuildRequest(
            folder=str(folder),
            blobs=str(self.root),
            version=2,
            release_counter=2,
            parent=1,
            bases=bases,
            ranges_sha256=self.result.ranges_sha256 if inherit else "",
        )
        return build_version(request)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Version 1, built once for the tests that only look."""
    place = tmp_path_factory.mktemp("workshop")
    folder, root = write_folder(place / "model"), place / "blobs"
    result = build_version(_request(folder, root))
    return Workshop(folder, BlobStore(root), root, result)


def _request(folder: Path, root: Path) -> BuildRequest:
    return BuildRequest(folder=str(folder), blobs=str(root), version=1, release_counter=1)


def _with_labels(labels: tuple[str, ...]) -> ModelSpec:
    model = spec()
    return msgspec.structs.replace(model, model=msgspec.structs.replace(model.model, labels=labels))


def _with_precisions(*precisions: str) -> ModelSpec:
    model = spec()
    return msgspec.structs.replace(model, gates=msgspec.structs.replace(model.gates, precisions=precisions))


def test_each_target_gets_what_suits_it(workshop: Workshop) -> None:
    """int8 ships where the target has it, fp32 elsewhere, and int8 is at most a third of fp32."""
    chosen = {built.target: built.chosen for built in workshop.result.built}
    assert chosen == {"x86_64-ort-cpu": "int8", "x86_64-ort-cpu-fp32": "fp32", "aarch64-ort-cpu": "int8"}
    int8, fp32 = workshop.built("x86_64-ort-cpu"), workshop.built("x86_64-ort-cpu-fp32")
    assert int8.artifact_length < fp32.artifact_length / 3


def test_what_no_device_measured_is_emulated(workshop: Workshop) -> None:
    """Also a target of this machine's own kind; that its latency was judged is told beside, not instead."""
    for built in workshop.result.built:
        assert built.qualification == workshop.manifest(built.target).qualification == "emulated"
        alike = platform.machine() == find_target(built.target).machine
        told = how_proven(built.qualification, was_raced(built.numbers))
        assert told == ("emulated, latency included" if alike else "emulated")


def test_the_manifest_describes_blobs_that_are_there(workshop: Workshop) -> None:
    """Every digest of a manifest names a stored blob, and the TUF entry names the manifest."""
    for built in workshop.result.built:
        manifest = workshop.manifest(built.target)
        assert built.path == f"small/{built.target}/1.json"
        assert built.length == len(workshop.blobs.read(built.sha256))
        assert (manifest.version, manifest.release_counter, manifest.target) == (1, 1, built.target)
        for digest in (manifest.artifact.sha256, manifest.golden.sha256):
            assert workshop.blobs.has(digest)


def test_golden_outputs_are_the_artifacts(workshop: Workshop) -> None:
    """The shipped artifact gives the golden outputs again, bit by bit."""
    for built in workshop.result.built:
        manifest = workshop.manifest(built.target)
        golden = msgspec.msgpack.decode(workshop.blobs.read(manifest.golden.sha256), type=GoldenVectors)
        inputs = np.frombuffer(golden.inputs, "<f4").reshape(golden.count, *manifest.input.shape[1:])
        session = Session(workshop.blobs.read(manifest.artifact.sha256))
        outputs = [session.run(row[np.newaxis], "logits") for row in inputs]
        assert np.concatenate(outputs).astype("<f4").tobytes() == golden.outputs
        assert golden.count >= len(LABELS)


def test_the_profile_is_the_artifacts(workshop: Workshop) -> None:
    """The reference profile counts every holdout frame in every histogram, with the artifact's errors."""
    built = workshop.built("x86_64-ort-cpu")
    profile = decode_profile(workshop.blobs.read(built.profile_sha256))
    holdout = read_frames(workshop.folder / "data/holdout.npz")
    logits = Session(workshop.blobs.read(built.artifact_sha256)).run(
        holdout.inputs(spec().preprocessing), "logits"
    )
    wrong = logits.argmax(axis=1) != holdout.classes(LABELS)
    assert profile.error_rate == pytest.approx(wrong.mean())
    assert profile.error_rate_n == len(holdout) == sum(profile.classes.values())
    assert sum(frames for frames, _ in profile.truths.values()) == len(holdout)
    for signal in SIGNALS.keys() - {"right_confidence"}:
        assert profile.histogram(signal).total == len(holdout)
    assert profile.histogram("right_confidence").total == len(holdout) - wrong.sum()
    embedded = np.array([embed(frame) for frame in holdout.pixels])
    assert Moments.unpack(profile.embedding).n == len(holdout)
    assert Moments.unpack(profile.embedding).mean() == pytest.approx(embedded.mean(axis=0), abs=0.005)
    assert profile.temperature == workshop.manifest("x86_64-ort-cpu").temperature
    expected = np.mean([frame.mean() / 255 for frame in holdout.pixels])
    assert profile.histogram("brightness").mean() == pytest.approx(expected, abs=0.02)


def test_the_profile_counts_what_a_device_counts() -> None:
    """Confidence, margin and entropy of the profile are those that a line makes of the same logits."""
    logits = np.random.default_rng(2).normal(0, 3, (20, 4)).astype(np.float32)
    ours = signals(logits, 1.7, paint(LABELS, 5, seed=3).looks()[0])
    for i, row in enumerate(logits.tolist()):
        theirs = score(row, 1.7)
        assert ours["confidence"][i] == pytest.approx(theirs.confidence)
        assert ours["margin"][i] == pytest.approx(theirs.margin)
        assert ours["entropy"][i] == pytest.approx(theirs.entropy)


def test_a_profile_of_an_older_version_is_read(workshop: Workshop) -> None:
    """A stored profile without embedding and labelled confidences is read as one that has none."""
    stored = msgspec.json.decode(workshop.blobs.read(workshop.built("x86_64-ort-cpu").profile_sha256))
    del stored["embedding"]
    for signal in ("saturation", "labelled_confidence", "right_confidence"):
        del stored["histograms"][signal]
    profile = decode_profile(msgspec.json.encode(stored))
    assert profile.embedding == b""
    assert profile.histogram("confidence").total == profile.error_rate_n


def test_two_processes_build_the_same_bytes(workshop: Workshop, tmp_path: Path) -> None:
    """A build in the worker's process, with another hash seed, gives the same manifests, card and bill."""
    stages: list[Progress] = []
    again = run_build(_request(workshop.folder, tmp_path), stages.append)
    assert [built.sha256 for built in again.built] == [built.sha256 for built in workshop.result.built]
    assert again.ranges_sha256 == workshop.result.ranges_sha256
    papers = (workshop.result.card_sha256, workshop.result.sbom_sha256)
    assert (again.card_sha256, again.sbom_sha256) == papers
    assert all(papers)
    shares = [progress.share for progress in stages]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_new_head_travels_as_a_small_patch(workshop: Workshop, tmp_path: Path) -> None:
    """A rebuild with one more class, calibrated on brighter frames, is a patch of at most 2 % that fits."""
    folder = write_folder(tmp_path / "v2", _with_labels((*LABELS, "violet")))
    brighter = paint((*LABELS, "violet"), 12, seed=99)
    pixels = tuple(np.minimum(frame * 1.2, 255).astype(np.uint8) for frame in brighter.pixels)
    save_frames(folder / "data/calibration.npz", Frames(pixels, brighter.labels))
    inherited, anew = (workshop.rebuild(folder, inherit=inherit) for inherit in (True, False))
    for target in ("x86_64-ort-cpu", "aarch64-ort-cpu"):
        length = workshop.built(target, inherited).patch_lengths[1]
        assert length <= 0.02 * workshop.built(target, inherited).artifact_length
        assert length < 0.75 * workshop.built(target, anew).patch_lengths[1]
    old, new = workshop.manifest("x86_64-ort-cpu"), workshop.manifest("x86_64-ort-cpu", inherited)
    _assert_patch_makes(workshop.blobs, new.patches[0], old.artifact.sha256, new.artifact.sha256)
    _assert_patch_makes(workshop.blobs, new.golden_patches[0], old.golden.sha256, new.golden.sha256)
    assert new.golden_patches[0].blob.length < 0.05 * new.golden.length
    bill = msgspec.json.decode(workshop.blobs.read(inherited.sbom_sha256))
    assert bill["metadata"]["component"]["pedigree"]["ancestors"][0]["version"] == "1"


def _assert_patch_makes(blobs: BlobStore, patch: Patch, old: str, new: str) -> None:
    assert patch.base_sha256 == old
    wanted = blobs.read(new)
    base, frames = blobs.read(old), blobs.read(patch.blob.sha256)
    assert b"".join(decoded(io.BytesIO(base), len(base), io.BytesIO(frames), len(wanted))) == wanted


def test_badly_calibrated_int8_is_refused(tmp_path: Path) -> None:
    """With ranges of black frames int8 saturates: weights alone are quantised; int8 alone builds nothing."""
    folder = write_folder(tmp_path / "model")
    black = paint(LABELS, 4, seed=1)
    dark = Frames(tuple(np.zeros_like(frame) + 120 for frame in black.pixels), black.labels)
    save_frames(folder / "data/calibration.npz", dark)
    result = build_version(_request(folder, tmp_path / "blobs"))
    built = next(built for built in result.built if built.target == "x86_64-ort-cpu")
    assert built.chosen == "mixed, int8 weights"
    assert any("FAIL: agrees with fp32 on" in text for text in built.verdicts[0].sentences)

    only_int8 = write_folder(tmp_path / "int8", _with_precisions("int8"))
    only_int8 = _without_targets(only_int8, "x86_64-ort-cpu-fp32")
    save_frames(only_int8 / "data/calibration.npz", dark)
    with pytest.raises(GateFailedError, match="No candidate for x86_64-ort-cpu passed: int8: agrees"):
        build_version(_request(only_int8, tmp_path / "blobs"))


def _without_targets(folder: Path, name: str) -> Path:
    text = (folder / "model.toml").read_text()
    assert name in text
    (folder / "model.toml").write_text(text.replace(f'    "{name}",\n', ""))
    return folder


def test_inherited_ranges_that_do_not_fit_are_dropped(workshop: Workshop, tmp_path: Path) -> None:
    """Where the parent's ranges fail the gates, the model is calibrated anew and ships as int8."""
    blobs = BlobStore(tmp_path)
    table = json.loads(workshop.blobs.read(workshop.result.ranges_sha256))
    shrunk = {name: [low * 0.01, high * 0.01] for name, (low, high) in table.items()}
    request = msgspec.structs.replace(
        _request(workshop.folder, tmp_path), ranges_sha256=blobs.put(json.dumps(shrunk).encode())
    )
    built = next(b for b in build_version(request).built if b.target == "x86_64-ort-cpu")
    assert built.chosen == "int8, calibrated anew"
    assert not built.verdicts[0].passed


def test_garment_packing_builds(tmp_path: Path) -> None:
    """The repository's model ships for all its targets, and its int8 form holds every gate on content."""
    result = build_version(_request(GARMENT_PACKING, tmp_path))
    assert tuple(built.target for built in result.built) == read_model(GARMENT_PACKING).targets
    first = next(built for built in result.built if built.target == "x86_64-ort-cpu").verdicts[0]
    assert first.name == "int8"
    # The latency depends on the processor that runs the test, so it may fail here and nowhere else.
    assert [text for text in first.failures if "of fp32's time" not in text] == []


def test_fingerprints_follow_content_not_names() -> None:
    """Two networks with other heads share the fingerprints of the backbone and no other."""
    first, second = (fingerprints(fitted_network(LABELS, seed)) for seed in (3, 4))
    assert first["embedding"] == second["embedding"]
    assert first["logits"] != second["logits"]


def test_the_canonical_form_forgets_the_exporter() -> None:
    """Metadata, documentation and producer do not change the canonical bytes."""
    import onnx

    data = fitted_network(LABELS)
    other = onnx.load_model_from_string(data)
    other.producer_name, other.doc_string = "somebody", "at home"
    entry = other.graph.node[0].metadata_props.add()
    entry.key, entry.value = "stack", "/home/somebody/train.py"
    other.graph.node[0].doc_string = "line 3"
    assert canonical_graph(other.SerializeToString()) == canonical_graph(data)
    assert b"somebody" not in canonical_graph(other.SerializeToString())


def _painted_subject(head: int) -> Subject:
    images = paint(LABELS, 3, seed=5).inputs(spec().preprocessing)[:, np.newaxis]
    return Subject(
        name="small",
        model=fitted_network(LABELS, head),
        format="onnx",
        inputs=(Port("image", "float32", (1, 3, 16, 16)),),
        outputs=(Port("logits", "float32", (1, len(LABELS))),),
        calibration={"image": images},
        holdout={"image": images},
        gates=spec().gates,
        batches=True,
    )


def test_inherited_ranges_are_used_by_fingerprint() -> None:
    """A calibration takes its parent's range for a tensor that is the same, and observes the others."""
    first = Calibration(_painted_subject(3), {})
    wide = {name: (low - 1, high + 1) for name, (low, high) in first.table(first.observed).items()}
    second = Calibration(_painted_subject(4), wide)
    low, high = first.observed["embedding"]
    assert second.reused["embedding"] == (low - 1, high + 1)
    assert second.reused["logits"] == second.observed["logits"]


def test_pictures_and_plain_frames_read_alike(tmp_path: Path) -> None:
    """A file of PNG pictures gives the frames that a file of plain frames gives."""
    import cv2

    frames = paint(LABELS, 2, seed=8)
    save_frames(tmp_path / "plain.npz", frames)
    pictures = [cv2.imencode(".png", frame)[1].tobytes() for frame in frames.pixels]
    (tmp_path / "pictures.npz").write_bytes(write_frames(pictures, frames.labels))
    plain, read = read_frames(tmp_path / "plain.npz"), read_frames(tmp_path / "pictures.npz")
    assert plain.labels == read.labels == frames.labels
    assert all(np.array_equal(a, b) for a, b in zip(plain.pixels, read.pixels, strict=True))
    assert np.array_equal(decode_picture(pictures[3]), frames.pixels[3])
    assert len(plain.spread(3)) == 3
