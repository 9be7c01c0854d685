"""Releases for tests that need no real model: manifests with seeded random artifacts.

A line stub takes any artifact; a real runner refuses these.
"""

import random
from typing import Any

import msgspec

from edgewright.wire.manifest import (
    GoldenVectors,
    Limits,
    Manifest,
    Patch,
    Preprocessing,
    RuntimeRange,
    Tensor,
    split_blob,
)
from simulators.repository import MODEL, TARGET

GOLDEN = msgspec.msgpack.encode(GoldenVectors(1, bytes(16), bytes(8)))


def random_artifact(seed: int, length: int = 300_000) -> bytes:
    """Bytes that no compressor makes smaller."""
    return random.Random(seed).randbytes(length)


def make_manifest(
    version: int, artifact: bytes, patches: tuple[tuple[bytes, bytes], ...] = (), **changed: Any
) -> Manifest:
    """A manifest for an artifact.

    Args:
        version: also the release counter, unless ``changed`` says otherwise.
        artifact: its bytes.
        patches: pairs of base artifact and patch.
        changed: fields of the manifest that differ.
    """
    manifest = Manifest(
        model=MODEL,
        version=version,
        target=TARGET,
        release_counter=version,
        precision="fp32",
        qualification="emulated",
        runtime=RuntimeRange("onnxruntime", "1.20", "3", "CPUExecutionProvider"),
        preprocessing=Preprocessing(2, 2, "gray", (0.5,), (0.5,)),
        input=Tensor("image", "float32", (1, 1, 2, 2)),
        output=Tensor("logits", "float32", (1, 2)),
        labels=("Bag", "Shirt"),
        fallback="manual",
        artifact=split_blob(artifact)[0],
        golden=split_blob(GOLDEN)[0],
        patches=tuple(
            Patch(split_blob(base)[0].sha256, len(base), split_blob(patch)[0]) for base, patch in patches
        ),
        limits=Limits(0.01, 50_000, 200, 10, 10),
        temperature=1.0,
        provenance_sha256="0" * 64,
    )
    return msgspec.structs.replace(manifest, **changed)
