"""Which keys sign what: the table of ``edgewright keys show``."""

import msgspec
from tuf.api.metadata import Root, Targets

from edgewright.controller.trust import documents
from edgewright.controller.trust.changes import RELEASE
from edgewright.controller.trust.documents import RoleKeys
from edgewright.controller.trust.keys import KeyStore
from edgewright.controller.trust.state import State, release_keys


class KeyRow(msgspec.Struct, frozen=True):
    """One key of one role.

    Attributes:
        role: a role of TUF, ``release`` for all models without keys of their own, or a model.
        scheme: ``ed25519`` or ``ecdsa-sha2-nistp256``.
        store: ``file``, ``token <label>`` or ``elsewhere``.
        threshold, of: so many of so many keys have to sign.
        expires: when the role's present document ends, seconds since the epoch; 0 where it has none.
    """

    role: str
    keyid: str
    scheme: str
    store: str
    threshold: int
    of: int
    expires: float


def roster(state: State, keys: KeyStore) -> tuple[KeyRow, ...]:
    """All keys, role by role."""
    due = {
        Root.type: state.root.expires.timestamp(),
        "snapshot": state.snapshot.expires.timestamp(),
        "timestamp": (state.timestamp_due + documents.LIFE["timestamp"] / 2).timestamp(),
        **{role: signed.expires.timestamp() for role, signed in state.roles.items()},
    }
    rows: list[KeyRow] = []
    for role in (Root.type, Targets.type, "snapshot", "timestamp"):
        rows += _rows(role, documents.keys_of(state.root, role), due.get(role, 0.0), keys)
    default = release_keys(state.top)
    if default is not None:
        rows += _rows(RELEASE, default, 0.0, keys)
    for model in sorted(documents.delegated(state.top)):
        wanted = documents.keys_of(state.top, model)
        if wanted != default:
            rows += _rows(model, wanted, due[model], keys)
    return tuple(rows)


def _rows(role: str, wanted: RoleKeys, expires: float, keys: KeyStore) -> list[KeyRow]:
    return [
        KeyRow(
            role=role,
            keyid=keyid,
            scheme=str(wanted.keys[keyid]["scheme"]),
            store=keys.store_of("image", keyid),
            threshold=wanted.threshold,
            of=len(wanted.keys),
            expires=expires,
        )
        for keyid in sorted(wanted.keys)
    ]
