"""Bodies of requests and answers. Rows become these by their attributes; nothing else leaves the database.

Times are seconds since the epoch (UTC), sizes are bytes, rates are shares from 0 to 1.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$")]
AliasName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$", max_length=64)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_TagName = Annotated[str, Field(max_length=64)]
_TagValue = Annotated[str, Field(max_length=256)]
Tags = Annotated[dict[_TagName, _TagValue], Field(max_length=64)]


class _FromRow(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Health(BaseModel):
    """The controller answers."""

    status: Literal["ok"] = "ok"
    version: str


class DeviceView(_FromRow):
    """One robot's agent, as it last described itself."""

    id: str
    target: str
    tags: dict[str, str]
    runtime: str = Field(description="The first of its runtimes: name and version")
    runtimes: list[str] = Field(description="Name, version and provider of each")
    machine: str = Field(description="Processor architecture; empty where it is not known")
    cpu: list[str] = Field(description="Processor features that matter to inference")
    memory_mb: int = Field(description="0 where it is not known")
    fits: str = Field("not known", description="Whether it is what its target asks for: yes, no, not known")
    reasons: list[str] = Field([], description="What contradicts its target")
    better: str = Field("", description="A better target that it could have, in a sentence; or empty")
    agent_version: str
    enrolled_at: float
    connected: bool
    last_seen: float
    active_model: str
    active_version: int = Field(description="0 where nothing runs")
    standby_version: int
    state: str = Field(description="Newest deployment state; empty before the first")
    error: int
    error_name: str
    detail: str
    revoked_at: float = Field(description="0 where it is not revoked")
    suspicion: str = Field(description="Why it may be a copy or restored; empty where nothing says so")


class TargetView(BaseModel):
    """A target that models can be compiled for, or one that is described and not qualified yet."""

    name: str
    summary: str
    qualified: bool
    missing: str = Field(description="What one that is not qualified lacks")
    site: bool = Field(description="It stands in this controller's own table")
    machine: str
    cpu: list[str] = []
    runtime: dict[str, Any] = Field({}, description="name, minimum, below, provider")
    environment: str = Field("", description="The toolchain that has the runtime; empty for the controller's")
    format: str = ""
    needs: list[str] = Field([], description="Toolchains that make its candidates")
    precisions: list[str] = []
    activation: str = ""
    memory_mb: float = 0.0
    latency_us: float = 0.0
    enrolled: int = Field(0, description="Devices that enrolled with it")
    fitting: int = Field(0, description="Devices that say all it asks for")


class MissingView(_FromRow):
    """Messages of a device that will not come."""

    at: float = Field(description="When it was told")
    what: str = Field(description="report, window or sample; message where the kind is not known")
    since: float = Field(description="When what is missing began, by the device's clock; 0 if not known")
    until: float
    messages: int
    frames: int = Field(description="Frames that were counted in them")
    why: str


class TelemetryView(_FromRow):
    """What of a device's telemetry is not here."""

    waiting: dict[str, int] = Field(description="Messages that wait on the device, as of its newest hello")
    given_up: dict[str, int] = Field(description="Messages that its outbox ever gave up, likewise")
    lacking: list[tuple[int, int]] = Field(description="Numbers that later ones have overtaken")
    losses: list[MissingView] = Field(description="The newest losses, newest first")


class ModelView(_FromRow):
    """A model."""

    name: str
    created_at: float
    versions: int = Field(description="How many version numbers were given out")


class ArtifactView(_FromRow):
    """What was compiled for one target."""

    target: str
    precision: str
    qualification: str = Field(description="hardware where a device of the target measured it, else emulated")
    manifest_sha256: str
    artifact_sha256: str
    artifact_length: int
    patch_lengths: dict[str, int] = Field(description="Version of the base to bytes of the patch")
    gates: dict[str, Any]
    format: str = Field(description="onnx or tflite")
    proven_on: list[str] = Field(description="Runtimes that the gates ran on: name, version and provider")
    numbers: dict[str, float] = Field(description="What the gates measured of it")
    confidential: bool = Field(description="Whether it leaves the controller encrypted only")


