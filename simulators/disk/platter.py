"""A disk that forgets: what of some operations a power cut could leave.

The rules are those of POSIX, which promises little, and not of one file system, which keeps more:

- What was written to a file is durable when the file was synchronised afterwards. Before, each write may be
  there, not there, or there in part; the file may have its new length and zeros in place of its bytes.
- A name (created, renamed, removed, linked) is durable when its folder was synchronised afterwards. Before,
  some names may have changed and others not, in any order, but for changes of one name among each other.
- A file that was synchronised under a name that is lost is lost, and so is all that lies in a lost folder.
"""

import copy
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal, NamedTuple

from simulators.disk.recording import Kind, Operation

SECTOR_BYTES: Final = 512

Names = Literal["none", "all", "first", "some"]
Data = Literal["none", "all", "torn", "zeroed", "some"]

STYLES: Final[dict[str, tuple[Names, Data]]] = {
    "fsync not reached": ("none", "none"),
    "write torn": ("all", "torn"),
    "tail zeroed": ("all", "zeroed"),
    "name before data": ("all", "none"),
    "rename lost": ("none", "all"),
    "names in order": ("first", "some"),
    "any order": ("some", "some"),
}
"""Ways of a power cut: what becomes of names and of data that were not synchronised."""


class Link(NamedTuple):
    """A symbolic link."""

    target: str


class Folder(NamedTuple):
    """A folder; what lies in it stands under longer paths."""


