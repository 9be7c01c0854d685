"""May this device measure these candidates? Pure decisions over a document whose signatures were verified.

An order is held to what an assignment is held to, but for the image repository, which has not signed
candidates: it names this device, its number grows, it is not past its expiry and does not last longer than
any honest one. Beyond that every candidate is made for this device's target, and none is confidential: a
content key travels with an assignment only.
"""

import msgspec

from edgewright.agent.agreement import DirectorTrust, ImageTarget, Standing, verify_length
from edgewright.wire.errors import (
    ConfidentialKeyError,
    DisagreementError,
    EquivocationError,
    ExpiredMetadataError,
    ForeignAssignmentError,
    IncompatibleTargetError,
    RollbackAttackError,
    TamperedMetadataError,
)
from edgewright.wire.qualification import LONGEST_LIFE_SECONDS, QualificationOrders, candidate_folder


class QualificationOrder(msgspec.Struct, frozen=True):
    """A document whose director signatures were verified.

    Attributes:
        version: its number; it only grows.
        sha256: of its bytes.
        expires: seconds since the epoch.
        candidates: manifests to be measured, in their order.
        orders: what it says beside.
    """

    version: int
    sha256: str
    expires: float
    candidates: tuple[ImageTarget, ...]
    orders: QualificationOrders


class InspectedOrder(msgspec.Struct, frozen=True):
    """A verified order, and the director's root that vouched for it."""

    order: QualificationOrder
    trust: DirectorTrust


class Accepted(msgspec.Struct, frozen=True):
    """The newest order that this device has accepted; number 0 before the first."""

    version: int = 0
    sha256: str = ""


def verify_qualification(order: QualificationOrder, standing: Standing, accepted: Accepted) -> bool:
    """Whether the order is new; False for the accepted one again.

    Raises:
        ForeignAssignmentError: it is for another device.
        RollbackAttackError: a newer one was accepted before.
        EquivocationError: another document of the same number was accepted before.
        ExpiredMetadataError: it, or the root that vouches for it, is past its expiry.
        TamperedMetadataError: it was issued for longer than any order lasts, or after its own expiry.
        IncompatibleTargetError: a candidate is made for another target.
        ConfidentialKeyError: a candidate is confidential.
        DisagreementError: a candidate's path names another one.
        MalformedMessageError: a manifest does not fit into the one chunk that it travels as.
    """
    what = f"Qualification order {order.version}"
    if order.orders.device != standing.device:
        raise ForeignAssignmentError(f"{what} is for {order.orders.device[:64]!r}, not for this device.")
    if order.version < accepted.version:
        raise RollbackAttackError(f"{what} came after {accepted.version} was accepted.")
    if order.version == accepted.version:
        if order.sha256 != accepted.sha256:
            raise EquivocationError(f"Two different qualification orders carry the number {order.version}.")
        return False
    if order.expires <= standing.now:
        raise ExpiredMetadataError(f"{what} is past its expiry.")
    if standing.director_expires <= standing.now:
        raise ExpiredMetadataError("The director's root is past its expiry.")
    if not 0 <= order.expires - order.orders.issued <= LONGEST_LIFE_SECONDS:
        raise TamperedMetadataError(f"{what} lasts {order.expires - order.orders.issued:.0f} s.")
    for candidate in order.candidates:
        _verify_candidate(candidate, standing)
    return True


def _verify_candidate(candidate: ImageTarget, standing: Standing) -> None:
    verify_length(candidate)
    custom = candidate.custom
    if not candidate.path.startswith(candidate_folder(custom.model, custom.target, custom.version)):
        raise DisagreementError(f"{candidate.path} is described as another candidate.")
    if candidate.custom.target != standing.target:
        raise IncompatibleTargetError(
            f"{candidate.path} is made for {candidate.custom.target}, this device is {standing.target}."
        )
    if candidate.custom.confidential:
        raise ConfidentialKeyError(f"{candidate.path} is confidential, and an order brings no key for it.")
