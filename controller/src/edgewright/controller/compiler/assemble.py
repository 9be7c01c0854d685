"""Assembling a release of one target: what was compiled, with a version's manifest and patches around it.

Nothing is compiled here and no runtime is loaded, so a version that changed nothing is assembled in the
controller's own process. The manifest's provenance is left open: the controller writes and signs it.
"""

from collections.abc import Sequence

import msgspec

from edgewright.controller.blobs import BlobStore
from edgewright.controller.compiler.cache import CompileCache, KnownPatch
from edgewright.controller.compiler.compiled import Compiled
from edgewright.controller.compiler.patches import Base, make_patch
from edgewright.controller.compiler.protocol import BuildRequest, Built
from edgewright.controller.compiler.reference_profile import encode_profile
from edgewright.controller.compiler.targets import find_target
from edgewright.controller.errors import ModelTooLargeError
from edgewright.controller.model_toml import ModelSpec
from edgewright.wire.assignment import TargetCustom
from edgewright.wire.encryption import SCHEME, Encryption, key_id
from edgewright.wire.errors import MalformedMessageError
from edgewright.wire.manifest import Blob, Manifest, Patch, decode_manifest, encode_manifest, target_path


class Assembly:
    """Assembles the targets of one version.

    Args:
        request: which version, with its bases.
        spec: its declaration.
        blobs: where everything lies.
        cache: remembers patches; None where nothing may be remembered.
    """

    def __init__(
        self, request: BuildRequest, spec: ModelSpec, blobs: BlobStore, cache: CompileCache | None
    ) -> None:
        self._request, self._spec, self._blobs, self._cache = request, spec, blobs, cache

    def lacks(self, compiled: Compiled) -> bool:
        """Whether assembling needs a patch that nobody has made yet: long work for large artifacts."""
        return any(
            self._known(old.sha256, new.sha256) is None
            for manifest, _ in self._bases(compiled)
            for one in (compiled, *compiled.others)
            for old, new in ((manifest.artifact, one.artifact), (manifest.golden, one.golden))
        )

    def older(self, compiled: Sequence[Compiled]) -> Manifest | None:
        """The newest older version, of the first target that has one; None where it ships these bytes."""
        bases = (manifest for one in compiled for manifest, _ in self._bases(one))
        found = next(bases, None)
        ours = [each.artifact for one in compiled for each in (one, *one.others)]
        return None if found is not None and found.artifact in ours else found

    def assemble(self, compiled: Compiled) -> Built:
        """Store a target's manifest, and those of what else passed the gates, where that was kept.

        Raises:
            ModelTooLargeError: its digests do not fit into a manifest.
        """
        others = tuple(self._assemble(other) for other in compiled.others)
        return msgspec.structs.replace(self._assemble(compiled), others=others)

    def _assemble(self, compiled: Compiled) -> Built:
        spec, request, target = self._spec, self._request, compiled.target
        bases = self._bases(compiled)
        artifacts = [(base, manifest.artifact) for manifest, base in bases]
        patches = self._patches(compiled.artifact, artifacts)
        golden = self._patches(compiled.golden, [(base, manifest.golden) for manifest, base in bases])
        manifest = msgspec.structs.replace(
            self._manifest(compiled), patches=tuple(patches.values()), golden_patches=tuple(golden.values())
        )
        data = self._encode(manifest)
        confidential = spec.confidential.enabled
        return Built(
            target=target,
            path=target_path(spec.model.name, target, request.version),
            length=len(data),
            sha256=self._blobs.put(data),
            custom=TargetCustom(
                spec.model.name, target, request.version, request.release_counter, confidential=confidential
            ),
            precision=compiled.precision,
            qualification=manifest.qualification,
            artifact_sha256=compiled.artifact.sha256,
            artifact_length=compiled.artifact.length,
            patch_lengths={base: patch.blob.length for base, patch in patches.items()},
            profile_sha256=self._put_profile(compiled),
            chosen=compiled.chosen,
            verdicts=compiled.verdicts,
            format=compiled.format,
            proven_on=compiled.proven_on,
            numbers=compiled.verdict.numbers,
            tools=compiled.tools,
        )

    def _encode(self, manifest: Manifest) -> bytes:
        try:
            return encode_manifest(manifest)
        except MalformedMessageError as error:
            size = f"{manifest.artifact.length / 1e6:.0f} MB as {manifest.precision}"
            raise ModelTooLargeError(
                f"The artifact for {manifest.target} has {size}. {error.sentence}"
            ) from error

    def _manifest(self, compiled: Compiled) -> Manifest:
        spec, request = self._spec, self._request
        sealed = Encryption(SCHEME, key_id(request.content_key)) if spec.confidential.enabled else None
        return Manifest(
            model=spec.model.name,
            version=request.version,
            target=compiled.target,
            release_counter=request.release_counter,
            precision=compiled.precision,
            # No device has seen it yet, also where this machine is of the target's kind.
            qualification="emulated",
            runtime=find_target(compiled.target).runtime,
            preprocessing=spec.preprocessing,
            input=spec.input,
            output=spec.output_tensor,
            labels=spec.model.labels,
            fallback=spec.model.fallback,
            artifact=compiled.artifact,
            golden=compiled.golden,
            patches=(),
            limits=spec.limits,
            temperature=compiled.temperature,
            provenance_sha256="",
            encryption=sealed,
        )

    def _put_profile(self, compiled: Compiled) -> str:
        if compiled.profile is None:
            return ""
        profile = msgspec.structs.replace(compiled.profile, version=self._request.version)
        return self._blobs.put(encode_profile(profile))

    def _bases(self, compiled: Compiled) -> list[tuple[Manifest, int]]:
        return read_bases(self._request.bases.get(compiled.target, ()), self._spec, self._blobs)

    def _patches(self, new: Blob, bases: list[tuple[int, Blob]]) -> dict[int, Patch]:
        found = {base: self._patch(old, new) for base, old in bases if old.sha256 != new.sha256}
        return {base: patch for base, patch in found.items() if patch is not None}

    def _patch(self, old: Blob, new: Blob) -> Patch | None:
        known = self._known(old.sha256, new.sha256)
        if known is not None:
            return known.patch
        patch = make_patch(self._blobs, self._blobs.read(new.sha256), old)
        if self._cache is not None:
            self._cache.keep_patch(old.sha256, new.sha256, patch)
        return patch

    def _known(self, old: str, new: str) -> KnownPatch | None:
        if old == new:
            return KnownPatch(None)
        return self._cache.find_patch(old, new, self._blobs) if self._cache is not None else None


def read_bases(bases: tuple[Base, ...], spec: ModelSpec, blobs: BlobStore) -> list[tuple[Manifest, int]]:
    """Manifests that patches lead from, with their versions; none for a model that is confidential."""
    if spec.confidential.enabled:
        return []
    manifests = [(decode_manifest(blobs.read(base.manifest_sha256)), base.version) for base in bases]
    return [(manifest, version) for manifest, version in manifests if manifest.encryption is None]
