"""What a person orders about keys, made into a change: add, drop or replace keys, set a threshold."""

from typing import Final

import msgspec
from tuf.api.metadata import Key, Snapshot, Timestamp

from edgewright.controller.errors import InvalidRequestError
from edgewright.controller.trust import documents
from edgewright.controller.trust.changes import RELEASE, Keys, verify_keys
from edgewright.controller.trust.documents import RoleKeys
from edgewright.controller.trust.keys import KeyStore
from edgewright.controller.trust.pem import read_public
from edgewright.controller.trust.state import State, release_keys

ONLINE: Final = (Snapshot.type, Timestamp.type)
"""Roles whose keys stay with the controller, so it makes them itself."""


class KeyOrder(msgspec.Struct, frozen=True):
    """What a person orders.

    Attributes:
        roles: roles of TUF, models, or ``release``; empty with ``drop`` for every role that has the key.
        add: public keys in PEM.
        drop: beginnings of key ids, each of one key.
        replace: the role's other keys go.
        generate: the controller makes the new key; for snapshot and timestamp only.
        threshold: the new one; 0 keeps it.
        recover: versions of snapshot and timestamp begin low again.
    """

    roles: tuple[str, ...] = ()
    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    replace: bool = False
    generate: bool = False
    threshold: int = 0
    recover: bool = False


def keys_change(state: State, order: KeyOrder, store: KeyStore, default: RoleKeys | None) -> Keys:
    """The change that an order means.

    Raises:
        InvalidRequestError: a role, a key or a threshold that cannot be.
        KeyStoreError: what was given is no public key.
    """
    named = order.roles or tuple(role for role in _all_roles(state) if _has(state, role, order, default))
    _verify(order, named)
    added = [read_public(text.encode()) for text in order.add]
    roles = {}
    for role in named:
        made = [store.generate(f"image/{role}")] if order.generate else []
        roles[role] = _wanted(_current(state, role, default), order, [*added, *made], role)
    return Keys(roles, order.recover)


def _verify(order: KeyOrder, named: tuple[str, ...]) -> None:
    if not named:
        raise InvalidRequestError("No role is named, and no role has such a key.")
    if order.generate and not set(named) <= set(ONLINE):
        raise InvalidRequestError("The controller makes keys of snapshot and timestamp only.")
    if order.recover and not (set(named) >= set(ONLINE) and order.replace):
        raise InvalidRequestError("Versions begin again only with new keys for both snapshot and timestamp.")
    offline = set(ONLINE).intersection(named) and order.add
    if offline:
        raise InvalidRequestError("Keys of snapshot and timestamp stay with the controller: generate them.")


def _wanted(current: RoleKeys | None, order: KeyOrder, added: list[Key], role: str) -> RoleKeys:
    before = current or RoleKeys({}, max(1, order.threshold))
    kept = {} if order.replace else dict(before.keys)
    for beginning in order.drop:
        matching = [keyid for keyid in kept if keyid.startswith(beginning)]
        if len(matching) > 1:
            raise InvalidRequestError(f"The id {beginning} names {len(matching)} keys of {role}.")
        if not matching and order.roles:
            raise InvalidRequestError(f"{role} has no key {beginning}.")
        for keyid in matching:
            del kept[keyid]
    keys = {**kept, **{key.keyid: key.to_dict() for key in added}}
    wanted = RoleKeys(keys, order.threshold or before.threshold)
    verify_keys(role, wanted)
    return wanted


def _current(state: State, role: str, default: RoleKeys | None) -> RoleKeys | None:
    if role in documents.TOP_LEVEL:
        return documents.keys_of(state.root, role)
    if role == RELEASE:
        return release_keys(state.top) or default
    documents.check_role_name(role)
    return documents.keys_of(state.top, role) if role in state.roles else None


def _all_roles(state: State) -> tuple[str, ...]:
    # ``release`` brings the models that follow it along; naming those too would give them keys of their own.
    default = release_keys(state.top)
    own = [m for m in documents.delegated(state.top) if documents.keys_of(state.top, m) != default]
    return (*sorted(documents.TOP_LEVEL), RELEASE, *own)


def _has(state: State, role: str, order: KeyOrder, default: RoleKeys | None) -> bool:
    current = _current(state, role, default)
    return current is not None and any(
        keyid.startswith(beginning) for keyid in current.keys for beginning in order.drop
    )
