"""Names for versions that move: champion, challenger, and a team's own. Functions on a database session.

``champion`` is what a model's fleet runs: the version of the last rollout that finished and left no device of
the model with another version. It is one fact with one writer. The rollout that finishes moves it in its own
transaction (``crown``), and nobody moves it by hand, because a name alone brings nothing to a device. A
rollout to a part of the fleet moves nothing while the others are assigned another version; the one that
brings it to the last of them does. A rollout that was stopped moves nothing; a rollback moves it when the
rollout back has finished.

Every other name is moved by people, to a version that is ready. A name says nothing about where it may go: a
challenger becomes champion by a rollout.

>>> verify_name("line-b")
>>> verify_name("v3")
Traceback (most recent call last):
edgewright.controller.errors.UnknownAliasError: E112 'v3' is a version's number. List what there is with \
`edgewright alias list`.
"""

import re
import time
from collections.abc import Sequence
from typing import Final

from edgewright.controller import registry
from edgewright.controller.database import Session, col, select
from edgewright.controller.database.tables import Assignment, Device, Rollout
from edgewright.controller.database.versiontables import Alias
from edgewright.controller.errors import UnknownAliasError, VersionNotReadyError
from edgewright.controller.events import record
from edgewright.controller.people.acting import CONTROLLER, present
from edgewright.controller.rollouts.policy import RolloutState
from edgewright.controller.rollouts.selectors import takes

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"

RESERVED: Final = frozenset({"all", "any", "latest", "newest", "none"})
"""Words that say which version without anybody having moved them; "latest" is also MLflow's own."""

NAME: Final = r"[a-z][a-z0-9-]{0,30}[a-z0-9]|[a-z]"
"""At most 32 small letters, digits and inner hyphens; a letter comes first, so that no number is a name."""


def verify_name(name: str) -> None:
    """Refuse what cannot be an alias.

    Raises:
        UnknownAliasError: it is none; the sentence says why.
    """
    if re.fullmatch(r"v?\d+", name):
        raise UnknownAliasError(f"{name[:40]!r} is a version's number.")
    if not re.fullmatch(NAME, name):
        rule = "1 to 32 small letters, digits and inner hyphens, a letter first"
        raise UnknownAliasError(f"{name[:40]!r} is no alias: it takes {rule}.")
    if name in RESERVED:
        raise UnknownAliasError(f"The word {name!r} is reserved.")


def list_aliases(session: Session, model: str = "") -> Sequence[Alias]:
    """Aliases of a model, or of all, by model and name.

    Raises:
        UnknownModelError: there is no such model.
    """
    statement = select(Alias).order_by(col(Alias.model), col(Alias.name))
    if model:
        registry.verify_model(session, model)
        statement = statement.where(col(Alias.model) == model)
    return session.exec(statement).all()


def names_of(aliases: Sequence[Alias]) -> dict[int, tuple[str, ...]]:
    """Names by version, of one model."""
    found: dict[int, tuple[str, ...]] = {}
    for alias in aliases:
        found[alias.version] = (*found.get(alias.version, ()), alias.name)
    return found


def find_alias(session: Session, model: str, name: str) -> Alias:
    """One alias.

    Raises:
        UnknownAliasError: the model has none of this name.
        UnknownModelError: there is no such model.
    """
    verify_name(name)
    row = session.get(Alias, (model, name))
    if row is None:
        registry.verify_model(session, model)
        raise UnknownAliasError(f"{model} has no alias {name!r}.")
    return row


def resolve(session: Session, model: str, word: str | int) -> int:
    """The version that a number, ``v3`` or an alias means now.

    Raises:
        UnknownAliasError: it is neither, or the model has no such alias.
        UnknownModelError: there is no such model or version.
    """
    number = str(word).removeprefix("v")
    if re.fullmatch(r"\d{1,9}", number):
        return registry.find_version(session, model, int(number)).version
    return find_alias(session, model, str(word)).version


def move(session: Session, model: str, name: str, version: int) -> Alias:
    """Point an alias at a version; where it points there already nothing happens.

    Raises:
        UnknownAliasError: the name cannot be one, or is the champion's.
        UnknownModelError: there is no such version.
        VersionNotReadyError: it is not built, failed or was withdrawn.
    """
    _verify_free(name)
    row = registry.find_version(session, model, version)
    if row.state != registry.READY:
        raise VersionNotReadyError(f"{model} v{version} is {row.state}: no alias may name it.")
    return _move(session, model, name, version, "")


def remove(session: Session, model: str, name: str) -> None:
    """Take an alias away.

    Raises:
        UnknownAliasError: the model has none of this name, or it is the champion's.
        UnknownModelError: there is no such model.
    """
    _verify_free(name)
    row = find_alias(session, model, name)
    session.delete(row)
    sentence = f"{model} has no {name} any more; it was v{row.version}."
    record(session, "alias.removed", sentence, model=model, version=row.version)


def crown(session: Session, rollout: Rollout) -> None:
    """Make a rollout's version the champion, in the transaction in which it finishes.

    Where devices that its selector does not take are assigned another version, the champion stays, and an
    event says so.
    """
    others = _others(session, rollout)
    if not others:
        _move(session, rollout.model, CHAMPION, rollout.version, f" by rollout {rollout.id}")
        return
    row = session.get(Alias, (rollout.model, CHAMPION))
    if row is not None and row.version == rollout.version:
        return
    stays = f"v{row.version} stays the champion" if row is not None else "There is no champion"
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    number = rollout.id or 0
    why = f"rollout {number} does not take {others[0]}{more}, with another version"
    sentence = f"{stays} of {rollout.model}: {why}."
    record(session, "alias.kept", sentence, model=rollout.model, version=rollout.version, rollout=number)


def settle(session: Session) -> None:
    """Name the champions of models whose rollouts finished before there were aliases."""
    known = {alias.model for alias in list_aliases(session) if alias.name == CHAMPION}
    finished = select(Rollout).where(col(Rollout.state) == RolloutState.FINISHED)
    for rollout in session.exec(finished.order_by(col(Rollout.id).desc())).all():
        if rollout.model not in known and not _others(session, rollout):
            known.add(rollout.model)
            crown(session, rollout)


def _others(session: Session, rollout: Rollout) -> list[str]:
    """Devices outside of a rollout's selector that are assigned another version of its model."""
    if not rollout.selector.strip():
        return []
    assigned = select(Device).join(Assignment, col(Assignment.device) == col(Device.id))
    assigned = assigned.where(col(Assignment.model) == rollout.model, col(Assignment.stop).is_(False))
    assigned = assigned.where(col(Assignment.model_version) != rollout.version, col(Device.revoked_at) == 0)
    return sorted(d.id for d in session.exec(assigned) if not takes(rollout.selector, d))


def _verify_free(name: str) -> None:
    verify_name(name)
    if name == CHAMPION:
        raise UnknownAliasError("The champion is what a rollout finished with: roll the version out.")


def _move(session: Session, model: str, name: str, version: int, how: str) -> Alias:
    row = session.get(Alias, (model, name))
    if row is not None and row.version == version:
        return row
    before = f"; it was v{row.version}" if row is not None else ""
    acting = present()
    row = row or Alias(model=model, name=name, version=version, moved_at=0.0)
    row.version, row.moved_at = version, time.time()
    row.moved_by = (acting.actor if acting else "") or CONTROLLER
    session.add(row)
    sentence = f"{model} v{version} is the {name}{how}{before}."
    record(session, "alias.moved", sentence, model=model, version=version)
    return row