class File:
    """Content that is durable, and what was done to it since."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = bytearray(content)
        self.pending: list[Operation] = []

    def sync(self) -> None:
        """Make everything durable."""
        for found in self.pending:
            _change(self.content, found, found.data)
        self.pending.clear()

    def left(self, data: Data, draw: random.Random) -> bytes:
        """The content that a power cut leaves."""
        if data == "none" or not self.pending:
            return bytes(self.content)
        if data == "all":
            return self._with((found, found.data) for found in self.pending)
        if data == "zeroed":
            longest = self._with((found, bytes(len(found.data))) for found in self.pending)
            return bytes(self.content) + longest[len(self.content) :]
        if data == "torn":
            last = draw.randrange(len(self.pending))
            kept = [(found, found.data) for found in self.pending[:last]]
            return self._with([*kept, (self.pending[last], _torn(self.pending[last].data, draw))])
        return self._in_pieces(draw)

    def _in_pieces(self, draw: random.Random) -> bytes:
        """Each write may be there, or not, or only some of its sectors."""
        content = bytearray(self.content)
        for found in self.pending:
            fate = draw.randrange(4)
            if fate == 0 and found.kind is Kind.WRITE:
                for start in range(0, len(found.data), SECTOR_BYTES):
                    if draw.random() < 0.5:
                        _change(content, found, found.data[start : start + SECTOR_BYTES], start)
            elif fate > 1:
                _change(content, found, found.data)
        return bytes(content)

    def _with(self, changes: Iterable[tuple[Operation, bytes]]) -> bytes:
        content = bytearray(self.content)
        for found, data in changes:
            _change(content, found, data)
        return bytes(content)


Node = File | Link | Folder
Change = tuple[Operation, dict[str, Node | None]]
Left = dict[str, bytes | Link | Folder]


class Platter:
    """One folder on a disk, through which recorded operations pass.

    Args:
        folder: what it holds at the beginning, all of it durable.
    """

    def __init__(self, folder: Path) -> None:
        self._now: dict[str, Node] = {}
        self._inodes: dict[int, File] = {}
        for path in sorted(folder.rglob("*")):
            self._now[str(path.relative_to(folder))] = self._found(path)
        self._durable = dict(self._now)
        self._changes: list[Change] = []

    def copy(self) -> "Platter":
        """Another one, on which other operations happen."""
        return copy.deepcopy(self)

    def after_kill(self) -> Left:
        """Everything, by path: a process that was killed takes nothing along, its pages are the kernel's."""
        return {
            path: node.left("all", random.Random()) if isinstance(node, File) else node
            for path, node in sorted(self._now.items())
        }

    def laid_out_in(self, folder: Path) -> None:
        """Know the files that stand for this disk from now on; what was not durable is not."""
        self._inodes = {
            (folder / path).stat().st_ino: node for path, node in self._now.items() if isinstance(node, File)
        }

    def _found(self, path: Path) -> Node:
        if path.is_symlink():
            return Link(str(path.readlink()))
        if path.is_dir():
            return Folder()
        return self._inodes.setdefault(path.stat().st_ino, File(path.read_bytes()))

    def take(self, found: Operation) -> None:
        """Let an operation happen."""
        match found.kind:
            case Kind.CREATE:
                file = self._inodes[found.inode] = File()
                self._change(found, {found.path: file})
            case Kind.WRITE | Kind.TRUNCATE:
                self._inodes[found.inode].pending.append(found)
            case Kind.SYNC:
                self._inodes[found.inode].sync()
            case Kind.SYNC_FOLDER:
                self._sync_folder(found.path)
            case Kind.RENAME:
                self._change(found, {found.path: None, found.second: self._now[found.path]})
            case Kind.LINK:
                self._change(found, {found.second: self._now[found.path]})
            case Kind.UNLINK | Kind.RMDIR:
                self._change(found, {found.path: None})
            case Kind.MKDIR:
                self._change(found, {found.path: Folder()})
            case Kind.SYMLINK:
                self._change(found, {found.path: Link(found.second)})
            case Kind.MARK | Kind.UNSEEN:
                pass

    def _change(self, found: Operation, names: dict[str, Node | None]) -> None:
        _rename(self._now, names)
        self._changes.append((found, names))

    def _sync_folder(self, folder: str) -> None:
        """Names in a folder are durable; of a rename between two folders the new name's counts."""
        waiting: list[Change] = []
        for found, names in self._changes:
            named_anew = found.kind in (Kind.RENAME, Kind.LINK)
            if _parent(found.second if named_anew else found.path) == folder:
                _rename(self._durable, names)
            else:
                waiting.append((found, names))
        self._changes = waiting

    def left(self, style: str, draw: random.Random) -> Left:
        """What a power cut of a style leaves, by path; folders before what lies in them."""
        names, data = STYLES[style]
        tree = dict(self._durable)
        kept = self._kept(names, draw)
        for changed in kept:
            _rename(tree, changed)
        files: dict[int, bytes] = {}
        left: Left = {}
        for path, node in sorted(tree.items()):
            parent = _parent(path)
            if parent and not isinstance(left.get(parent), Folder):
                continue
            if isinstance(node, File):
                left[path] = files.setdefault(id(node), node.left(data, draw))
            else:
                left[path] = node
        return left

    def _kept(self, names: Names, draw: random.Random) -> list[dict[str, Node | None]]:
        if names == "none":
            return []
        if names == "all":
            return [changed for _, changed in self._changes]
        if names == "first":
            return [changed for _, changed in self._changes[: draw.randrange(len(self._changes) + 1)]]
        lost: set[str] = set()
        kept = []
        for _, changed in self._changes:
            if lost.isdisjoint(changed) and draw.random() < 0.5:
                kept.append(changed)
            else:
                lost |= changed.keys()
        return kept


def lay_out(left: Left, folder: Path) -> None:
    """Make a folder of what a power cut left."""
    folder.mkdir(parents=True)
    for path, node in left.items():
        place = folder / path
        if isinstance(node, Link):
            place.symlink_to(node.target)
        elif isinstance(node, Folder):
            place.mkdir()
        else:
            place.write_bytes(node)


def _rename(tree: dict[str, Node], names: dict[str, Node | None]) -> None:
    for path, node in names.items():
        if node is None:
            tree.pop(path, None)
        else:
            tree[path] = node


def _change(content: bytearray, found: Operation, data: bytes, start: int = 0) -> None:
    """Do to bytes what was done to the file; a hole is zeros."""
    length = found.number if found.kind is Kind.TRUNCATE else 0
    if found.kind is Kind.TRUNCATE:
        del content[length:]
    end = found.number + start + len(data)
    content.extend(bytes(max(0, end - len(content))))
    if found.kind is Kind.WRITE:
        content[found.number + start : end] = data


def _torn(data: bytes, draw: random.Random) -> bytes:
    """The beginning of a write, to the border of a sector or not."""
    cut = draw.randrange(len(data) + 1)
    return data[: cut - cut % SECTOR_BYTES if draw.random() < 0.5 else cut]


def _parent(path: str) -> str:
    return path.rpartition("/")[0]
