"""A model's versions as a tree of who was made from whom, for its page.

Versions that follow each other without a fork stand in one line, however many there are, so a model that was
rebuilt a hundred times is a line of a hundred and not a hundred steps to the right.
"""

from collections.abc import Mapping, Sequence

import msgspec

from edgewright.controller.database.tables import ModelVersion
from edgewright.controller.web.words import Word, version_word


class Leaf(msgspec.Struct, frozen=True):
    """One version in the tree."""

    version: int
    word: Word
    how: str
    aliases: tuple[str, ...]


class Branch(msgspec.Struct, frozen=True):
    """Versions in a line, the oldest first, and the branches in which the last of them goes on."""

    line: tuple[Leaf, ...]
    branches: tuple["Branch", ...] = ()


def tree_of(versions: Sequence[ModelVersion], names: Mapping[int, tuple[str, ...]]) -> tuple[Branch, ...]:
    """The branches that begin with a version that was pushed, the newest first.

    Args:
        versions: of one model.
        names: aliases by version.
    """
    known = {row.version for row in versions}
    children: dict[int, list[ModelVersion]] = {}
    for row in sorted(versions, key=lambda row: -row.version):
        # A parent is older than its child; whatever says otherwise stands at the root.
        parent = row.parent if row.parent in known and row.parent < row.version else 0
        children.setdefault(parent, []).append(row)
    return tuple(_branch(root, children, names) for root in children.get(0, ()))


def _branch(
    row: ModelVersion, children: Mapping[int, Sequence[ModelVersion]], names: Mapping[int, tuple[str, ...]]
) -> Branch:
    line = [_leaf(row, names)]
    following = children.get(row.version, ())
    while len(following) == 1:
        line.append(_leaf(following[0], names))
        following = children.get(following[0].version, ())
    return Branch(tuple(line), tuple(_branch(child, children, names) for child in following))


def _leaf(row: ModelVersion, names: Mapping[int, tuple[str, ...]]) -> Leaf:
    how = "rebuilt" if row.parent else "imported" if row.lineage.get("imported_from") else "pushed"
    return Leaf(row.version, version_word(row.state), how, names.get(row.version, ()))
