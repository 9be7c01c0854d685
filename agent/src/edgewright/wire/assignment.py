"""The assignment: one signed document a device, in TUF Targets format.

The director's key signs ``Targets{version, expires, targets}``; what TUF does not know stands in the field
``x-edgewright``, whose shape is here. The target entry's ``custom`` is ``TargetCustom``, in the assignment
and in the image repository alike, and both have to be equal.
"""

from typing import Annotated, Any, Final, TypeVar

import msgspec

from edgewright.wire.errors import MalformedMessageError

FIELD: Final = "x-edgewright"
"""Name of our field among the Targets document's unrecognised fields."""

MAX_ASSIGNMENT_BYTES: Final = 64 * 1024

MAX_NUMBER: Final = 2**53
"""No version, counter, length or time is larger: JSON readers and SQLite agree about whole numbers up to it,
and who has a key must not stop its readers with one that some of them cannot hold."""

Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_NUMBER)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=MAX_NUMBER)]

_T = TypeVar("_T")


class TargetCustom(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Custom part of a TUF target: which release a manifest is.

    Attributes:
        min_counter: smallest release counter of the model that a device may still be sent back to once it has
            seen this; signed by the release keys, so that the director alone cannot order an older one.
        confidential: whether the blobs are encrypted; see ``Orders.content_key``.
    """

    model: str
    target: str
    version: Count
    release_counter: Count
    min_counter: Count = 0
    confidential: bool = False


class Orders(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the assignment says beside its one target.

    Attributes:
        device: the only device that may act on it.
        issued: seconds since the epoch, by the controller's clock.
        rollout: number of the rollout that caused it, 0 for none.
        min_root, min_timestamp: the device must have seen at least these image-repository versions.
        allow_rollback: the release may be older than what the device committed.
        nonce: of the device's hello that asked for signed time, empty where none did; then ``issued`` is the
            controller's clock after the device asked.
        min_director_root: the device must trust at least this version of the director's root.
        content_key: hexadecimal; the content key of a confidential release, wrapped for this device's key.
        stop: the device shall run no version of the named release's model any more. Nothing is installed, so
            the image repository is not asked; a release that was withdrawn can be stopped too.
    """

    device: str
    issued: Seconds
    rollout: Count
    min_root: Count
    min_timestamp: Count
    allow_rollback: bool = False
    nonce: str = ""
    min_director_root: Count = 0
    content_key: str = ""
    stop: bool = False


def read_custom(value: Any) -> TargetCustom:
    """Read a target's custom part.

    Raises:
        MalformedMessageError: it has another shape.
    """
    return _convert(value, TargetCustom)


def read_orders(value: Any) -> Orders:
    """Read the field ``x-edgewright``.

    Raises:
        MalformedMessageError: it has another shape.
    """
    return _convert(value, Orders)


def _convert(value: Any, shape: type[_T]) -> _T:
    try:
        read: _T = msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise MalformedMessageError(f"{shape.__name__} cannot be read: {error}.") from error
    return read
