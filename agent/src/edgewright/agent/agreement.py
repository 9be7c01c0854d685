"""May this device act on this assignment? Pure decisions over values whose signatures were verified.

Two moments. When a document arrives, ``verify_order`` compares it with what the device has accepted before.
When image metadata is fresh, ``verify_agreement`` demands that director and image repository name the same
release, made for this device and no older than what it has committed. A refusal is the exception that names
the attack; nothing here changes a state.

Plain TUF accepts four attacks that are refused here (research: security spike, section 1.2): an older role
shown to a device with an empty cache, withheld roots, a frozen repository under a slow clock, and an older
release that is still signed.
"""

import math
from collections.abc import Collection
from typing import Final

import msgspec

from edgewright.wire.assignment import Orders, TargetCustom
from edgewright.wire.errors import (
    DisagreementError,
    EquivocationError,
    ExpiredMetadataError,
    ForeignAssignmentError,
    IncompatibleTargetError,
    MalformedMessageError,
    RollbackAttackError,
    TamperedMetadataError,
)
from edgewright.wire.manifest import MAX_MANIFEST_BYTES, Manifest, target_path

LONGEST_LIFE_SECONDS: Final = 30 * 86400
"""Of an assignment, from its issue to its expiry; the controller's last a week."""

UNKNOWN: Final = 0
"""Version of an assignment before the first."""


class ImageTarget(msgspec.Struct, frozen=True):
    """One signed target: where, how long, which bytes, which release."""

    path: str
    length: int
    sha256: str
    custom: TargetCustom


class Assignment(msgspec.Struct, frozen=True):
    """A document whose director signatures were verified.

    Attributes:
        version: of the document; it only grows.
        sha256: of its bytes.
        expires: seconds since the epoch.
        target: the release it names.
        orders: what it says beside.
    """

    version: int
    sha256: str
    expires: float
    target: ImageTarget
    orders: Orders


class DirectorTrust(msgspec.Struct, frozen=True):
    """What the newest trusted root of the director says.

    Attributes:
        version: of that root.
        expires: seconds since the epoch.
        ack_keys: raw Ed25519 keys of its ``timestamp`` role: who may acknowledge.
        order_keys: key ids of its ``targets`` role: who may sign assignments.
    """

    version: int = 0
    expires: float = 0.0
    ack_keys: tuple[bytes, ...] = ()
    order_keys: tuple[str, ...] = ()


class Seen(msgspec.Struct, frozen=True):
    """Newest versions of image metadata that this device has verified.

    Attributes:
        root, timestamp: versions.
        online_keys: digest of the key ids that the root names for snapshot and timestamp. A version is a
            floor only under the keys that signed it: who stole them can drive it to the limit (fast forward),
            and a root that replaces them has to be the way back.
    """

    root: int = 0
    timestamp: int = 0
    online_keys: str = ""


class Standing(msgspec.Struct, frozen=True):
    """What the device knows when it decides.

    Attributes:
        device, target: itself.
        version, sha256: of the newest assignment that it accepted; the version is ``UNKNOWN`` where every key
            that could have signed it has been replaced since.
        now: trusted time, seconds since the epoch.
        floors: release counter of the newest committed release, by model; an ordered rollback may go below.
        seen: image metadata.
        minimums: smallest release counter that the release keys allow, by model; nothing may go below.
        names: SHA-256 of the manifests that were agreed on before, by target path.
        director_expires: end of the director's root, seconds since the epoch.
    """

    device: str
    target: str
    version: int
    sha256: str
    now: float
    floors: dict[str, int]
    seen: Seen
    minimums: dict[str, int] = {}
    names: dict[str, str] = {}
    director_expires: float = math.inf


def verify_order(assignment: Assignment, standing: Standing) -> bool:
    """Whether the assignment is new; False for the accepted one again.

    Raises:
        ForeignAssignmentError: it is for another device.
        RollbackAttackError: a newer one was accepted before.
        EquivocationError: another document of the same version was accepted before.
        ExpiredMetadataError: it, or the root that vouches for it, is past its expiry.
        TamperedMetadataError: it was issued for longer than any assignment lasts, or after its own expiry.
    """
    if assignment.orders.device != standing.device:
        raise ForeignAssignmentError(
            f"Assignment {assignment.version} is for {assignment.orders.device[:64]!r}, not for this device."
        )
    if assignment.version < standing.version:
        raise RollbackAttackError(
            f"Assignment {assignment.version} came after {standing.version} was accepted."
        )
    if assignment.version == standing.version:
        if assignment.sha256 != standing.sha256:
            raise EquivocationError(f"Two different assignments carry the version {assignment.version}.")
        return False
    if assignment.expires <= standing.now:
        raise ExpiredMetadataError(f"Assignment {assignment.version} is past its expiry.")
    if standing.director_expires <= standing.now:
        raise ExpiredMetadataError("The director's root is past its expiry.")
    if not has_honest_life(assignment):
        raise TamperedMetadataError(
            f"Assignment {assignment.version} lasts {assignment.expires - assignment.orders.issued:.0f} s."
        )
    return True


