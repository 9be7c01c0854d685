"""A build, in the child process: from a model folder to one proven artifact for each target.

The order is: check the source and whether it makes sense, then for each target look whether it was compiled
before, else try its candidates against the gates on the target's runtime, and shape what travels with the one
that ships. A version's manifests are assembled around that. Blobs are content-addressed and nothing refers to
them before the caller has written rows, so a build that is stopped anywhere leaves nothing half-done.

A push is for the fleet: one target without an artifact ends it. ``edgewright compile`` reports each target.
"""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from edgewright.controller.blobs import BlobStore
from edgewright.controller.compiler.assemble import Assembly, read_bases
from edgewright.controller.compiler.cache import CompileCache
from edgewright.controller.compiler.compiled import Compiled
from edgewright.controller.compiler.keys import keys_of
from edgewright.controller.compiler.making import Maker
from edgewright.controller.compiler.opened import Opened
from edgewright.controller.compiler.protocol import (
    BuildRequest,
    BuildResult,
    Checked,
    CheckRequest,
    CompileRequest,
    CompileResult,
    OnProgress,
    Progress,
    Refusal,
)
from edgewright.controller.compiler.ranges import RangeTable, decode_ranges
from edgewright.controller.compiler.results import make_result
from edgewright.controller.compiler.shaping import Put, put_closed, put_open
from edgewright.controller.compiler.sources.files import LARGEST_SOURCE_BYTES, read_file
from edgewright.controller.compiler.sources.onnxgraph import outer_files
from edgewright.controller.compiler.sources.proposals import propose
from edgewright.controller.compiler.targets import Target, find_target
from edgewright.controller.compiler.telling import tell
from edgewright.controller.errors import ModelError, NotAModelError
from edgewright.controller.model_tensors import TensorSpec, is_tensor_model, read_tensor_model
from edgewright.controller.model_toml import FILE_NAME, ModelSpec, locate_model, read_model
from edgewright.wire.manifest import Manifest

_NOT_REMEMBERED: Final = (
    "The model is confidential: nothing of it is remembered on this machine. What is written out is not "
    "encrypted; a push encrypts it."
)

_SHARE_BEFORE_TARGETS: Final = 0.3
"""Checks and calibration, as a share of a build of three targets."""


def check_folder(request: CheckRequest) -> Checked:
    """What a build checks before it starts.

    Raises:
        ModelError: the model cannot become artifacts; its number says why.
    """
    folder = Path(request.folder)
    spec = read_model(folder)
    source = Opened(folder, spec, keys_of(folder, spec), _cache(request.cache, spec))
    source.facts  # noqa: B018 - making them is the check
    return Checked(spec.model.name, spec.model.labels)


def build_version(request: BuildRequest, on_progress: OnProgress = lambda _progress: None) -> BuildResult:
    """Build one version for all targets of its model.toml; see the module's text.

    Raises:
        ModelError: the model cannot become artifacts; its number says why. No row refers to what was stored.
    """
    folder, blobs = Path(request.folder), BlobStore(Path(request.blobs))
    on_progress(Progress("check", "", 0.0))
    spec = read_model(folder)
    cache = _cache(request.cache, spec)
    source = Opened(folder, spec, keys_of(folder, spec, request.ranges_sha256), cache)
    facts = source.facts

    def bases(target: Target) -> Sequence[tuple[Manifest, BlobStore]]:
        found = read_bases(request.bases.get(target.name, ()), spec, blobs)
        return [(manifest, blobs) for manifest, _ in found]

    put, inherited = _put(request, spec, blobs), _inherited(request, blobs)
    maker = Maker(source, blobs, put, inherited, bases, keep_others=request.keep_others)
    compiled = []
    for i, name in enumerate(spec.targets):
        share = _SHARE_BEFORE_TARGETS + (1 - _SHARE_BEFORE_TARGETS) * i / len(spec.targets)
        on_progress(Progress("gates", name, share))
        compiled.append(maker.make(find_target(name)))
    on_progress(Progress("describe", "", 1.0))
    assembly = Assembly(request, spec, blobs, cache)
    built = [assembly.assemble(one) for one in compiled]
    on_progress(Progress("done", "", 1.0))
    told = tell(folder, spec, source.keys, facts, compiled, blobs, request.version, request.parent)
    warning = _twin_warning(source, assembly.older(compiled), blobs)
    warnings = (*facts.warnings, *filter(None, [warning]))
    return make_result(request, spec, facts, compiled, built, told, blobs, warnings)


