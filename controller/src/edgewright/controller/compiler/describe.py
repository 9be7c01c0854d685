"""Describing the artifact that ships: golden blob, patches, profile and manifest.

The manifest's provenance is left open: the controller writes and signs it, outside this process.
"""

import platform
from typing import Final, Literal

import msgspec
import numpy as np

from edgewright.controller.blobs import BlobStore
from edgewright.controller.compiler.candidates import Candidate
from edgewright.controller.compiler.golden import choose_rows, decode_inputs, encode_golden
from edgewright.controller.compiler.ort import Array, Session
from edgewright.controller.compiler.patches import make_patches
from edgewright.controller.compiler.profile import encode_profile, fit_temperature, make_profile
from edgewright.controller.compiler.protocol import Built
from edgewright.controller.compiler.targets import Target
from edgewright.controller.compiler.trials import Source, Trial
from edgewright.controller.confidential.sealing import put_sealed
from edgewright.controller.errors import ModelTooLargeError
from edgewright.wire.assignment import TargetCustom
from edgewright.wire.encryption import SCHEME, Encryption, Place, Role, key_id
from edgewright.wire.errors import MalformedMessageError
from edgewright.wire.manifest import Blob, Manifest, decode_manifest, encode_manifest, split_blob, target_path

_NOTHING: Final = Blob("", 0, ("",))


def describe(source: Source, target: Target, trial: Trial, blobs: BlobStore) -> Built:
    """Store the blobs of the artifact that ships, and its manifest.

    Raises:
        ModelTooLargeError: its digests do not fit into a manifest.
    """
    spec, candidate, version = source.spec, trial.candidate, source.request.version
    confidential = spec.confidential.enabled
    bases = [] if confidential else _read_bases(source, target, blobs)
    patches = make_patches(blobs, candidate.model, {base.version: base.artifact for base in bases})
    temperature = fit_temperature(trial.logits, source.holdout.classes(spec.model.labels))
    identity = (spec.model.name, version, target.name)
    profile = make_profile(identity, trial.logits, source.holdout, spec.model.labels, temperature)
    golden = _golden(source, target, trial, _golden_inputs(source, trial, bases, blobs))
    golden_patches = make_patches(blobs, golden, {base.version: base.golden for base in bases})
    manifest = msgspec.structs.replace(
        _manifest(source, target, candidate),
        artifact=_put(candidate.model, source, target, "artifact", blobs),
        golden=_put(golden, source, target, "golden", blobs),
        patches=tuple(patches.values()),
        golden_patches=tuple(golden_patches.values()),
        temperature=temperature,
    )
    try:
        data = encode_manifest(manifest)
    except MalformedMessageError as error:
        size = f"{len(candidate.model) / 1e6:.0f} MB as {candidate.precision}"
        raise ModelTooLargeError(f"The artifact for {target.name} has {size}. {error.sentence}") from error
    return Built(
        target=target.name,
        path=target_path(spec.model.name, target.name, version),
        length=len(data),
        sha256=blobs.put(data),
        custom=TargetCustom(
            spec.model.name, target.name, version, source.request.release_counter, confidential=confidential
        ),
        precision=candidate.precision,
        qualification=manifest.qualification,
        artifact_sha256=manifest.artifact.sha256,
        artifact_length=manifest.artifact.length,
        patch_lengths={base: patch.blob.length for base, patch in patches.items()},
        profile_sha256=blobs.put(encode_profile(profile)),
        chosen=candidate.name,
        verdicts=trial.verdicts,
    )


def _put(plain: bytes, source: Source, target: Target, role: Role, blobs: BlobStore) -> Blob:
    """Store a blob as it is published: sealed where the model is confidential."""
    spec, request = source.spec, source.request
    if not spec.confidential.enabled:
        blobs.put(plain)
        return split_blob(plain)[0]
    place = Place(spec.model.name, request.version, target.name, role)
    return put_sealed(blobs, plain, request.content_key, place)


def _manifest(source: Source, target: Target, candidate: Candidate) -> Manifest:
    """What follows from the model and the target; blobs, patches and temperature are still open."""
    spec = source.spec
    sealed = Encryption(SCHEME, key_id(source.request.content_key)) if spec.confidential.enabled else None
    # "hardware" where this machine ran the gates on the target's own architecture and runtime.
    native = platform.machine() == target.machine
    qualification: Literal["emulated", "hardware"] = "hardware" if native else "emulated"
    return Manifest(
        model=spec.model.name,
        version=source.request.version,
        target=target.name,
        release_counter=source.request.release_counter,
        precision=candidate.precision,
        qualification=qualification,
        runtime=target.runtime,
        preprocessing=spec.preprocessing,
        input=spec.input,
        output=spec.output_tensor,
        labels=spec.model.labels,
        fallback=spec.model.fallback,
        artifact=_NOTHING,
        golden=_NOTHING,
        patches=(),
        limits=spec.limits,
        temperature=1.0,
        provenance_sha256="",
        encryption=sealed,
    )


def _read_bases(source: Source, target: Target, blobs: BlobStore) -> list[Manifest]:
    bases = source.request.bases.get(target.name, ())
    manifests = [decode_manifest(blobs.read(base.manifest_sha256)) for base in bases]
    return [manifest for manifest in manifests if manifest.encryption is None]


def _golden_inputs(source: Source, trial: Trial, bases: list[Manifest], blobs: BlobStore) -> Array:
    for base in bases:
        if (base.input, base.preprocessing) == (source.spec.input, source.spec.preprocessing):
            return decode_inputs(blobs.read(base.golden.sha256), base.input)
    return source.inputs[choose_rows(trial.logits, source.inputs[0].nbytes)]


def _golden(source: Source, target: Target, trial: Trial, inputs: Array) -> bytes:
    session = Session(trial.candidate.model, target.runtime.provider)
    # One by one, as the device runs them: kernels may sum a batch in another order.
    outputs = [session.run(row[np.newaxis], source.spec.output.name) for row in inputs]
    return encode_golden(inputs, np.concatenate(outputs))
