"""What goes into a build and what comes out, as values that cross a process border."""

from collections.abc import Callable

import msgspec

from edgewright.controller.compiler.cache import SourceFacts
from edgewright.controller.compiler.compiled import Compiled
from edgewright.controller.compiler.gates import Verdict
from edgewright.controller.compiler.patches import Base
from edgewright.wire.assignment import TargetCustom


class BuildRequest(msgspec.Struct, frozen=True, tag_field="kind", tag="build", kw_only=True):
    """What to build.

    Attributes:
        folder: the model folder.
        blobs: root of the blob store.
        version, release_counter: for the manifests.
        parent: version that a rebuild started from, 0 for none.
        bases: by target, older versions to make patches from, the newest first.
        ranges_sha256: the parent's calibration ranges, empty for a version without a parent.
        content_key: of a confidential version; it reaches the child by its standard input.
        cache: folder of what was compiled before, empty for none.
        targets_file: the site's own table of targets; it need not be there.
        scratch: folder that takes what lies on disk meanwhile; empty for the system's own.
        keep_others: whether to build everything that passes the gates, for devices to choose among.
    """

    folder: str
    blobs: str
    version: int
    release_counter: int
    parent: int = 0
    bases: dict[str, tuple[Base, ...]] = {}
    ranges_sha256: str = ""
    content_key: bytes = b""
    cache: str = ""
    targets_file: str = ""
    scratch: str = ""
    keep_others: bool = False

    def __repr__(self) -> str:
        # A content key must not reach a log.
        return f"BuildRequest(folder={self.folder!r}, version={self.version})"


class CheckRequest(msgspec.Struct, frozen=True, tag_field="kind", tag="check"):
    """Check a model folder as a build does first, and build nothing; the rest as in ``BuildRequest``."""

    folder: str
    cache: str = ""
    targets_file: str = ""
    scratch: str = ""


class CompileRequest(msgspec.Struct, frozen=True, tag_field="kind", tag="compile", kw_only=True):
    """Compile a model without making a version of it.

    Attributes:
        path: a model folder, or a model file.
        blobs, cache, targets_file, scratch: as in ``BuildRequest``.
        secrets: blob store for a confidential model, of which nothing is remembered; empty for ``blobs``.
        targets: instead of those that model.toml names; empty for those.
    """

    path: str
    blobs: str
    cache: str = ""
    targets_file: str = ""
    scratch: str = ""
    secrets: str = ""
    targets: tuple[str, ...] = ()


class Checked(msgspec.Struct, frozen=True, tag_field="kind", tag="checked"):
    """The folder's model can be built; its name and labels."""

    model: str
    labels: tuple[str, ...]


class Progress(msgspec.Struct, frozen=True, tag_field="kind", tag="progress"):
    """How far a build is: a stage, the target that it is for (or empty), and the share that is done."""

    stage: str
    target: str
    share: float


class DeviceAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What one device measured of one candidate before the release.

    Attributes:
        candidate: its name.
        manifest_sha256: of the manifest that the device was given.
        device, order: who, and the number of the director's signed order.
        ok: whether every limit held there.
        error: number of the first thing that did not hold, 0 for none.
        latency_p50_us, latency_p99_us: of one inference, microseconds.
        memory_mb: of the process, MiB.
        runtime: that it ran on.
    """

    candidate: str
    manifest_sha256: str
    device: str
    order: int
    ok: bool
    error: int = 0
    latency_p50_us: int = 0
    latency_p99_us: int = 0
    memory_mb: float = 0.0
    runtime: str = ""


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """What was built for one target.

    Attributes:
        path, length, sha256, custom: the manifest as a TUF target.
        artifact_sha256, artifact_length: the artifact.
        patch_lengths: bytes of the patch by the base's version.
        provenance_sha256: the statement of provenance, and
        bundle_sha256: the signed statements; empty before the controller has attested the build.
        verdicts: of all candidates that were judged; ``chosen`` names the one that ships.
        format: of the artifact, onnx or tflite.
        proven_on: runtimes that the gates ran on.
        numbers: of the chosen candidate's verdict, then what devices measured of it.
        tools: what made the artifact, with versions.
        others: built of what else passed the gates, where that was asked for.
        answers: of the devices that measured this target's candidates, by which it was chosen.
    """

    target: str
    path: str
    length: int
    sha256: str
    custom: TargetCustom
    precision: str
    qualification: str
    artifact_sha256: str
    artifact_length: int
    patch_lengths: dict[int, int]
    profile_sha256: str
    chosen: str
    verdicts: tuple[Verdict, ...]
    provenance_sha256: str = ""
    bundle_sha256: str = ""
    format: str = "onnx"
    proven_on: tuple[str, ...] = ()
    numbers: dict[str, float] = {}
    tools: dict[str, str] = {}
    others: tuple["Built", ...] = ()
    answers: tuple[DeviceAnswer, ...] = ()


class Retold(msgspec.Struct, frozen=True):
    """What card and bill of materials are written from again, once devices have chosen.

    Attributes:
        source: what the checks found.
        compiled: by target, with all that passed the gates.
    """

    source: SourceFacts
    compiled: tuple[Compiled, ...]


class BuildResult(msgspec.Struct, frozen=True, tag_field="kind", tag="result", kw_only=True):
    """Everything about a build that its caller records.

    Attributes:
        built: one a target, in model.toml's order.
        ranges_sha256: calibration ranges for versions that follow.
        metrics: numbers of the version as a whole.
        card_sha256: blob with the model card.
        sbom_sha256: blob with the bill of materials.
        warnings: sentences that a person should read before a rollout.
        retold: where everything that passed was kept for devices to choose among.
    """

    model: str
    version: int
    labels: tuple[str, ...]
    built: tuple[Built, ...]
    ranges_sha256: str
    metrics: dict[str, float]
    card_sha256: str = ""
    sbom_sha256: str = ""
    warnings: tuple[str, ...] = ()
    retold: Retold | None = None


class Refusal(msgspec.Struct, frozen=True):
    """Why there is no artifact for a target: the error's number and its sentence."""

    target: str
    error: int
    detail: str


class CompileResult(msgspec.Struct, frozen=True, tag_field="kind", tag="compiled", kw_only=True):
    """What ``edgewright compile`` reports.

    Attributes:
        model: name.
        compiled: one a target that has an artifact.
        refused: one a target that has none.
        metrics, notes: of the source.
        cached: targets that were known from before.
        card_sha256, sbom_sha256: blobs.
        confidential: whether all blobs are in the request's ``secrets``.
    """

    model: str
    compiled: tuple[Compiled, ...]
    refused: tuple[Refusal, ...]
    metrics: dict[str, float]
    notes: tuple[str, ...]
    cached: tuple[str, ...] = ()
    card_sha256: str = ""
    sbom_sha256: str = ""
    confidential: bool = False


class Failure(msgspec.Struct, frozen=True, tag_field="kind", tag="failure"):
    """Why a build ended: the error's number and its sentence."""

    error: int
    detail: str


Request = BuildRequest | CheckRequest | CompileRequest
Answer = Progress | BuildResult | Checked | CompileResult | Failure
"""What a worker writes, one JSON line each; all but ``Progress`` are the last line."""

OnProgress = Callable[[Progress], None]
