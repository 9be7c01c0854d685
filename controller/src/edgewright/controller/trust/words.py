"""What a document says and changes, in words, read from its own bytes: what a key's holder is shown.

Nothing here is taken from a request's summary: that comes from the controller, which may be the one who
cheats. So does the list of who has to sign: the document that is replaced is believed only where a key has
signed it that the reader knows by himself, such as his own. Otherwise everything is listed as if it were new.
"""

import json
from collections.abc import Sequence
from typing import Final

import msgspec
from securesystemslib.signer import Key
from tuf.api.metadata import Root, Signed, Targets

from edgewright.controller.errors import SignatureRefusedError
from edgewright.controller.trust import documents
from edgewright.controller.trust.documents import RoleKeys
from edgewright.controller.trust.requests import Part, Request, good_signatures
from edgewright.controller.trust.state import release_keys
from edgewright.wire.errors import EdgewrightError, MalformedMessageError

SHOWN: Final = 50
"""So many lines of a document stand in a request's summary; whoever signs is shown all."""


def summary(request: Request) -> tuple[str, ...]:
    """What a request changes, for its own maker, who knows that its documents and keys are honest."""
    lines: list[str] = []
    for part in request.parts:
        said = describe(part, [key for demand in part.demands for key in demand.read().values()])
        lines += said if len(said) <= SHOWN else [*said[:SHOWN], f"and {len(said) - SHOWN} lines more"]
    return tuple(lines)


def describe(part: Part, known: Sequence[Key]) -> list[str]:
    """A document's change, a sentence a line; the first says which document it is.

    Args:
        part: the document.
        known: keys that the reader knows from elsewhere than the request; what one of them has signed is
            believed to be what is replaced.

    Raises:
        SignatureRefusedError: the bytes are not the document that the request says.
    """
    try:
        return _describe(part, known)
    except MalformedMessageError as error:
        raise SignatureRefusedError(
            f"The {part.role} in the request names no release: {error.sentence}"
        ) from error
    except (KeyError, TypeError, ValueError, AttributeError, msgspec.ValidationError) as error:
        # tuf reads documents whose parts do not fit one another, for example a role of keys that it lacks.
        raise SignatureRefusedError(f"The {part.role} in the request contradicts itself: {error}.") from error


def _describe(part: Part, known: Sequence[Key]) -> list[str]:
    new = _read(part.signed)
    if new.version != part.version or _shape(part.role) is not type(new):
        raise SignatureRefusedError(f"The request says {part.role} v{part.version} and holds something else.")
    expires = new.expires.date().isoformat()
    lines = [f"{part.role}, version {new.version}, valid until {expires}"]
    before, doubt = _before(part, new.version, known)
    lines += doubt
    if isinstance(new, Root):
        lines += _root_lines(new, before if isinstance(before, Root) else None)
    elif isinstance(new, Targets):
        lines += _targets_lines(new, before if isinstance(before, Targets) else None)
    return lines


def who(part: Part) -> list[str]:
    """Who has to sign, a sentence a demand."""
    lines = []
    for demand in part.demands:
        given = len(part.signatures.keys() & demand.keys.keys())
        ids = ", ".join(keyid[:16] for keyid in sorted(demand.keys))
        lines.append(f"needs {demand.threshold} of {len(demand.keys)} keys ({ids}), has {given}")
    return lines


def _shape(role: str) -> type[Signed]:
    return Root if role == Root.type else Targets


def _read(text: str) -> Signed:
    try:
        return documents.parse(text)
    except EdgewrightError as error:
        raise SignatureRefusedError(error.sentence) from error


def _before(part: Part, version: int, known: Sequence[Key]) -> tuple[Signed | None, list[str]]:
    """The replaced document where it can be believed, and what is to be said where it cannot."""
    if not part.before:
        return None, ["it is the first of its role"]
    try:
        signatures = {found["keyid"]: found["sig"] for found in json.loads(part.before)["signatures"]}
        text = documents.signed_part(part.before.encode())
        is_known = bool(good_signatures(known, text, signatures))
        before = _read(text)
    except (EdgewrightError, KeyError, TypeError, ValueError):
        return None, ["WARNING: the document that it replaces cannot be read: everything is listed as new"]
    if not is_known:
        return None, ["WARNING: no key that you know signed what it replaces: everything is listed as new"]
    if before.version != version - 1:
        # An older list that the reader did sign would hide what was withdrawn since.
        said = f"WARNING: it claims to replace version {before.version}: everything is listed as new"
        return None, [said]
    return before, []


def _root_lines(new: Root, before: Root | None) -> list[str]:
    lines = []
    for role in sorted(new.roles):
        wanted = documents.keys_of(new, role)
        was = documents.keys_of(before, role) if before else None
        lines += _keys_lines(role, wanted, was)
    return lines


def _targets_lines(new: Targets, before: Targets | None) -> list[str]:
    lines = []
    old = before.targets if before else {}
    added = sorted(new.targets.keys() - old.keys())
    lines += [f"adds {_target_words(new, path)}" for path in added]
    lines += [f"withdraws {path}" for path in sorted(old.keys() - new.targets.keys())]
    changed = sorted(path for path in old.keys() & new.targets.keys() if old[path] != new.targets[path])
    lines += [f"CHANGES {_target_words(new, path)}" for path in changed]
    kept = len(old.keys() & new.targets.keys()) - len(changed)
    if kept:
        lines.append(f"keeps {kept} others as they are")
    floor, was_floor = (documents.field_of(doc).get("min_counter", 0) if doc else 0 for doc in (new, before))
    if floor != was_floor:
        lines.append(f"later releases forbid going back to a counter below {floor}")
    return lines + _delegation_lines(new, before)


def _delegation_lines(new: Targets, before: Targets | None) -> list[str]:
    lines = []
    wanted, was = release_keys(new), release_keys(before) if before else None
    if wanted is not None:
        lines += _keys_lines("models without keys of their own", wanted, was)
    known = documents.delegated(before) if before else ()
    for model in documents.delegated(new):
        old = documents.keys_of(before, model) if before and model in known else None
        lines += _keys_lines(f"model {model}", documents.keys_of(new, model), old)
    gone = sorted(set(known) - set(documents.delegated(new)))
    return lines + [f"takes the model {model} away" for model in gone]


def _keys_lines(role: str, wanted: RoleKeys, was: RoleKeys | None) -> list[str]:
    if wanted == was:
        return []
    rule = f"{wanted.threshold} of {len(wanted.keys)}"
    if was is None:
        ids = ", ".join(keyid[:16] for keyid in sorted(wanted.keys))
        return [f"{role}: new, {rule} keys: {ids}"]
    lines = [f"{role}: {was.threshold} of {len(was.keys)} keys become {rule}"]
    lines += [f"{role}: adds the key {keyid[:16]}" for keyid in sorted(wanted.keys.keys() - was.keys.keys())]
    lines += [f"{role}: drops the key {keyid[:16]}" for keyid in sorted(was.keys.keys() - wanted.keys.keys())]
    return lines


def _target_words(signed: Targets, path: str) -> str:
    entry = documents.entry_of(signed.targets[path])
    custom = entry.custom
    floor = f", no way back below counter {custom.min_counter}" if custom.min_counter else ""
    secret = ", confidential" if custom.confidential else ""
    return (
        f"{custom.model} v{custom.version} for {custom.target} "
        f"(manifest {entry.sha256[:16]}, release counter {custom.release_counter}{floor}{secret})"
    )
