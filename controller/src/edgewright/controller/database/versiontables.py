"""Tables of what happens to versions after they were built; the rules are those of ``tables``.

======================  =====================================================
table                   written by
======================  =====================================================
Alias                   aliases
Qualification           qualification, ingest
QualificationOrder      qualification
WillingDevice           ingest
IdleVersion             retirement
LeftOut                 rollouts
======================  =====================================================
"""

from typing import Any

from sqlalchemy import Column, Index, LargeBinary
from sqlmodel import Field, SQLModel

from edgewright.controller.database.tables import json_column


class Alias(SQLModel, table=True):
    """A name for a version of a model that people move: champion, challenger, or one of their own."""

    model: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    version: int
    moved_at: float
    moved_by: str = ""


class Qualification(SQLModel, table=True):
    """One candidate on one qualification device; ``state`` is a ``QualificationState``."""

    __table_args__ = (Index("qualification_by_version", "model", "version", "target"),)

    id: int | None = Field(default=None, primary_key=True)
    model: str
    version: int
    target: str
    candidate: str
    manifest_sha256: str
    size: int = 0
    """Of the artifact, bytes."""
    device: str
    order_id: int = 0
    number: int = 0
    """Of the signed order; 0 before it was signed."""
    state: str
    ordered_at: float
    finished_at: float = 0.0
    result: dict[str, Any] = json_column()
    """What the device measured and signed; see the wire's ``Qualified``."""
    error: int = 0
    detail: str = ""


class QualificationOrder(SQLModel, table=True):
    """What one device is asked to measure, all of one target's candidates together."""

    id: int | None = Field(default=None, primary_key=True)
    device: str = Field(index=True)
    model: str
    version: int
    target: str
    ordered_by: str = ""
    ordered_at: float
    deadline: float
    number: int = 0
    """Of the signed document; 0 before it was signed."""
    document: bytes = Field(default=b"", sa_column=Column(LargeBinary, nullable=False))
    closed: bool = False
    """Whether nothing of it is on the broker any more, nor to be put there."""


class WillingDevice(SQLModel, table=True):
    """A device that says in its newest hello that it takes candidates."""

    device: str = Field(primary_key=True)


class LeftOut(SQLModel, table=True):
    """A device that a rollout leaves out, because what it says of itself contradicts its target."""

    rollout: int = Field(primary_key=True)
    device: str = Field(primary_key=True)
    reason: str


class IdleVersion(SQLModel, table=True):
    """A version that nothing needs; its row goes when something needs it again."""

    model: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    idle_since: float
    retired_at: float = 0.0
    """When it was decided to take its chunks off the broker; 0 in its grace time."""
    cleared: bool = False
    """Whether the broker has taken that."""

    @property
    def key(self) -> tuple[str, int]:
        """Model and version."""
        return self.model, self.version