def compile_model(request: CompileRequest, on_progress: OnProgress = lambda _progress: None) -> CompileResult:
    """Compile a folder for each of its targets; one without an artifact does not stop the others.

    Raises:
        ModelError: the model can become no artifact at all; its number says why.
    """
    on_progress(Progress("check", "", 0.0))
    place, spec = _declared(Path(request.path))
    secret = isinstance(spec, ModelSpec) and spec.confidential.enabled
    blobs = BlobStore(Path((request.secrets if secret else "") or request.blobs))
    cache = _cache(request.cache, spec)
    folder = place if place.is_dir() else place.parent
    source = Opened(place, spec, keys_of(folder, spec, others=_outer_files(folder, spec)), cache)
    facts = source.facts
    maker = Maker(source, blobs, put_open(blobs), {}, lambda _target: ())
    names = request.targets or spec.targets
    made: list[Compiled] = []
    refused: list[Refusal] = []
    for i, name in enumerate(names):
        share = _SHARE_BEFORE_TARGETS + (1 - _SHARE_BEFORE_TARGETS) * i / len(names)
        on_progress(Progress("gates", name, share))
        try:
            made.append(maker.make(find_target(name)))
        except ModelError as error:
            refused.append(Refusal(name, error.number, error.sentence))
    on_progress(Progress("done", "", 1.0))
    told = tell(source.folder, spec, source.keys, facts, made, blobs)
    return CompileResult(
        model=spec.model.name,
        compiled=tuple(made),
        refused=tuple(refused),
        metrics=facts.metrics,
        notes=(*facts.notes, *([_NOT_REMEMBERED] if secret else [])),
        cached=tuple(maker.known),
        card_sha256=told.card_sha256,
        sbom_sha256=told.sbom_sha256,
        confidential=secret,
    )


def _declared(path: Path) -> tuple[Path, ModelSpec | TensorSpec]:
    """A model folder with its declaration, or a bare file with a proposal for one."""
    if path.is_file() and path.name != FILE_NAME and not (path.parent / FILE_NAME).exists():
        return path, propose(path).spec
    folder = path if path.is_dir() else path.parent
    if not is_tensor_model(folder):
        return locate_model(path), read_model(folder)
    spec = read_tensor_model(folder)
    if path.is_file() and path.name not in (FILE_NAME, Path(spec.model.file).name):
        raise NotAModelError(f"The {FILE_NAME} beside {path.name} names {spec.model.file} as its model.")
    return folder, spec


def _outer_files(folder: Path, spec: ModelSpec | TensorSpec) -> list[str]:
    """Files beside the model in which its weights lie; the reader refuses what is no plain file there."""
    if isinstance(spec, ModelSpec):
        return []
    place = (folder / spec.model.file).parent
    found = [place / name for name in outer_files(read_file(folder / spec.model.file)) if _is_beside(name)]
    plain = [path for path in found if path.is_file() and not path.is_symlink()]
    return [str(path.relative_to(folder)) for path in plain if path.stat().st_size <= LARGEST_SOURCE_BYTES]


def _is_beside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name


def _twin_warning(source: Opened, older: Manifest | None, blobs: BlobStore) -> str:
    if older is None:
        return ""
    sentence = source.twin_warning(older, blobs)
    if source.cache is not None:
        source.cache.keep_twin(source.keys.source, older, sentence)
    return sentence


def _inherited(request: BuildRequest, blobs: BlobStore) -> RangeTable:
    digest = request.ranges_sha256
    return decode_ranges(blobs.read(digest)) if digest else {}


def _put(request: BuildRequest, spec: ModelSpec, blobs: BlobStore) -> Put:
    if spec.confidential.enabled:
        return put_closed(blobs, spec.model.name, request.version, request.content_key)
    return put_open(blobs)


def _cache(folder: str, spec: ModelSpec | TensorSpec) -> CompileCache | None:
    """Nothing of a confidential model is remembered: its blobs are sealed for one version."""
    secret = isinstance(spec, ModelSpec) and spec.confidential.enabled
    return CompileCache(Path(folder)) if folder and not secret else None
