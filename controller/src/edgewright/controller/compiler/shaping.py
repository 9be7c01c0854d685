"""What travels with an artifact: golden vectors, reference profile, temperature; by running that artifact."""

import io
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.controller.blobs import BlobStore
from edgewright.controller.compiler.benches.seam import Bench
from edgewright.controller.compiler.compiled import Compiled
from edgewright.controller.compiler.golden import choose_calls, choose_rows, decode_inputs, encode_golden
from edgewright.controller.compiler.ort import Array
from edgewright.controller.compiler.profile import fit_temperature, make_profile
from edgewright.controller.compiler.sources.images import ImageModel
from edgewright.controller.compiler.subject import Feeds, Subject, rows_of, take_rows
from edgewright.controller.compiler.targets import Target
from edgewright.controller.compiler.trials import Trial
from edgewright.controller.confidential.sealing import put_sealed
from edgewright.wire.encryption import Place, Role
from edgewright.wire.manifest import Blob, Manifest, split_blob

Put = Callable[[bytes, str, Role], Blob]
"""Stores the bytes of a blob for a target, sealed where the model is confidential."""


def put_open(blobs: BlobStore) -> Put:
    """Blobs as they are."""

    def put(plain: bytes, target: str, role: Role) -> Blob:
        del target, role
        blobs.put(plain)
        return split_blob(plain)[0]

    return put


def put_closed(blobs: BlobStore, model: str, version: int, content_key: bytes) -> Put:
    """Blobs that are sealed for their version."""

    def put(plain: bytes, target: str, role: Role) -> Blob:
        return put_sealed(blobs, plain, content_key, Place(model, version, target, role))

    return put


def shape_images(
    images: ImageModel,
    target: Target,
    trial: Trial,
    bench: Bench,
    put: Put,
    bases: Sequence[tuple[Manifest, BlobStore]],
) -> Compiled:
    """What goes with an artifact of a model for the line.

    Args:
        images: the model.
        target: what it was compiled for.
        trial: its candidates and the one that ships.
        bench: the target's runtime.
        put: stores blobs.
        bases: manifests of older versions, the newest first, and where their blobs lie.
    """
    subject, spec = images.subject, images.spec
    logits = logits_of(trial.outputs, subject)
    temperature = fit_temperature(logits, subject.truths)
    identity = (spec.model.name, 0, target.name)
    profile = make_profile(identity, logits, images.holdout, subject.labels, temperature)
    rows = _kept_inputs(images, bases)
    if rows is None:
        values = subject.holdout[spec.input.name]
        rows = values[choose_rows(logits, values[0].nbytes), 0]
    # One by one, as the device runs them: kernels may sum a batch in another order.
    answers = [bench.outputs(trial.candidate.model, {spec.input.name: row[None, None]}) for row in rows]
    golden = encode_golden(rows, np.concatenate([logits_of(answer, subject) for answer in answers]))
    shaped = {"golden_count": len(rows), "profile": profile, "temperature": temperature}
    return _compiled(target, trial, bench, put, golden, **shaped)


def shape_tensors(subject: Subject, target: Target, trial: Trial, bench: Bench, put: Put) -> Compiled:
    """What goes with an artifact of a model whose inputs are tensors: golden vectors as a NumPy archive."""
    call_bytes = sum(values[0].nbytes for values in (*subject.holdout.values(), *trial.outputs.values()))
    rows = take_rows(subject.holdout, choose_calls(trial.outputs, subject.decision, call_bytes))
    outputs = bench.outputs(trial.candidate.model, rows)
    shaped = {"golden_count": rows_of(rows), "profile": None, "temperature": 1.0}
    return _compiled(target, trial, bench, put, _archive(rows, outputs), **shaped)


def logits_of(outputs: Mapping[str, NDArray[Any]], subject: Subject) -> Array:
    """The output that decides: one row of logits a call."""
    values = outputs[subject.decision]
    return np.ascontiguousarray(values.reshape(len(values), -1), np.float32)


def _compiled(target: Target, trial: Trial, bench: Bench, put: Put, golden: bytes, **shaped: Any) -> Compiled:
    candidate = trial.candidate
    return Compiled(
        target=target.name,
        chosen=candidate.name,
        precision=candidate.precision,
        format=candidate.format,
        artifact=put(candidate.model, target.name, "artifact"),
        golden=put(golden, target.name, "golden"),
        verdicts=trial.verdicts,
        proven_on=(bench.runtime,),
        native=platform.machine() == target.machine,
        tools=dict(candidate.tools),
        left_alone=candidate.left_alone,
        ranges=dict(candidate.ranges),
        notes=trial.notes,
        **shaped,
    )


def _kept_inputs(images: ImageModel, bases: Sequence[tuple[Manifest, BlobStore]]) -> Array | None:
    """The golden inputs of the newest base that takes the same input: then only the outputs travel."""
    for manifest, blobs in bases:
        if (manifest.input, manifest.preprocessing) == (images.spec.input, images.spec.preprocessing):
            return decode_inputs(blobs.read(manifest.golden.sha256), manifest.input)
    return None


def _archive(inputs: Feeds, outputs: Mapping[str, NDArray[Any]]) -> bytes:
    """``in:<name>`` and ``out:<name>``, one call a row."""
    out = io.BytesIO()
    named = {f"in:{name}": values for name, values in inputs.items()}
    named |= {f"out:{name}": values for name, values in outputs.items()}
    np.savez(out, **named)  # type: ignore[arg-type]  # NumPy's stub takes every name for `allow_pickle`
    return out.getvalue()
