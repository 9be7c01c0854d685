"""Tables; ``versiontables`` and ``evidencetables`` have more.

Models do no validation: rows are made by the modules that own them.

Times are seconds since the epoch (UTC) as floats, as the wire has them. JSON columns hold plain data.
Enumerated columns are strings, so that a new state needs no migration. Who may write what:

======================  =====================================================
table                   owner
======================  =====================================================
Device                  ingest (hello, report, goodbye); enrolment inserts
EnrolmentToken          enrolment
Certificate             identity
ApiToken, PageSession   people
AuditEntry              people.audit, append only
Assignment,
IssuedAssignment        rollouts.assigner
Model, ModelVersion,
Artifact                registry
Rollout, RolloutDevice  rollouts
Position, Window,
Outcome, Rollup,
Sample, SamplePiece,
Loss                    ingest
Event                   everybody, through ``events.record``
======================  =====================================================
"""

from typing import Any

from sqlalchemy import JSON, Column, Index, LargeBinary
from sqlmodel import Field, SQLModel


def json_column(default: Any = None) -> Any:
    """A column of plain data, a dict or a list."""
    empty = "[]" if default is list else "{}"
    return Field(
        default_factory=default or dict, sa_column=Column(JSON, nullable=False, info={"empty": empty})
    )


def _bytes() -> Any:
    return Field(default=b"", sa_column=Column(LargeBinary, nullable=False, default=b""))


class Device(SQLModel, table=True):
    """One robot's agent, as it last described itself."""

    id: str = Field(primary_key=True)
    target: str
    tags: dict[str, str] = json_column()
    bound_tags: dict[str, str] = json_column()
    """Those that its enrolment token gave it: it cannot change them."""
    runtime: str = ""
    runtimes: list[str] = json_column(list)
    """All of its runtimes: name, version and provider."""
    machine: str = ""
    """Processor architecture, as ``platform.machine()`` spells it."""
    cpu: list[str] = json_column(list)
    """Processor features that matter to inference, of those in the wire's ``CPU_FEATURES``."""
    memory_mb: int = 0
    agent_version: str = ""
    enrolled_at: float = 0.0
    connected: bool = False
    connected_at: float = 0.0
    last_seen: float = 0.0
    active_model: str = ""
    active_version: int = 0
    standby_version: int = 0
    state: str = ""
    """Newest deployment state that the device reported."""
    assignment_version: int = 0
    """Newest assignment that the device reported."""
    error: int = 0
    error_name: str = ""
    detail: str = ""
    public_key: bytes = _bytes()
    """SubjectPublicKeyInfo of its current certificate, DER; signs everything that it says."""
    previous_public_key: bytes = _bytes()
    """The key before the last renewal: messages that were signed with it may still be on their way."""
    certificate_expires: float = 0.0
    revoked_at: float = 0.0
    counter: int = 0
    """Connections that it has counted; see ``Hello.counter``."""
    seen_root: int = 0
    seen_timestamp: int = 0
    director_root: int = 0
    greeted_at: float = 0.0
    """``sent_at`` of its newest hello, by its own clock: tells one connection from another."""
    stream: str = ""
    """Its outbox, as of that hello."""
    told_state: int = 0
    """``Report.ordinal`` of the report that ``state`` is from: an older one that comes later is too late."""
    told_error: int = 0
    """Likewise of ``error``."""
    budget_day: int = 0
    """Day of what follows: whole days since the epoch."""
    events_today: int = 0
    sample_bytes_today: int = 0
    suspicion: str = ""
    """Why it may be a copy or restored from an old backup; one sentence, empty where nothing says so."""


class EnrolmentToken(SQLModel, table=True):
    """A one-time token, stored as SHA-256.

    ``device`` and ``tags`` bind it: empty ones bind nothing; a device that enrols with it gets these tags.
    """

    sha256: str = Field(primary_key=True)
    expires: float
    used_by: str = ""
    device: str = ""
    tags: dict[str, str] = json_column()
    created_by: str = ""
    created_at: float = 0.0


class Certificate(SQLModel, table=True):
    """A certificate that the authority issued; a revoked one stands in the CRL until it has expired."""

    __table_args__ = (Index("certificate_by_device", "device"),)

    serial: str = Field(primary_key=True)
    """Hexadecimal."""
    device: str
    public_key_sha256: str
    issued_at: float
    expires: float
    revoked_at: float = 0.0
    reason: str = ""


class ApiToken(SQLModel, table=True):
    """A person's or program's token, stored as SHA-256; ``role`` is viewer, operator, engineer or admin."""

    id: str = Field(primary_key=True)
    """Public part, by which it is listed and revoked."""
    sha256: str = Field(index=True, unique=True)
    name: str
    role: str
    models: list[str] = json_column(list)
    """Scope: the models that it may act on, empty for all."""
    created_at: float
    created_by: str = ""
    expires: float
    last_used: float = 0.0
    revoked_at: float = 0.0


