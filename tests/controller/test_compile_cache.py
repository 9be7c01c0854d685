"""What was compiled before is not compiled again, and what differs is."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgewright.controller.blobs import BlobStore
from edgewright.controller.compiler import cache as compile_cache
from edgewright.controller.compiler.build import build_version, compile_model
from edgewright.controller.compiler.cache import CompileCache, SourceFacts
from edgewright.controller.compiler.frames import Frames
from edgewright.controller.compiler.known import known_build, known_check, known_compile
from edgewright.controller.compiler.ort import Session
from edgewright.controller.compiler.patches import Base
from edgewright.controller.compiler.protocol import BuildRequest, BuildResult, CheckRequest, CompileRequest
from edgewright.controller.compiler.worker import run_build, run_check
from edgewright.controller.errors import NotAModelError, UnknownOperatorError
from edgewright.controller.model_toml import ModelSpec, write_model
from edgewright.wire.manifest import decode_manifest
from tests.controller.small_model import (
    LABELS,
    fitted_network,
    paint,
    save_frames,
    spec,
    write_folder,
)

TARGETS = ("x86_64-ort-cpu-fp32", "x86_64-ort-cpu")


@dataclass
class Plant:
    """A data folder, a model folder, and the versions that were built of it."""

    folder: Path
    data: Path
    versions: list[BuildResult] = field(default_factory=list)

    @property
    def blobs(self) -> BlobStore:
        """Where blobs lie."""
        return BlobStore(self.data / "blobs")

    def request(self) -> BuildRequest:
        """For the next version."""
        bases: dict[str, tuple[Base, ...]] = {}
        for result in reversed(self.versions):
            for built in result.built:
                bases[built.target] = (*bases.get(built.target, ()), Base(result.version, built.sha256))
        version = len(self.versions) + 1
        return BuildRequest(
            folder=str(self.folder),
            blobs=str(self.data / "blobs"),
            version=version,
            release_counter=version,
            bases=bases,
            cache=str(self.data / "compiled"),
        )

    def build(self) -> BuildResult:
        """The next version, in this process."""
        self.versions.append(build_version(self.request()))
        return self.versions[-1]

    def declare(self, changed: ModelSpec) -> None:
        """Write another model.toml."""
        (self.folder / "model.toml").write_bytes(write_model(changed))


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """With version 1 built."""
    made = Plant(write_folder(tmp_path / "model"), tmp_path / "data")
    made.build()
    return made


def test_an_unchanged_push_is_answered_without_a_build(plant: Plant) -> None:
    """The same folder again gives version 2 of the same artifacts, and no child process is needed for it."""
    second = known_build(plant.request())
    assert second is not None
    first = plant.versions[0]
    assert [built.artifact_sha256 for built in second.built] == [
        built.artifact_sha256 for built in first.built
    ]
    for built in second.built:
        manifest = decode_manifest(plant.blobs.read(built.sha256))
        assert (manifest.version, manifest.release_counter, manifest.patches) == (2, 2, ())
        assert json.loads(plant.blobs.read(built.profile_sha256))["version"] == 2
    assert second == build_version(plant.request())
    assert run_build(plant.request()) == second


def test_what_changes_an_artifact_changes_the_key(plant: Plant) -> None:
    """Another gate, other preprocessing, other calibration or another holdout is compiled anew."""
    declared = spec()
    gates = msgspec.structs.replace(declared.gates, logit_error=0.2)
    plant.declare(msgspec.structs.replace(declared, gates=gates))
    assert known_build(plant.request()) is None
    image = msgspec.structs.replace(declared.preprocessing, mean=(0.4, 0.5, 0.5))
    plant.declare(msgspec.structs.replace(declared, preprocessing=image))
    assert known_build(plant.request()) is None
    plant.declare(declared)
    assert known_build(plant.request()) is not None
    save_frames(plant.folder / declared.data.holdout, paint(LABELS, 30, seed=77))
    assert known_build(plant.request()) is None


def test_what_changes_no_artifact_keeps_the_key(plant: Plant) -> None:
    """Another cooldown, another alarm rate and one target fewer need no compilation."""
    declared = spec()
    changed = msgspec.structs.replace(
        declared,
        targets=declared.targets[:2],
        drift=msgspec.structs.replace(declared.drift, harm_tolerance=0.3),
        rebuild=msgspec.structs.replace(declared.rebuild, cooldown_s=7.0),
    )
    plant.declare(changed)
    found = known_build(plant.request())
    assert found is not None
    assert [built.target for built in found.built] == list(declared.targets[:2])


def test_a_lost_blob_is_compiled_again(plant: Plant) -> None:
    """An entry whose artifact is gone, or that is damaged, is no entry; the next build makes it again."""
    artifact = plant.versions[0].built[0].artifact_sha256
    plant.blobs.forget(artifact)
    assert known_build(plant.request()) is None
    assert plant.build().built[0].artifact_sha256 == artifact
    assert known_build(plant.request()) is not None
    for entry in (plant.data / "compiled").glob("*.json"):
        entry.write_bytes(entry.read_bytes()[:-7])
    assert known_build(plant.request()) is None
    assert plant.build().built[0].artifact_sha256 == artifact


def test_a_check_is_remembered_and_a_refusal_is_not(plant: Plant) -> None:
    """A source that passed its checks is not checked again; a bad one is refused each time."""
    request = CheckRequest(str(plant.folder), str(plant.data / "compiled"))
    assert known_check(request) == run_check(request)
    (plant.folder / "small.onnx").write_bytes(
        (plant.folder / "small.onnx").read_bytes().replace(b"Relu", b"Relo")
    )
    assert known_check(request) is None
    for _ in range(2):
        with pytest.raises(UnknownOperatorError):
            run_check(request)


def test_nothing_of_a_secret_model_is_remembered(tmp_path: Path) -> None:
    """A confidential model leaves no entry, and is never answered from one."""
    declared = spec()
    secret = msgspec.structs.replace(
        declared, confidential=msgspec.structs.replace(declared.confidential, enabled=True)
    )
    plant = Plant(write_folder(tmp_path / "model", secret), tmp_path / "data")
    request = msgspec.structs.replace(plant.request(), content_key=bytes(32))
    build_version(request)
    assert not (tmp_path / "data" / "compiled").exists()
    assert known_build(request) is None
    plant.declare(declared)
    plant.build()
    plant.declare(secret)
    assert known_build(request) is None


def test_a_patch_that_nobody_made_is_left_to_the_child(plant: Plant) -> None:
    """Going back to an older source after another one needs a patch: known answers do not make it."""
    before = (plant.folder / "model.toml").read_bytes()
    gates = msgspec.structs.replace(spec().gates, precisions=("fp32",))
    plant.declare(msgspec.structs.replace(spec(), gates=gates))
    plant.build()
    (plant.folder / "model.toml").write_bytes(before)
    request = plant.request()
    assert known_build(request) is None
    third = run_build(request)
    assert known_build(request) == third
    assert third.built[0].artifact_sha256 == plant.versions[0].built[0].artifact_sha256


def _with_outer_weights(place: Path, value: float) -> Path:
    """A network of one product whose weights lie in a file beside it."""
    place.mkdir(exist_ok=True)
    weights = np.full((8, 8), value, np.float32)
    (place / "weights.bin").write_bytes(weights.tobytes())
    stored = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=weights.shape)
    stored.data_location = TensorProto.EXTERNAL
    entry = stored.external_data.add()
    entry.key, entry.value = "location", "weights.bin"
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 8)) for name in ("x", "y")]
    graph = helper.make_graph([node], "outer", ports[:1], ports[1:], [stored])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    (place / "outer.onnx").write_bytes(model.SerializeToString())
    return place / "outer.onnx"


def test_weights_in_another_file_count(tmp_path: Path) -> None:
    """A tensor model whose outer weights have changed is compiled anew, and gives another artifact."""

    def artifact(value: float) -> tuple[str, bool]:
        path = _with_outer_weights(tmp_path / "model", value)
        request = CompileRequest(
            path=str(path),
            blobs=str(tmp_path / "blobs"),
            cache=str(tmp_path / "compiled"),
            targets=("x86_64-ort-cpu-fp32",),
        )
        result = compile_model(request)
        return result.compiled[0].artifact.sha256, bool(result.cached)

    first, again, other = artifact(1.0), artifact(1.0), artifact(2.0)
    assert again == (first[0], True)
    assert other[0] != first[0]
    assert not other[1]


@pytest.mark.parametrize("place", ["/dev/zero", "../weights.bin", "nothing.bin"])
def test_weights_elsewhere_are_refused(tmp_path: Path, place: str) -> None:
    """A model that points outside of its folder, to a device or to nothing is refused with a sentence."""
    path = _with_outer_weights(tmp_path / "model", 1.0)
    (tmp_path / "weights.bin").write_bytes(bytes(256))
    model = onnx.load_model_from_string(path.read_bytes())
    model.graph.initializer[0].external_data[0].value = place
    path.write_bytes(model.SerializeToString())
    with pytest.raises(NotAModelError, match="not beside it"):
        compile_model(CompileRequest(path=str(path), blobs=str(tmp_path / "blobs")))


def test_a_line_model_brings_its_weights_itself(plant: Plant) -> None:
    """A push stores what model.toml names, so a model whose weights lie in another file is refused."""
    _with_outer_weights(plant.folder, 1.0).rename(plant.folder / "small.onnx")
    with pytest.raises(NotAModelError, match="export them into the ONNX file"):
        plant.build()


def test_what_was_compiled_before_is_still_held_against_the_version_before_it(plant: Plant) -> None:
    """Going back to a source after another network was pushed is warned of, known or not, in one sentence."""
    declared = msgspec.structs.replace(spec(), targets=("x86_64-ort-cpu-fp32",))
    plant.declare(declared)
    plant.versions.clear()
    plant.build()
    other = fitted_network((*LABELS[1:], LABELS[0]))
    (plant.folder / "small.onnx").write_bytes(other)
    # Right about its own holdout, so that nothing else refuses it.
    frames = paint(LABELS, 40, seed=12)
    decided = Session(other).run(frames.inputs(declared.preprocessing), "logits").argmax(axis=1)
    names = tuple(LABELS[int(label)] for label in decided)
    save_frames(plant.folder / declared.data.holdout, Frames(frames.pixels, names))
    assert plant.build().warnings
    (plant.folder / "small.onnx").write_bytes(fitted_network(LABELS))
    save_frames(plant.folder / declared.data.holdout, frames)
    request = plant.request()
    assert known_build(request) is None
    third = build_version(request)
    assert "another network" in third.warnings[0]
    assert known_build(request) == third


def test_a_build_for_devices_to_choose_is_answered_with_all_candidates(plant: Plant) -> None:
    """What was compiled for one answer is no answer where all that passes is asked for, and the other way."""
    request = msgspec.structs.replace(plant.request(), keep_others=True)
    assert known_build(request) is None
    made = build_version(request)
    assert any(built.others for built in made.built)
    assert known_build(request) == made
    alone = known_build(plant.request())
    assert alone is not None
    assert not any(built.others for built in alone.built)
    shipped = {built.artifact_sha256 for built in made.built}
    others = (other for built in made.built for other in built.others)
    plant.blobs.forget(next(one.artifact_sha256 for one in others if one.artifact_sha256 not in shipped))
    assert known_build(request) is None
    assert known_build(plant.request()) is not None


def test_an_entry_that_cannot_be_written_is_forgone(plant: Plant) -> None:
    """Where the cache's folder takes no files, a build ends with its result all the same."""
    folder = plant.data / "compiled"
    shutil.rmtree(folder)
    folder.write_text("a file where the folder should be")
    assert plant.build().built
    assert known_build(plant.request()) is None


