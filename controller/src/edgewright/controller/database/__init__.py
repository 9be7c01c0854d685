"""The controller's database: the one folder that imports SQLModel and SQLAlchemy.

Other modules take ``Session`` and the query functions from here and the rows from ``tables``.
"""

from sqlalchemy import case, delete, func, or_, update
from sqlmodel import Session, col, select

__all__ = ["Session", "case", "col", "delete", "func", "or_", "select", "update"]