class PageSession(SQLModel, table=True):
    """A browser that has logged in; the random id of its cookie is stored as SHA-256."""

    sha256: str = Field(primary_key=True)
    token: str = Field(index=True)
    """Id of the token that was shown."""
    token_sha256: str
    """A renewed token is another one: its old sessions have ended."""
    origin: str
    """Scheme, host and port that the cookie counts for."""
    created_at: float
    expires: float


class AuditEntry(SQLModel, table=True):
    """One change that somebody made or tried; each row's digest covers the digest before it."""

    seq: int = Field(primary_key=True)
    at: float
    actor: str
    role: str
    action: str
    subject: str
    outcome: str
    """``done``, or the number of the error that refused it."""
    detail: dict[str, Any] = json_column()
    previous_sha256: str
    sha256: str


class Assignment(SQLModel, table=True):
    """The newest assignment of each device; the signed document is kept to publish it again."""

    device: str = Field(primary_key=True)
    version: int
    model: str
    model_version: int
    manifest_sha256: str
    rollout: int
    issued: float
    allow_rollback: bool = False
    """As it was ordered; a renewal orders the same."""
    stop: bool = False
    """Likewise: the device shall run the model no more."""
    document: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class IssuedAssignment(SQLModel, table=True):
    """Digest of each document that was issued: a device that acts on another one got it from a thief."""

    device: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    sha256: str
    issued: float = Field(index=True)


class Model(SQLModel, table=True):
    """A model's name; everything else stands in its versions."""

    name: str = Field(primary_key=True)
    created_at: float
    versions: int = 0
    """How many version numbers were given out."""


class ModelVersion(SQLModel, table=True):
    """One version: its source files, labels and state.

    ``state`` is one of building, signing, ready, failed, withdrawn; ``source`` is push or rebuild.
    """

    model: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    state: str
    source: str
    parent: int = 0
    created_at: float
    finished_at: float = 0.0
    files: dict[str, str] = json_column()
    """Path in the model's folder to the SHA-256 of the blob."""
    labels: list[str] = json_column(list)
    metrics: dict[str, float] = json_column()
    error: int = 0
    detail: str = ""
    lineage: dict[str, Any] = json_column()
    """Where it comes from, beside ``parent``: data, recipe, run, another registry; see ``lineage``."""
    card_sha256: str = ""
    """Blob with the generated model card (Markdown)."""
    sbom_sha256: str = ""
    """Blob with the software bill of materials (CycloneDX, JSON)."""


class Artifact(SQLModel, table=True):
    """One artifact of a version: what was compiled for a target."""

    model: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    target: str = Field(primary_key=True)
    precision: str
    qualification: str
    manifest_sha256: str
    manifest_length: int
    artifact_sha256: str
    artifact_length: int
    patch_lengths: dict[str, int] = json_column()
    """Version of the base to the length of the patch in bytes."""
    gates: dict[str, Any] = json_column()
    profile_sha256: str
    """Blob with the reference profile; see ``compiler.profile``."""
    provenance_sha256: str = ""
    """Blob with the signed provenance; see ``provenance``."""
    confidential: bool = False
    """Whether artifact and golden vectors are stored and published encrypted; see ``confidential``."""
    format: str = "onnx"
    """Of the artifact: onnx or tflite."""
    proven_on: list[str] = json_column(list)
    """Runtimes that the gates ran on: name, version and provider."""
    numbers: dict[str, float] = json_column()
    """What the gates measured of the artifact; see ``compiler.gates.Numbers``."""


class Rollout(SQLModel, table=True):
    """A rollout in progress or done; ``state`` is a ``rollouts.policy.RolloutState``."""

    id: int | None = Field(default=None, primary_key=True)
    model: str
    version: int
    selector: str = ""
    allow_rollback: bool = False
    """Devices may take it although they have committed a newer one."""
    state: str
    reason: str = ""
    waves: list[dict[str, Any]] = json_column(list)
    wave: int = 0
    wave_started_at: float = 0.0
    created_at: float
    finished_at: float = 0.0
    gate: dict[str, Any] = json_column()
    """``sentence``: what the gate of the current wave last said, or why the wave was opened; ``at``: when."""


class RolloutDevice(SQLModel, table=True):
    """One device's part in a rollout."""

    __table_args__ = (Index("rollout_device_by_device", "device", "assignment_version"),)

    rollout: int = Field(primary_key=True)
    device: str = Field(primary_key=True)
    wave: int
    state: str = ""
    """Deployment state, empty before the assignment was issued."""
    assignment_version: int = 0
    previous_version: int = 0
    assigned_at: float = 0.0
    updated_at: float = 0.0
    error: int = 0
    name: str = ""
    detail: str = ""
    fetched_bytes: int = 0
    swap_gap_us: int = 0
    told: int = 0
    """``Report.ordinal`` of the report that ``state`` is from."""