def has_honest_life(assignment: Assignment) -> bool:
    """Whether issue and expiry are as far apart as the controller sets them; its issue sets clocks."""
    return 0 <= assignment.expires - assignment.orders.issued <= LONGEST_LIFE_SECONDS


def replaces_all(old: Collection[str], new: Collection[str]) -> bool:
    """Whether no key that could sign assignments before may sign them now.

    Only then may versions begin again: nothing that was signed before can be shown again.

    >>> replaces_all(["a", "b"], ["c"]), replaces_all(["a", "b"], ["b", "c"]), replaces_all([], ["a"])
    (True, False, False)
    """
    return bool(old) and not set(old) & set(new)


def verify_fresh(orders: Orders, seen: Seen) -> None:
    """Demand the image metadata that the director had seen when it signed.

    Raises:
        RollbackAttackError: the broker shows an older root or timestamp.
    """
    if seen.root < orders.min_root or seen.timestamp < orders.min_timestamp:
        raise RollbackAttackError(
            f"The broker shows root {seen.root} and timestamp {seen.timestamp}; "
            f"the assignment demands {orders.min_root} and {orders.min_timestamp}."
        )


def verify_not_older(seen: Seen, floor: Seen) -> None:
    """Hold the device's own memory of versions against what a repository shows.

    Raises:
        RollbackAttackError: it shows an older one, for example because the cache was emptied.
    """
    same_keys = floor.online_keys in ("", seen.online_keys)
    if seen.root < floor.root or (same_keys and seen.timestamp < floor.timestamp):
        raise RollbackAttackError(
            f"The broker shows root {seen.root} and timestamp {seen.timestamp}; "
            f"this device has seen {floor.root} and {floor.timestamp}."
        )


def verify_agreement(assignment: Assignment, image: ImageTarget | None, standing: Standing) -> None:
    """Demand that both signers name the same release, meant for this device, and not an older one.

    Raises:
        DisagreementError: they differ, the image repository does not have it, or the same path was agreed on
            with other bytes before: a model swapped under its name.
        IncompatibleTargetError: it was made for another target.
        RollbackAttackError: it is older than what was committed and no rollback is ordered, or older than
            the release keys allow.
    """
    ordered = assignment.target
    custom = ordered.custom
    if image is None:
        raise DisagreementError(f"The image repository does not have {ordered.path}.")
    if image != ordered:
        raise DisagreementError(f"Assignment and image repository differ about {ordered.path}.")
    if ordered.path != target_path(custom.model, custom.target, custom.version):
        raise DisagreementError(f"{ordered.path} is described as another release.")
    if custom.target != standing.target:
        raise IncompatibleTargetError(
            f"{ordered.path} is made for {custom.target}, this device is {standing.target}."
        )
    known = standing.names.get(ordered.path, ordered.sha256)
    if known != ordered.sha256:
        raise DisagreementError(f"{ordered.path} was another release when this device first took it.")
    _verify_counter(assignment, standing)


def _verify_counter(assignment: Assignment, standing: Standing) -> None:
    path, custom = assignment.target.path, assignment.target.custom
    counter, committed = custom.release_counter, standing.floors.get(custom.model, 0)
    minimum = max(standing.minimums.get(custom.model, 0), custom.min_counter)
    if counter < minimum:
        raise RollbackAttackError(
            f"{path} has release counter {counter}; the release keys allow none below {minimum}."
        )
    if counter < committed and not assignment.orders.allow_rollback:
        raise RollbackAttackError(f"{path} has release counter {counter}; {committed} was committed.")


def verify_manifest(manifest: Manifest, ordered: ImageTarget) -> None:
    """Demand that a manifest is the release that was signed.

    Raises:
        DisagreementError: it describes another one.
    """
    custom = ordered.custom
    described = (manifest.model, manifest.target, manifest.version, manifest.release_counter)
    if described != (custom.model, custom.target, custom.version, custom.release_counter):
        raise DisagreementError(f"The manifest at {ordered.path} describes another release.")
    if (manifest.encryption is not None) != custom.confidential:
        raise DisagreementError(f"Manifest and signed metadata of {ordered.path} differ about encryption.")


def verify_length(ordered: ImageTarget) -> None:
    """Demand that a manifest fits into the one chunk that it travels as.

    Raises:
        MalformedMessageError: it does not.
    """
    if not 0 < ordered.length <= MAX_MANIFEST_BYTES:
        raise MalformedMessageError(f"The manifest at {ordered.path} is said to have {ordered.length} bytes.")
