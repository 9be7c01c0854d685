"""The manifest: everything a device has to know about one artifact, in one signed file.

A manifest is a TUF target (``<model>/<target>/<version>.json``), canonical JSON of at most 128 KiB, so that
it travels as one chunk. It names every blob below it by SHA-256, length and chunk digests: signing the
manifest signs them all. Nothing here is a path on a device or an address on a network.
"""

from typing import Final, Literal

import msgspec

from edgewright.wire.canonical import canonical_json, sha256_hex
from edgewright.wire.encryption import Encryption, Place, Role
from edgewright.wire.errors import MalformedMessageError

CHUNK_BYTES: Final = 128 * 1024
"""Size of every chunk but a blob's last. 64 to 256 KiB measured flat; NATS refuses more than 1 MB."""

MAX_MANIFEST_BYTES: Final = CHUNK_BYTES
MAX_BLOB_BYTES: Final = 2**31


class Blob(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes by content: digest, length in bytes, and the digests of its chunks in order."""

    sha256: str
    length: int
    chunks: tuple[str, ...]


class Patch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A zstd patch that makes a blob out of an older one.

    Attributes:
        base_sha256: the older blob.
        base_length: its length in bytes; bounds the decoder's window.
        blob: the patch itself.
    """

    base_sha256: str
    base_length: int
    blob: Blob


class RuntimeRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Inference runtime and the half-open range of versions on which the artifact was proven.

    Attributes:
        name: ``onnxruntime``, ``litert``, or ``tflite-runtime`` for boards that have only that.
        minimum: first version that may run it, for example ``1.20``.
        below: first version that may not.
        provider: execution provider or delegate, for example ``CPUExecutionProvider``.
        placed: smallest share of the graph's nodes that has to run on it; less is a silent fallback.
    """

    name: Literal["onnxruntime", "litert", "tflite-runtime"]
    minimum: str
    below: str
    provider: str
    placed: float = 1.0


class Preprocessing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From a camera frame (uint8, height x width x 3, BGR) to the model's input, in this order.

    Attributes:
        width, height: size after an area-interpolated resize, in pixels.
        colour: channels of the result.
        mean, std: per channel, in units of 1/255 of full scale; ``x = (pixel / 255 - mean) / std``.
        layout: order of the input's axes.
    """

    width: int
    height: int
    colour: Literal["rgb", "bgr", "gray"]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layout: Literal["NCHW", "NHWC"] = "NCHW"


class Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Name, element type and shape of a model's input or output; 1 stands for the batch."""

    name: str
    dtype: Literal["float32", "uint8", "int8"]
    shape: tuple[int, ...]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the device has to hold before it may activate the artifact, and how it watches it then.

    Attributes:
        golden_tolerance: largest difference of a golden output, relative to the range of the golden logits.
        latency_p99_us: 99th percentile of one inference, microseconds.
        memory_mb: resident memory of the runner, MiB.
        shadow_frames: frames that the candidate sees beside the active model before the swap.
        probation_frames: frames that it decides before it is committed.
        changeover_frames: frames after a change of the machine's tag that are counted apart, until goods and
            light have settled. The file does not name the default, so that older agents can read it.
    """

    golden_tolerance: float
    latency_p99_us: int
    memory_mb: int
    shadow_frames: int
    probation_frames: int
    changeover_frames: int = 20


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One artifact of one version of one model for one target.

    Attributes:
        model, version: which; versions count from 1.
        target: device target that it was compiled for.
        release_counter: grows with each release of the model; a device never installs a smaller one
            than it has committed unless the controller orders a rollback.
        precision: for example ``int8``.
        qualification: ``hardware`` where a device of the target has measured it before its release, else
            ``emulated``, whatever machine compiled it.
        runtime, preprocessing, input, output, labels: how to run it; ``labels`` names the output's classes.
        fallback: the decision for a frame that no runner decides in time.
        artifact: the model file.
        golden: msgpack of ``GoldenVectors``.
        patches: ways to make the artifact from older ones.
        golden_patches: the same for the golden vectors: a rebuild keeps its parent's inputs, so that only the
            outputs travel.
        limits: see ``Limits``.
        temperature: divides the logits before the softmax.
        provenance_sha256: digest of the build's provenance statement, as it was signed.
        tests_sha256: the same of the statement of how the gates judged the artifact.
        build_key: public key that signed both, SubjectPublicKeyInfo in hexadecimal.
        encryption: of artifact and golden vectors, which are then described as they are published, encrypted.
    """

    kind: Literal["manifest"] = "manifest"
    model: str
    version: int
    target: str
    release_counter: int
    precision: str
    qualification: Literal["emulated", "hardware"]
    runtime: RuntimeRange
    preprocessing: Preprocessing
    input: Tensor
    output: Tensor
    labels: tuple[str, ...]
    fallback: str
    artifact: Blob
    golden: Blob
    patches: tuple[Patch, ...]
    golden_patches: tuple[Patch, ...] = ()
    limits: Limits
    temperature: float
    provenance_sha256: str
    tests_sha256: str = ""
    build_key: str = ""
    encryption: Encryption | None = None

    def place(self, role: Role) -> Place:
        """What an encrypted blob of this manifest is bound to."""
        return Place(self.model, self.version, self.target, role)


class GoldenVectors(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Inputs of the model and the outputs that the compiler saw on the target's runtime.

    Attributes:
        count: number of vectors.
        inputs: little-endian bytes of the inputs, one after another, in the manifest's element type.
        outputs: the same of the outputs, float32.
    """

    count: int
    inputs: bytes
    outputs: bytes


def target_path(model: str, target: str, version: int) -> str:
    """TUF target path of a manifest; its depth is fixed because TUF wildcards do not cross a slash.

    >>> target_path("garment-packing", "x86_64-ort-cpu", 2)
    'garment-packing/x86_64-ort-cpu/2.json'
    """
    return f"{model}/{target}/{version}.json"


def split_blob(data: bytes) -> tuple[Blob, list[bytes]]:
    """A blob's description and its chunks."""
    chunks = [data[i : i + CHUNK_BYTES] for i in range(0, len(data), CHUNK_BYTES)] or [b""]
    blob = Blob(sha256_hex(data), len(data), tuple(sha256_hex(chunk) for chunk in chunks))
    return blob, chunks


def encode_manifest(manifest: Manifest) -> bytes:
    """Canonical bytes of a manifest.

    Raises:
        MalformedMessageError: it is larger than 128 KiB.
    """
    data = canonical_json(manifest)
    if len(data) > MAX_MANIFEST_BYTES:
        raise MalformedMessageError(f"The manifest has {len(data)} bytes; at most {MAX_MANIFEST_BYTES} fit.")
    return data


def decode_manifest(data: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        MalformedMessageError: the bytes are no manifest.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise MalformedMessageError(f"The manifest has {len(data)} bytes; at most {MAX_MANIFEST_BYTES} fit.")
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessageError(f"The manifest cannot be read: {error}.") from error
    for blob in (
        manifest.artifact,
        manifest.golden,
        *(patch.blob for patch in (*manifest.patches, *manifest.golden_patches)),
    ):
        _check_blob(blob)
    return manifest


def _check_blob(blob: Blob) -> None:
    expected = max(1, -(-blob.length // CHUNK_BYTES))
    if not 0 <= blob.length <= MAX_BLOB_BYTES or len(blob.chunks) != expected:
        raise MalformedMessageError(
            f"A blob of {blob.length} bytes has {expected} chunks, not {len(blob.chunks)}."
        )