class VersionView(_FromRow):
    """One version of a model."""

    model: str
    version: int
    state: str = Field(description="building, ready, failed or withdrawn")
    source: str = Field(description="push or rebuild")
    parent: int
    created_at: float
    finished_at: float
    files: dict[str, str] = Field(description="Path in the model's folder to SHA-256")
    labels: list[str]
    metrics: dict[str, float]
    error: int
    detail: str
    lineage: dict[str, Any] = Field(description="Where it comes from; see the lineage operation")
    card_sha256: str = Field(description="Its model card; empty where it has none")
    sbom_sha256: str = Field(description="Its bill of materials; empty where it has none")


class VersionDetail(VersionView):
    """One version with its artifacts."""

    artifacts: list[ArtifactView] = []


class AliasView(_FromRow):
    """A name for a version."""

    model: str
    name: str
    version: int
    moved_at: float
    moved_by: str = Field(description="Who moved it; the controller where a rollout did")


class WaveBody(BaseModel):
    """One wave of a new rollout."""

    name: Annotated[str, Field(max_length=100)] = ""
    count: Annotated[int, Field(ge=0)] = 0
    percent: Annotated[float, Field(ge=0, le=100)] = 0.0
    soak_s: Annotated[float, Field(ge=0, le=30 * 86400)] = 0.0
    gate: Literal["install", "quality"] = "install"


class RolloutOptions(BaseModel):
    """To whom, and in which waves."""

    selector: Annotated[str, Field(max_length=1000)] = ""
    waves: Annotated[list[WaveBody], Field(max_length=50)] | None = None
    reason: Annotated[str, Field(max_length=500)] = ""


class ImportedBody(BaseModel):
    """A version of another registry."""

    registry: Literal["mlflow"]
    address: Annotated[str, Field(pattern=r"^[a-z][a-z0-9+.-]*(://[A-Za-z0-9.:\[\]-]+)?$", max_length=200)]
    """Scheme, host and port; no path and nobody's password."""
    model: Annotated[str, Field(max_length=256)]
    version: Annotated[str, Field(max_length=64)]
    run: Annotated[str, Field(max_length=64)] = ""
    artifact_sha256: Sha256 | Literal[""] = ""
    metrics: Annotated[
        dict[_TagName, Annotated[float, Field(allow_inf_nan=False)]], Field(max_length=200)
    ] = {}
    tags: Annotated[dict[_TagName, _TagValue], Field(max_length=100)] = {}


class PushBody(BaseModel):
    """A new version: its files were uploaded as blobs before."""

    files: Annotated[dict[str, Sha256], Field(min_length=1, max_length=200)]
    run: Annotated[str, Field(max_length=200)] = ""
    """What the person calls the run or the revision that made it."""
    note: Annotated[str, Field(max_length=500)] = ""
    """Their remark."""
    imported_from: ImportedBody | None = None
    """Where it was fetched, if it was."""


class RolloutBody(RolloutOptions):
    """A new rollout."""

    model: Name
    version: Annotated[int, Field(ge=1)] | AliasName = Field(description="A number, or an alias")


class OrderBody(BaseModel):
    """Why a person pauses or aborts."""

    reason: Annotated[str, Field(max_length=500)] = ""


class RolloutView(_FromRow):
    """A rollout."""

    id: int
    model: str
    version: int
    selector: str
    state: str
    reason: str
    waves: list[dict[str, Any]]
    wave: int = Field(description="Index of the present wave, from 0")
    created_at: float
    finished_at: float
    gate: dict[str, Any]


class RolloutDeviceView(_FromRow):
    """One device's part in a rollout."""

    device: str
    wave: int
    state: str = Field(description="Deployment state; empty before the assignment was issued")
    previous_version: int
    assigned_at: float
    updated_at: float
    error: int
    name: str
    detail: str
    fetched_bytes: int
    swap_gap_us: int


class LeftOutView(_FromRow):
    """A device that a rollout leaves out, because it contradicts its target."""

    device: str
    reason: str


class RolloutDetail(RolloutView):
    """A rollout with its devices."""

    devices: list[RolloutDeviceView] = []
    left_out: list[LeftOutView] = []


class NewRollout(BaseModel):
    """The number of a rollout that was started."""

    id: int


class AlarmView(_FromRow):
    """Evidence that a version does harm."""

    id: int
    version: int
    raised_at: float
    closed_at: float
    signal: str
    sentence: str
    evidence: dict[str, Any]


