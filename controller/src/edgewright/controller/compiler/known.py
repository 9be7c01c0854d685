"""Answers for which no build is needed: what was checked and compiled before, assembled anew.

This runs in the controller's own process, so nothing here loads a model or a runtime, and whatever is not
known, or cannot be read, is left to the child process, which says what is wrong.
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from edgewright.controller.blobs import BlobStore
from edgewright.controller.compiler.assemble import Assembly
from edgewright.controller.compiler.cache import CompileCache, KnownTwin, SourceFacts
from edgewright.controller.compiler.compiled import Compiled
from edgewright.controller.compiler.keys import Keys, keys_of
from edgewright.controller.compiler.licences import check_licence
from edgewright.controller.compiler.protocol import BuildRequest, BuildResult, Checked, CheckRequest
from edgewright.controller.compiler.results import make_result
from edgewright.controller.compiler.targets import find_target
from edgewright.controller.compiler.telling import tell
from edgewright.controller.errors import ModelError
from edgewright.controller.model_toml import ModelSpec, read_model


def known_check(request: CheckRequest) -> Checked | None:
    """The answer for a source that was checked before."""
    if not request.cache:
        return None
    found = _source(Path(request.folder), CompileCache(Path(request.cache)))
    return Checked(found[0].model.name, found[0].model.labels) if found else None


def known_build(request: BuildRequest) -> BuildResult | None:
    """The result of a build all of whose artifacts and patches were made before."""
    if not request.cache:
        return None
    cache, blobs = CompileCache(Path(request.cache)), BlobStore(Path(request.blobs))
    found = _source(Path(request.folder), cache, request.ranges_sha256)
    if found is None:
        return None
    spec, facts, keys = found
    compiled = list(_compiled(request, spec, keys, cache, blobs))
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


def _source(
    folder: Path, cache: CompileCache, ranges_sha256: str = ""
) -> tuple[ModelSpec, SourceFacts, Keys] | None:
    try:
        spec = read_model(folder)
        keys = keys_of(folder, spec, ranges_sha256)
        facts = cache.find_source(keys.source)
        if facts is None or spec.confidential.enabled:
            return None
        said = check_licence(spec.model.licence, spec.licence, facts.licence)
    except (ModelError, OSError):
        return None
    return spec, msgspec.structs.replace(facts, notes=(*facts.notes, *said)), keys


def _compiled(
    request: BuildRequest, spec: ModelSpec, keys: Keys, cache: CompileCache, blobs: BlobStore
) -> Iterable[Compiled]:
    try:
        targets = [find_target(name) for name in spec.targets]
    except ModelError:
        return
    for target in targets:
        compiled = cache.find(keys.target(target, keep_others=request.keep_others), blobs)
        if compiled is not None:
            yield compiled
