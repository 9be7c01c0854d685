"""What is asked of the tables of orders: who takes candidates, what is open, what a release has."""

from collections.abc import Sequence
from typing import Final

from edgewright.controller import registry
from edgewright.controller.database import Session, col, select
from edgewright.controller.database.tables import Artifact, Device
from edgewright.controller.database.versiontables import Qualification, QualificationOrder, WillingDevice
from edgewright.controller.errors import UnknownModelError, VersionNotReadyError
from edgewright.controller.qualification.states import OPEN
from edgewright.wire.manifest import Manifest

TAG: Final = ("qualify", "yes")
"""A device whose enrolment token gave it this tag is asked without being named. What it calls itself in its
hello does not count: one device could then join by itself, and measure for the whole fleet."""


def artifacts_of(session: Session, model: str, version: int, target: str) -> list[Artifact]:
    """The artifacts of a released version, for one target or, where that is empty, for all.

    Raises:
        UnknownModelError: there is no such version, or it has no artifact for the target.
        VersionNotReadyError: it is no release.
    """
    row = registry.find_version(session, model, version)
    if row.state != registry.READY:
        raise VersionNotReadyError(f"{model} v{version} is {row.state}.")
    mine = select(Artifact).where(Artifact.model == model, Artifact.version == version)
    found = [each for each in session.exec(mine).all() if target in ("", each.target)]
    if not found:
        raise UnknownModelError(f"{model} v{version} has no artifact for {target}.")
    return found


def willing_devices(session: Session, target: str, devices: Sequence[str]) -> list[str]:
    """Devices of a target that say that they take candidates: those named, or those whose token said so."""
    rows = session.exec(
        select(Device)
        .join(WillingDevice, col(WillingDevice.device) == col(Device.id))
        .where(col(Device.target) == target, col(Device.revoked_at) == 0)
        .order_by(col(Device.id))
    ).all()
    key, value = TAG
    return [row.id for row in rows if (row.id in devices if devices else row.bound_tags.get(key) == value)]


def same_orders(
    session: Session, devices: Sequence[str], of: Manifest, manifests: set[str], *, only_open: bool
) -> dict[str, int]:
    """The newest orders for exactly these candidates, by device."""
    mine = (
        select(QualificationOrder)
        .where(
            col(QualificationOrder.device).in_(list(devices)),
            QualificationOrder.model == of.model,
            QualificationOrder.version == of.version,
            QualificationOrder.target == of.target,
        )
        .order_by(col(QualificationOrder.id))
    )
    found: dict[str, int] = {}
    for order in session.exec(mine).all():
        counts = not only_open or open_rows(session, order)
        if counts and set(candidates_of(session, order)) == manifests:
            found[order.device] = order.id or 0
    return found


def open_rows(session: Session, order: QualificationOrder) -> list[Qualification]:
    """Candidates of an order that something is still to come of."""
    mine = (
        select(Qualification).where(col(Qualification.order_id) == order.id).order_by(col(Qualification.id))
    )
    return [row for row in session.exec(mine).all() if row.state in OPEN]


def candidates_of(session: Session, order: QualificationOrder) -> list[str]:
    """SHA-256 of the manifests of an order's candidates."""
    mine = select(Qualification.manifest_sha256).where(col(Qualification.order_id) == order.id)
    return list(session.exec(mine).all())


def released_among(session: Session, manifests: set[str]) -> set[str]:
    """Those manifests that are a release's: what keeps them on the broker is not an order."""
    found = select(Artifact.manifest_sha256).where(col(Artifact.manifest_sha256).in_(list(manifests)))
    return set(session.exec(found).all())