class RebuildView(_FromRow):
    """One rebuild."""

    id: int
    model: str
    from_version: int
    cause: str
    alarm: int
    trigger: str = Field(description="What asked: harm, schedule, data, person, api or recipe")
    asked_by: str
    approved_by: str
    approved_at: float
    state: str
    queued_at: float
    started_at: float
    finished_at: float
    rung: str
    new_version: int
    rollout: int
    gates: dict[str, Any]
    detail: str


class RunView(_FromRow):
    """One training of a rebuild."""

    id: int
    rebuild: int
    rung: str
    attempt: int
    started_at: float
    finished_at: float
    parameters: dict[str, Any]
    metrics: dict[str, float]
    artifacts: dict[str, str] = Field(description="Name to the SHA-256 of the blob")
    outcome: str = Field(description="passed, refused or failed; empty while it runs")
    detail: str


class VersionQuality(BaseModel):
    """What a version did in the last minutes, beside what it promised."""

    version: int
    labelled: int
    wrong: int
    mispack_rate: float | None
    confidence: float | None
    expected_mispack_rate: float | None
    expected_confidence: float | None
    evidence: float = Field(0.0, description="E-value of harm so far; it alarms at the threshold")
    threshold: float = Field(0.0, description="0 where nothing was weighed yet")
    harm_rate: float | None = Field(None, description="Mispack rate from where on it is harm")


class DriftView(BaseModel):
    """Alarms, rebuilds and present quality of a model."""

    model: str
    seconds: int = Field(description="Span of the present quality")
    versions: list[VersionQuality]
    alarms: list[AlarmView]
    rebuilds: list[RebuildView]


class EventView(_FromRow):
    """A moment that people want to see."""

    id: int
    at: float
    kind: str
    sentence: str
    model: str
    version: int
    device: str
    rollout: int


class SeriesView(_FromRow):
    """One version's values, one a bucket; null where there is none."""

    version: int
    values: list[float | None]


class MarkView(_FromRow):
    """A moment that the charts mark."""

    at: float
    kind: str
    label: str
    tone: str
    sentence: str


class ReferenceView(_FromRow):
    """What a version promised."""

    version: int
    mispack: float
    confidence: float | None


class ChartsView(_FromRow):
    """The two charts of a model."""

    model: str
    start: float
    end: float
    bucket_s: int
    times: list[float]
    mispack: list[SeriesView]
    confidence: list[SeriesView]
    marks: list[MarkView]
    references: list[ReferenceView]


class TokenBody(BaseModel):
    """For whom and how long an enrolment token is good."""

    life_s: Annotated[float, Field(gt=0, le=30 * 86400)] = 3600.0
    device: Annotated[str, Field(max_length=64)] = ""
    """The only id that can enrol with it; any new one where it is empty."""
    tags: Tags = {}
    """What a device that enrols with it is tagged with; it cannot claim other values of these."""


class RevokeBody(BaseModel):
    """Why a device is revoked."""

    reason: Annotated[str, Field(max_length=200)] = ""


class TokenView(BaseModel):
    """A one-time enrolment token; it is shown only now."""

    token: str


class EnrolBody(BaseModel):
    """A device that wants to be taken in."""

    device: Annotated[str, Field(min_length=1, max_length=128)]
    target: Annotated[str, Field(min_length=1, max_length=128)]
    tags: Tags = {}
    token: Annotated[str, Field(max_length=200)]
    csr: Annotated[str, Field(max_length=8192)]
    """PKCS#10 request of a P-256 key that the device made, DER in base64."""


class BrokerView(BaseModel):
    """Where the MQTT broker listens."""

    host: str
    port: int
    tls: bool = Field(description="Whether it wants TLS and the device's certificate")


class EnrolmentView(BaseModel):
    """What a device has to know to start."""

    broker: BrokerView
    tags: dict[str, str] = Field(description="The tags that it has now")
    certificate: str = Field(description="The device's certificate and its issuer's, PEM")
    authority: str = Field(description="The fleet's root certificate, PEM")
    expires: float = Field(description="When the certificate ends, seconds since the epoch")
    image_root: Any = Field(description="Root metadata of the image repository, as JSON")
    director_root: Any = Field(description="Root metadata of the director, as JSON")
