"""Answers for which no build is needed: what was checked and compiled before, assembled anew.

This runs in the controller's own process, so nothing here loads a model or a runtime, and whatever is not
known, or cannot be read, is left to the child process, which says what is wrong.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from edgewright.controller.blobs import BlobStore
from edgewright.controller.compiler.assemble import Assembly
from edgewright.controller.compiler.cache import CompileCache, KnownTwin, SourceFacts
from edgewright.controller.compiler.compiled import Compiled
from edgewright.controller.compiler.keys import Keys, keys_of
from edgewright.controller.compiler.licences import check_licence
from edgewright.controller.compiler.protocol import (
    BuildRequest,
    BuildResult,
    Checked,
    CheckRequest,
    CompileRequest,
    CompileResult,
)
from edgewright.controller.compiler.results import make_result
from edgewright.controller.compiler.targets import find_target
from edgewright.controller.compiler.telling import policy_of, tell
from edgewright.controller.errors import ModelError
from edgewright.controller.model_tensors import TensorSpec, is_tensor_model, read_tensor_model
from edgewright.controller.model_toml import FILE_NAME, ModelSpec, read_model


def known_check(request: CheckRequest) -> Checked | None:
    """The answer for a source that was checked before."""
    if not request.cache:
        return None
    found = _source(Path(request.folder), CompileCache(Path(request.cache)))
    if found is None or not isinstance(found[0], ModelSpec):
        return None
    return Checked(found[0].model.name, found[0].model.labels)


def known_build(request: BuildRequest) -> BuildResult | None:
    """The result of a build all of whose artifacts and patches were made before."""
    if not request.cache:
        return None
    cache, blobs = CompileCache(Path(request.cache)), BlobStore(Path(request.blobs))
    found = _source(Path(request.folder), cache, request.ranges_sha256)
    if found is None:
        return None
    spec, facts, keys = found
    if not isinstance(spec, ModelSpec):
        return None
    compiled = list(_compiled(spec.targets, keys, cache, blobs, keep_others=request.keep_others))
    assembly = Assembly(request, spec, blobs, cache)
    if len(compiled) < len(spec.targets) or any(assembly.lacks(one) for one in compiled):
        return None
    older = assembly.older(compiled)
    twin = cache.find_twin(keys.source, older) if older else KnownTwin("")
    if twin is None:
        return None
    built = [assembly.assemble(one) for one in compiled]
    told = tell(Path(request.folder), spec, keys, facts, compiled, blobs, request.version, request.parent)
    warnings = (*facts.warnings, *filter(None, [twin.sentence]))
    return make_result(request, spec, facts, compiled, built, told, blobs, warnings)


def known_compile(request: CompileRequest) -> CompileResult | None:
    """The result for a folder all of whose artifacts were made before; a bare file is left to the child."""
    folder = Path(request.path)
    if not request.cache or not (folder / FILE_NAME).is_file():
        return None
    cache, blobs = CompileCache(Path(request.cache)), BlobStore(Path(request.blobs))
    found = _source(folder, cache)
    if found is None:
        return None
    spec, facts, keys = found
    names = request.targets or spec.targets
    compiled = list(_compiled(names, keys, cache, blobs))
    if len(compiled) < len(names):
        return None
    told = tell(folder, spec, keys, facts, compiled, blobs)
    return CompileResult(
        model=spec.model.name,
        compiled=tuple(compiled),
        refused=(),
        metrics=facts.metrics,
        notes=facts.notes,
        cached=tuple(names),
        card_sha256=told.card_sha256,
        sbom_sha256=told.sbom_sha256,
    )


def _source(
    folder: Path, cache: CompileCache, ranges_sha256: str = ""
) -> tuple[ModelSpec | TensorSpec, SourceFacts, Keys] | None:
    try:
        spec = read_tensor_model(folder) if is_tensor_model(folder) else read_model(folder)
        if _is_secret(spec) or _has_outer_weights(folder / spec.model.file, spec):
            return None
        keys = keys_of(folder, spec, ranges_sha256)
        facts = cache.find_source(keys.source)
        if facts is None:
            return None
        said = check_licence(spec.model.licence, policy_of(spec), facts.licence)
    except (ModelError, OSError):
        return None
    return spec, msgspec.structs.replace(facts, notes=(*facts.notes, *said)), keys


def _is_secret(spec: ModelSpec | TensorSpec) -> bool:
    return isinstance(spec, ModelSpec) and spec.confidential.enabled


def _has_outer_weights(path: Path, spec: ModelSpec | TensorSpec) -> bool:
    """Whether a tensor model's file may name others: they belong to its key, and take ONNX to read."""
    return isinstance(spec, TensorSpec) and b"location" in path.read_bytes()


def _compiled(
    names: Sequence[str], keys: Keys, cache: CompileCache, blobs: BlobStore, *, keep_others: bool = False
) -> Iterable[Compiled]:
    try:
        targets = [find_target(name) for name in names]
    except ModelError:
        return
    for target in targets:
        compiled = cache.find(keys.target(target, keep_others=keep_others), blobs)
        if compiled is not None:
            yield compiled
