"""Who asks: a value that the token table yields for a token or a session."""

import msgspec

from edgewright.controller.errors import ForbiddenError
from edgewright.controller.people.operations import FOR_SOME_MODELS, OPERATIONS
from edgewright.controller.people.roles import Role

LOCAL = "local"
"""Id of the data folder's own token."""


class Person(msgspec.Struct, frozen=True):
    """Somebody who showed a token that counts.

    Attributes:
        token: public id of the token.
        name: as an admin wrote it.
        role: what they may do.
        models: what they may act on; empty for all.
        expires: when the token ends, seconds since the epoch; 0 for never (the data folder's own).
    """

    token: str
    name: str
    role: Role
    models: tuple[str, ...] = ()
    expires: float = 0.0

    @property
    def actor(self) -> str:
        """How the audit log names them: a name may be given twice, the id is given once."""
        return f"{self.name} ({self.token})"

    def may(self, action: str) -> bool:
        """Whether role and scope suffice for a row of ``OPERATIONS``; of its model see ``verify_scope``."""
        role = OPERATIONS[action].role
        return role is None or (self.role >= role and not self._is_beyond_scope(action))

    def verify_may(self, action: str) -> None:
        """Refuse what the role may not do, and what is about no model to a token for some models.

        Raises:
            ForbiddenError: with what it takes.
        """
        role, what, _ = OPERATIONS[action]
        if role is not None and self.role < role:
            needed = f"{'an' if role.word[0] in 'aeo' else 'a'} {role.word}"
            raise ForbiddenError(f"To {what} takes {needed}; {self.name} is {self.role.word}.")
        if self._is_beyond_scope(action):
            raise ForbiddenError(
                f"To {what} takes a token for all models; this one is for {', '.join(self.models)}."
            )

    def verify_scope(self, model: str) -> None:
        """Refuse a change of a model that the token is not for.

        Raises:
            ForbiddenError: the scope has other models only.
        """
        if self.models and model not in self.models:
            raise ForbiddenError(f"This token is for {', '.join(self.models)} and not for {model}.")

    def _is_beyond_scope(self, action: str) -> bool:
        return bool(self.models) and OPERATIONS[action].changes and action not in FOR_SOME_MODELS
