"""The pure decisions: each refusal for its own reason, and only for it."""

from typing import TypeVar

import msgspec
import pytest

from edgewright.agent.agreement import (
    Assignment,
    ImageTarget,
    Seen,
    Standing,
    verify_agreement,
    verify_fresh,
    verify_not_older,
    verify_order,
)
from edgewright.wire.assignment import Orders, TargetCustom
from edgewright.wire.errors import (
    DisagreementError,
    EquivocationError,
    ExpiredMetadataError,
    ForeignAssignmentError,
    IncompatibleTargetError,
    RollbackAttackError,
)

T = TypeVar("T", bound=msgspec.Struct)

IMAGE = ImageTarget("m/t/3.json", 900, "a" * 64, TargetCustom("m", "t", 3, 30))
ASSIGNMENT = Assignment(5, "d" * 64, 2000.0, IMAGE, Orders("robot-1", 900.0, 1, 1, 7))
STANDING = Standing("robot-1", "t", 4, "c" * 64, 1000.0, {"m": 20}, Seen(1, 7))


def changed(value: T, **fields: object) -> T:
    """A value with other fields."""
    return msgspec.structs.replace(value, **fields)


def test_new_assignment_is_accepted() -> None:
    """A newer document for this device is new, and both signers agree on it."""
    assert verify_order(ASSIGNMENT, STANDING) is True
    verify_agreement(ASSIGNMENT, IMAGE, STANDING)
    verify_fresh(ASSIGNMENT.orders, STANDING.seen)


def test_the_accepted_one_again_is_no_news() -> None:
    """The same document again changes nothing, even past its expiry."""
    assert verify_order(ASSIGNMENT, changed(STANDING, version=5, sha256="d" * 64, now=9e9)) is False


@pytest.mark.parametrize(
    ("assignment", "standing", "error"),
    [
        (ASSIGNMENT, changed(STANDING, device="robot-2"), ForeignAssignmentError),
        (ASSIGNMENT, changed(STANDING, version=6), RollbackAttackError),
        (ASSIGNMENT, changed(STANDING, version=5), EquivocationError),
        (ASSIGNMENT, changed(STANDING, now=2000.0), ExpiredMetadataError),
    ],
)
def test_documents_that_are_refused(
    assignment: Assignment, standing: Standing, error: type[Exception]
) -> None:
    """Each wrong document is refused by the class that names what is wrong."""
    with pytest.raises(error):
        verify_order(assignment, standing)


@pytest.mark.parametrize(
    ("image", "standing", "error"),
    [
        (None, STANDING, DisagreementError),
        (changed(IMAGE, length=901), STANDING, DisagreementError),
        (changed(IMAGE, sha256="b" * 64), STANDING, DisagreementError),
        (changed(IMAGE, custom=TargetCustom("m", "t", 3, 31)), STANDING, DisagreementError),
        (IMAGE, changed(STANDING, target="other"), IncompatibleTargetError),
        (IMAGE, changed(STANDING, floors={"m": 31}), RollbackAttackError),
    ],
)
def test_releases_that_are_refused(
    image: ImageTarget | None, standing: Standing, error: type[Exception]
) -> None:
    """A release that differs, does not fit or is older is refused by name."""
    with pytest.raises(error):
        verify_agreement(ASSIGNMENT, image, standing)


def test_a_path_that_describes_another_release_is_refused() -> None:
    """Both signers agreeing on a description that is not the path's is refused."""
    image = changed(IMAGE, path="m/t/4.json")
    with pytest.raises(DisagreementError):
        verify_agreement(changed(ASSIGNMENT, target=image), image, STANDING)


def test_an_ordered_rollback_may_be_older() -> None:
    """With the director's order, a release below the floor is accepted."""
    ordered = changed(ASSIGNMENT, orders=changed(ASSIGNMENT.orders, allow_rollback=True))
    verify_agreement(ordered, IMAGE, changed(STANDING, floors={"m": 31}))


def test_new_online_keys_count_anew() -> None:
    """A smaller timestamp under keys that a root has replaced is no rollback; under the same it is."""
    floor = Seen(1, 2**31, "old")
    verify_not_older(Seen(2, 5, "new"), floor)
    for seen in (Seen(2, 5, "old"), Seen(0, 2**31, "new")):
        with pytest.raises(RollbackAttackError):
            verify_not_older(seen, floor)


@pytest.mark.parametrize("seen", [Seen(0, 7), Seen(1, 6)])
def test_withheld_metadata_is_refused(seen: Seen) -> None:
    """A root or timestamp older than the director's, or than this device's memory, is refused."""
    with pytest.raises(RollbackAttackError):
        verify_fresh(ASSIGNMENT.orders, seen)
    with pytest.raises(RollbackAttackError):
        verify_not_older(seen, STANDING.seen)
