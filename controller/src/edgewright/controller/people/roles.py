"""Four roles in one order: a role may do what every lower one may."""

from enum import IntEnum

from edgewright.controller.errors import InvalidRequestError


class Role(IntEnum):
    """What somebody is here; compare with ``>=``."""

    VIEWER = 1
    OPERATOR = 2
    ENGINEER = 3
    ADMIN = 4

    @property
    def word(self) -> str:
        """The role as people and the database write it."""
        return self.name.lower()


def read_role(word: str) -> Role:
    """The role of a word.

    Raises:
        InvalidRequestError: it is none.

    >>> read_role("operator") < Role.ENGINEER
    True
    """
    try:
        return Role[word.upper()]
    except KeyError:
        known = ", ".join(role.word for role in Role)
        raise InvalidRequestError(f"{word!r} is no role; choose one of {known}.") from None