def test_two_writers_thin_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry that another writer removes in the meantime ends nobody's build."""
    monkeypatch.setattr(compile_cache, "MOST_ENTRIES", 20)
    gone = tmp_path / "gone.json"
    gone.symlink_to(tmp_path / "nothing")
    for number in range(25):
        CompileCache(tmp_path).keep_source(str(number), SourceFacts(metrics={}, inputs=(), outputs=()))
    assert not gone.is_symlink()
    assert len(list(tmp_path.glob("*.json"))) <= 21


def test_a_compiled_folder_needs_no_child(tmp_path: Path) -> None:
    """What `edgewright compile` did before it tells again by itself; what is new goes to the child."""
    folder = write_folder(tmp_path / "model")
    request = CompileRequest(
        path=str(folder), blobs=str(tmp_path / "blobs"), cache=str(tmp_path / "compiled"), targets=TARGETS[:1]
    )
    assert known_compile(request) is None
    first = compile_model(request)
    found = known_compile(request)
    assert found == msgspec.structs.replace(first, cached=TARGETS[:1])
    assert known_compile(msgspec.structs.replace(request, targets=TARGETS)) is None
    path = _with_outer_weights(tmp_path / "outer", 1.0)
    assert known_compile(msgspec.structs.replace(request, path=str(path.parent))) is None
