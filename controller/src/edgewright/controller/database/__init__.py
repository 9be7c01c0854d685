"""The controller's database: the one folder that imports SQLModel and SQLAlchemy.

Other modules take ``Session`` and the query functions from here and the rows from ``tables``.
"""

from sqlalchemy import delete, func, update
from sqlmodel import Session, col, select

__all__ = ["Session", "col", "delete", "func", "select", "update"]
