"""The controller's database: the one folder that imports SQLModel and SQLAlchemy.

Other modules take ``Session`` and the query functions from here and the rows from ``tables``.
"""

from sqlalchemy import and_, case, delete, exists, func, or_, tuple_, update
from sqlmodel import Session, col, select

MOST_NUMBER = 2**63 - 1
"""No row has a number above it, and asking for one is refused by the database's adapter."""

__all__ = [
    "MOST_NUMBER",
    "Session",
    "and_",
    "case",
    "col",
    "delete",
    "exists",
    "func",
    "or_",
    "select",
    "tuple_",
    "update",
]
