"""Tables of evidence and of what follows from it; the rules are those of ``tables``.

======================  =====================================================
table                   written by
======================  =====================================================
Alarm                   monitor
Finding                 monitor
TagReference            monitor
Label                   labels
Rebuild, RebuildRun     rebuild
======================  =====================================================
"""

from typing import Any

from sqlalchemy import Column, Index, LargeBinary
from sqlmodel import Field, SQLModel

from edgewright.controller.database.tables import json_column


class Alarm(SQLModel, table=True):
    """Evidence that a version does harm, raised once until it is closed by a newer version."""

    id: int | None = Field(default=None, primary_key=True)
    model: str
    version: int
    raised_at: float
    closed_at: float = 0.0
    signal: str
    sentence: str
    evidence: dict[str, Any] = json_column()


class Finding(SQLModel, table=True):
    """A verdict on a version, one of its robots or one of its tags, from its day to its end."""

    __table_args__ = (Index("finding_by_model", "model", "opened_at"),)

    id: int | None = Field(default=None, primary_key=True)
    model: str
    version: int
    device: str = ""
    """The one robot that it is about; empty where it is about all."""
    tag: str = ""
    """The machine's tag that it is about; empty where it is about all."""
    cause: str
    """An ``evidence.verdict.Cause``."""
    harm: bool = False
    opened_at: float
    closed_at: float = 0.0
    sentence: str
    remedy: str
    evidence: dict[str, Any] = json_column()


class TagReference(SQLModel, table=True):
    """What a version does with one tag's goods while it does no harm: used again when they return."""

    model: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    tag: str = Field(primary_key=True)
    frames: int = 0
    windows: int = 0
    since: float
    ready_at: float = 0.0
    """When it had seen enough to be held against; 0 while it has not."""
    payload: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class Label(SQLModel, table=True):
    """What one source says that one item truly is, told to the controller: an audit, a file, a program.

    Labels that a line tells its device do not come here: windows carry their sums, samples their text.
    """

    __table_args__ = (Index("label_by_source", "model", "source", "at"),)

    device: str = Field(primary_key=True)
    item: str = Field(primary_key=True)
    source: str = Field(primary_key=True)
    """``audit`` where a person looked at the frame, else the name that its teller gave."""
    model: str
    version: int
    decided: str = ""
    """What the version had said; empty where no sample of the item is known (yet)."""
    truth: str
    """Empty where a person could not tell."""
    probability: float = 1.0
    """The chance with which the item was chosen to be labelled; 0 where nobody can name it."""
    tag: str = ""
    at: float
    told_by: str = ""


class Rebuild(SQLModel, table=True):
    """One rebuild; ``state`` is a ``rebuild.states.RebuildState``."""

    id: int | None = Field(default=None, primary_key=True)
    model: str
    from_version: int
    cause: str
    alarm: int = 0
    state: str
    queued_at: float
    started_at: float = 0.0
    finished_at: float = 0.0
    rung: str = ""
    new_version: int = 0
    rollout: int = 0
    gates: dict[str, Any] = json_column()
    detail: str = ""
    trigger: str = ""
    """What asked for it: harm, schedule, data, person, api or recipe; empty in an older row."""
    asked_by: str = ""
    """Who asked; empty where nobody did."""
    approved_by: str = ""
    """Who let it go to the line; empty while nobody has, or nobody has to."""
    approved_at: float = 0.0


class RebuildRun(SQLModel, table=True):
    """One training of a rebuild, as it can be compared with others."""

    __table_args__ = (Index("rebuild_run_by_model", "model", "started_at"),)

    id: int | None = Field(default=None, primary_key=True)
    rebuild: int = Field(index=True)
    model: str
    rung: str
    attempt: int = 1
    started_at: float
    finished_at: float = 0.0
    parameters: dict[str, Any] = json_column()
    metrics: dict[str, float] = json_column()
    artifacts: dict[str, str] = json_column()
    """Name to the SHA-256 of the blob."""
    outcome: str = ""
    """passed, refused or failed; empty while it runs."""
    detail: str = ""
