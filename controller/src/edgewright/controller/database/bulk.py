"""Many rows in one statement, where one object a row would be thirty times slower."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import insert
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlmodel import Session

from edgewright.controller.database.evidencetables import Label
from edgewright.controller.database.tables import Outcome, Rollup, Window

_ROLLUP_KEYS = ("bucket", "resolution", "model", "version")
_ROLLUP_SUMS = (
    "windows",
    "frames",
    "fallback",
    "labelled",
    "wrong",
    "confidence_sum",
    "confidence_count",
)

_LABEL_KEYS = ("device", "item", "source")


def insert_windows(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows of ``Window``."""
    if rows:
        session.connection().execute(insert(Window), list(rows))


def insert_outcomes(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows of ``Outcome``."""
    if rows:
        session.connection().execute(insert(Outcome), list(rows))


def add_to_rollups(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add sums to rows of ``Rollup``, which are made where they are missing; one row a key."""
    if not rows:
        return
    connection = session.connection()
    statement = _upserting(session)(Rollup)
    sums = {name: getattr(Rollup, name) + statement.excluded[name] for name in _ROLLUP_SUMS}
    upsert = statement.on_conflict_do_update(index_elements=list(_ROLLUP_KEYS), set_=sums)
    connection.execute(upsert, list(rows))


def put_labels(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows of ``Label``, all columns each; one that is there already is overwritten."""
    if not rows:
        return
    statement = _upserting(session)(Label)
    told = {name: statement.excluded[name] for name in rows[0] if name not in _LABEL_KEYS}
    upsert = statement.on_conflict_do_update(index_elements=list(_LABEL_KEYS), set_=told)
    session.connection().execute(upsert, list(rows))


def _upserting(session: Session) -> Any:
    return sqlite_insert if session.connection().dialect.name == "sqlite" else postgresql_insert
