"""May this device act on this assignment? Pure decisions over values whose signatures were verified.

Two moments. When a document arrives, ``verify_order`` compares it with what the device has accepted before.
When image metadata is fresh, ``verify_agreement`` demands that director and image repository name the same
release, made for this device and no older than what it has committed. A refusal is the exception that names
the attack; nothing here changes a state.

Plain TUF accepts four attacks that are refused here (research: security spike, section 1.2): an older role
shown to a device with an empty cache, withheld roots, a frozen repository under a slow clock, and an older
release that is still signed.
"""

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
)
from edgewright.wire.manifest import MAX_MANIFEST_BYTES, Manifest, target_path

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


class Seen(msgspec.Struct, frozen=True):
    """Newest versions of image metadata that this device has verified."""

    root: int = 0
    timestamp: int = 0


class Standing(msgspec.Struct, frozen=True):
    """What the device knows when it decides.

    Attributes:
        device, target: itself.
        version, sha256: of the newest assignment that it accepted.
        now: trusted time, seconds since the epoch.
        floors: release counter of the newest committed release, by model.
        seen: image metadata.
    """

    device: str
    target: str
    version: int
    sha256: str
    now: float
    floors: dict[str, int]
    seen: Seen


def verify_order(assignment: Assignment, standing: Standing) -> bool:
    """Whether the assignment is new; False for the accepted one again.

    Raises:
        ForeignAssignmentError: it is for another device.
        RollbackAttackError: a newer one was accepted before.
        EquivocationError: another document of the same version was accepted before.
        ExpiredMetadataError: it is past its expiry.
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
    return True


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
    if seen.root < floor.root or seen.timestamp < floor.timestamp:
        raise RollbackAttackError(
            f"The broker shows root {seen.root} and timestamp {seen.timestamp}; "
            f"this device has seen {floor.root} and {floor.timestamp}."
        )


def verify_agreement(assignment: Assignment, image: ImageTarget | None, standing: Standing) -> None:
    """Demand that both signers name the same release, meant for this device, and not an older one.

    Raises:
        DisagreementError: they differ, or the image repository does not have it.
        IncompatibleTargetError: it was made for another target.
        RollbackAttackError: it is older than what was committed and no rollback is ordered.
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
    floor = standing.floors.get(custom.model, 0)
    if custom.release_counter < floor and not assignment.orders.allow_rollback:
        raise RollbackAttackError(
            f"{ordered.path} has release counter {custom.release_counter}; {floor} was committed."
        )


def verify_manifest(manifest: Manifest, ordered: ImageTarget) -> None:
    """Demand that a manifest is the release that was signed.

    Raises:
        DisagreementError: it describes another one.
    """
    described = TargetCustom(manifest.model, manifest.target, manifest.version, manifest.release_counter)
    if described != ordered.custom:
        raise DisagreementError(f"The manifest at {ordered.path} describes another release.")


def verify_length(ordered: ImageTarget) -> None:
    """Demand that a manifest fits into the one chunk that it travels as.

    Raises:
        MalformedMessageError: it does not.
    """
    if not 0 < ordered.length <= MAX_MANIFEST_BYTES:
        raise MalformedMessageError(f"The manifest at {ordered.path} is said to have {ordered.length} bytes.")
