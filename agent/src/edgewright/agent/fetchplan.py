"""What fetching a version costs and which way is the cheapest: a pure decision before a byte is asked for."""

from collections.abc import Callable, Collection
from typing import NamedTuple

from edgewright.wire.manifest import Blob, Patch


class Way(NamedTuple):
    """How a blob comes.

    Attributes:
        blob: what is to be had.
        patch: by which it is made; None where its own chunks are fetched, or nothing lacks.
        length: bytes from the network.
    """

    blob: Blob
    patch: Patch | None
    length: int


def cheapest_way(
    blob: Blob, patches: Collection[Patch], stored: Collection[str], lacking: Callable[[Blob], int]
) -> Way:
    """The way that takes the fewest bytes; of two that are equal, the blob itself.

    Args:
        blob: what is to be had.
        patches: that make it, those known to be of no use left out.
        stored: digests of complete files.
        lacking: bytes of a blob that are not in the store.

    >>> whole = Blob("f", 1000, ("f",))
    >>> patch = Patch("b", 900, Blob("p", 50, ("p",)))
    >>> cheapest_way(whole, [patch], {"b"}, lambda blob: blob.length).length
    50
    >>> cheapest_way(whole, [patch], {"b"}, lambda blob: 20 if blob is whole else 50).patch is None
    True
    """
    ways = [Way(blob, None, 0 if blob.sha256 in stored else lacking(blob))]
    if ways[0].length:
        ways += [Way(blob, patch, lacking(patch.blob)) for patch in patches if patch.base_sha256 in stored]
    return min(ways, key=lambda way: way.length)
