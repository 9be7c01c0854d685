"""The controller's database: the one folder that imports SQLModel and SQLAlchemy.

Other modules take ``Session`` and the query functions from here and the rows from ``tables``.
"""

from sqlalchemy import and_, case, delete, exists, func, or_, update
from sqlmodel import Session, col, select

__all__ = ["Session", "and_", "case", "col", "delete", "exists", "func", "or_", "select", "update"]
