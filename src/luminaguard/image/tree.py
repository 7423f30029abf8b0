"""The guest's root directory while it is put together: names here, contents in a staging area.

Nothing needs root: all is root's in the guest, modes are only recorded, and the staging area
belongs to whoever builds.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from luminaguard.errors import ImageError

_MERGED = frozenset({"bin", "sbin", "lib", "lib32", "lib64", "libo32", "libx32"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What one name is; a file's bytes lie in the staging area."""

    mode: int
    """File type and permission bits, as in `st_mode`; only directories, files and symlinks."""
    target: str = ""
    """Where a symlink points."""


def merged(path: str) -> str:
    """Map a path of a package onto a root where `/bin`, `/sbin` and `/lib*` live below `/usr`."""
    return f"usr/{path}" if path.split("/", 1)[0] in _MERGED else path


class Tree:
    """A root directory. Paths are relative to it, normalized, and go through no symlink."""

    def __init__(self, staging: Path) -> None:
        """`staging` is an empty directory that receives the contents of files."""
        self.staging = staging
        self._nodes: dict[str, Node] = {"": Node(mode=stat.S_IFDIR | 0o755)}
        for name in ("bin", "sbin", "lib", "lib64"):
            self.directory(f"usr/{name}")
            self.symlink(name, f"usr/{name}")

    def __iter__(self) -> Iterator[tuple[str, Node]]:
        """Every name below the root with its node, parents before children, in a fixed order."""
        return iter(sorted((path, node) for path, node in self._nodes.items() if path))

    def __contains__(self, path: str) -> bool:
        """Whether the tree has this name."""
        return path in self._nodes

    def __len__(self) -> int:
        """How many names there are, the root included."""
        return len(self._nodes)

    def is_directory(self, path: str) -> bool:
        """Whether the tree has a directory of this name."""
        node = self._nodes.get(path)
        return node is not None and stat.S_ISDIR(node.mode)

    def files(self, pattern: str) -> list[str]:
        """Return the regular files whose path matches a shell pattern, sorted."""
        return [
            path for path, node in self if stat.S_ISREG(node.mode) and fnmatchcase(path, pattern)
        ]

    def content(self, path: str) -> Path:
        """Return where the bytes of a regular file lie."""
        return self.staging / path

    def directory(self, path: str, *, mode: int = 0o755) -> None:
        """Add a directory and its parents, or change the mode of the one that is there."""
        self._parents(path)
        present = self._nodes.get(path)
        if present is not None and stat.S_ISLNK(present.mode):
            return  # as dpkg does: a directory never replaces a link to one
        (self.staging / path).mkdir(exist_ok=True)
        self._nodes[path] = Node(mode=stat.S_IFDIR | mode)

    def symlink(self, path: str, target: str) -> None:
        """Add a symbolic link; a directory that is there stays."""
        self._parents(path)
        present = self._nodes.get(path)
        if present is not None and stat.S_ISDIR(present.mode):
            return
        self._clear(path)
        self._nodes[path] = Node(mode=stat.S_IFLNK | 0o777, target=target)

    def file(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        """Add a regular file with these bytes."""
        self.place(path, mode).write_bytes(content)

    def place(self, path: str, mode: int) -> Path:
        """Add a regular file and return where its bytes are to be written; nothing is there yet.

        Raises:
            ImageError: a directory is there, or the path goes through something else.
        """
        self._parents(path)
        present = self._nodes.get(path)
        if present is not None and stat.S_ISDIR(present.mode):
            raise ImageError(f"the file {path!r} would replace a directory")
        self._clear(path)
        self._nodes[path] = Node(mode=stat.S_IFREG | mode)
        return self.staging / path

    def hard_link(self, path: str, twin: str) -> None:
        """Give a regular file a second name.

        Raises:
            ImageError: `twin` is no regular file of the tree.
        """
        node = self._nodes.get(twin)
        if node is None or not stat.S_ISREG(node.mode):
            raise ImageError(f"{path!r} is linked to {twin!r}, which is no file of the image")
        if path != twin:
            os.link(self.staging / twin, self.place(path, stat.S_IMODE(node.mode)))

    def adopt(self, path: str) -> None:
        """Take in a file that was written into the staging area directly."""
        self.directory(os.path.dirname(path))
        self._nodes[path] = Node(mode=stat.S_IFREG | 0o644)

    def _clear(self, path: str) -> None:
        present = self._nodes.get(path)
        if present is not None and stat.S_ISREG(present.mode):
            (self.staging / path).unlink()  # never written over: it may be one of several links

    def _parents(self, path: str) -> None:
        for parent in reversed(PurePosixPath(path).parents):
            name = "" if parent == PurePosixPath() else str(parent)
            node = self._nodes.get(name)
            if node is None:
                (self.staging / name).mkdir()
                self._nodes[name] = Node(mode=stat.S_IFDIR | 0o755)
            elif not stat.S_ISDIR(node.mode):
                raise ImageError(f"{path!r} lies below {name!r}, which is no directory")