class Position(SQLModel, table=True):
    """How far a device's outbox is stored."""

    device: str = Field(primary_key=True)
    stream: str = Field(primary_key=True)
    through: int = 0
    """All numbers up to this one are stored."""
    beyond: bytes = _bytes()
    """Bitmap of what is stored after it; see ``wire.numbering``."""
    recent: bytes = _bytes()
    """Digests of the newest messages; see ``ingest.positions``."""
    since: float = 0.0
    """When its first hello came."""
    newest: float = 0.0
    """End of its newest window, by the device's clock, and not much after it came."""
    accounts: dict[str, list[int]] = json_column()
    """What its device said in the newest hello: made, waiting and given up, by kind."""


class Window(SQLModel, table=True):
    """One telemetry window; histograms stay packed in ``payload`` (the msgpack of the wire's Window)."""

    __table_args__ = (
        Index("window_by_model", "model", "version", "ts"),
        Index("window_by_device", "device", "ts"),
        {"sqlite_with_rowid": False},
    )

    ts: float = Field(primary_key=True)
    device: str = Field(primary_key=True)
    stream: str = Field(primary_key=True)
    seq: int = Field(primary_key=True)
    seconds: float
    model: str
    version: int
    frames: int
    fallback: int
    labelled: int
    wrong: int
    confidence_sum: float
    confidence_count: int
    is_past: bool = False
    """It came so long after it ended that it is no evidence of what is."""
    payload: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class Outcome(SQLModel, table=True):
    """Labels that a window brought, by the version that had decided; gates and the mispack chart read
    these.
    """

    __table_args__ = (
        Index("outcome_by_time", "ts"),
        Index("outcome_by_model", "model", "ts"),
        Index("outcome_by_device", "device", "ts"),
        {"sqlite_with_rowid": False},
    )

    model: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    ts: float = Field(primary_key=True)
    """Start of the window."""
    device: str = Field(primary_key=True)
    seq: int = Field(primary_key=True)
    labelled: int
    wrong: int


class Rollup(SQLModel, table=True):
    """Sums of windows per minute, hour or day and model version; charts read these."""

    __table_args__ = ({"sqlite_with_rowid": False},)

    bucket: float = Field(primary_key=True)
    """Start of the bucket."""
    resolution: int = Field(primary_key=True)
    """Seconds: 60, 3600 or 86400."""
    model: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    windows: int = 0
    frames: int = 0
    fallback: int = 0
    labelled: int = 0
    wrong: int = 0
    confidence_sum: float = 0.0
    confidence_count: int = 0


class Sample(SQLModel, table=True):
    """One captured frame; the PNG is a blob."""

    __table_args__ = (Index("sample_by_model", "model", "taken_at"), Index("sample_by_age", "at", "taken_at"))

    device: str = Field(primary_key=True)
    item: str = Field(primary_key=True)
    taken_at: float
    """By the device's clock, and not much after it came."""
    at: float = 0.0
    """When it came; 0 for one of an older controller."""
    tag: str = ""
    model: str
    version: int
    label: str
    confidence: float
    truth: str = ""
    """What its line said; empty while nobody has told it."""
    source: str = ""
    """Who told the line; empty where nobody says."""
    reason: str
    probability: float
    image_sha256: str
    size: int = 0
    """Of the picture, bytes."""


class SamplePiece(SQLModel, table=True):
    """A part of a picture whose sample has not come yet."""

    device: str = Field(primary_key=True)
    sha256: str = Field(primary_key=True)
    """Of the whole picture."""
    offset: int = Field(primary_key=True)
    at: float = Field(index=True)
    """When it came."""
    data: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class Loss(SQLModel, table=True):
    """What a device has given up, or has no more while it never came here."""

    device: str = Field(primary_key=True)
    stream: str = Field(primary_key=True)
    seq: int = Field(primary_key=True)
    """Number of the message that told it, or the last number that is missing."""
    at: float = Field(index=True)
    """When it was told."""
    what: str
    """report, window, sample; message where the kind is not known."""
    since: float
    until: float
    """When what is missing began and ended, by the device's clock; 0 where that is not known."""
    messages: int
    frames: int
    why: str


class Event(SQLModel, table=True):
    """A moment that people want to see: on the page, in the charts, in the log of the demo."""

    id: int | None = Field(default=None, primary_key=True)
    at: float = Field(index=True)
    kind: str
    sentence: str
    model: str = ""
    version: int = 0
    device: str = ""
    rollout: int = 0
