"""Small trees as values: write one, read one, and the changeset that leads from one to another."""

import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from luminaguard.domain.changeset import Change, ChangeKind, Changeset, Entry, EntryType
from luminaguard.workspace.manifest import Identity
from luminaguard.workspace.spool import Spool


@dataclass(frozen=True, slots=True)
class Node:
    """One entry of a tree; make it by `file`, `directory` or `link`."""

    type: EntryType
    mode: int
    content: bytes = b""
    target: str | None = None

    def entry(self) -> Entry:
        """Return the domain value."""
        is_file = self.type is EntryType.FILE
        return Entry(
            type=self.type,
            mode=self.mode,
            size=len(self.content),
            sha256=sha256(self.content).hexdigest() if is_file else None,
            target=self.target,
        )


TreeValue = Mapping[str, Node]
"""Path relative to the root → what is there; parents are listed too."""


def file(content: bytes | str, mode: int = 0o644) -> Node:
    """Return a regular file."""
    raw = content.encode() if isinstance(content, str) else content
    return Node(EntryType.FILE, mode, raw)


def directory(mode: int = 0o755) -> Node:
    """Return a directory."""
    return Node(EntryType.DIRECTORY, mode)


def link(target: str) -> Node:
    """Return a symbolic link."""
    return Node(EntryType.SYMLINK, 0o777, target=target)


def write_tree(root: Path, tree: TreeValue) -> None:
    """Make a tree below an existing, empty directory."""
    for path, node in sorted(tree.items()):
        place = root / path
        if node.type is EntryType.DIRECTORY:
            place.mkdir()
        elif node.type is EntryType.SYMLINK:
            place.symlink_to(node.target or "")
        else:
            place.write_bytes(node.content)
    for path, node in sorted(tree.items(), reverse=True):
        if node.type is not EntryType.SYMLINK:
            (root / path).chmod(node.mode)


def read_tree(root: Path) -> dict[str, Node]:
    """Return everything below a directory."""
    found: dict[str, Node] = {}
    for top, directories, files in os.walk(root):
        for name in (*directories, *files):
            place = Path(top, name)
            found[str(place.relative_to(root))] = _read(place)
    return found


def remove_tree(root: Path) -> None:
    """Delete a directory and everything in it, directories closed to their owner included."""
    root.chmod(0o700)
    for top, directories, _ in os.walk(root):
        for place in (Path(top, name) for name in directories):
            if not place.is_symlink():
                place.chmod(0o700)
    shutil.rmtree(root)


def identities(root: Path) -> dict[str, Identity]:
    """Return path → identity of everything below a directory: a base, as it is now."""
    return {path: Identity.of((root / path).lstat()) for path in read_tree(root)}


def changeset_between(before: TreeValue, after: TreeValue, spool: Spool) -> Changeset:
    """Return what leads from one tree to the other, its new content in the spool."""
    changes: list[Change] = []
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old == new:
            continue
        if new is not None and new.type is EntryType.FILE:
            spool.add(new.content)
        changes.append(
            Change(
                path=path,
                kind=_kind(old, new),
                before=old.entry() if old else None,
                after=new.entry() if new else None,
            )
        )
    return Changeset(base="test", changes=tuple(changes))


def _kind(old: Node | None, new: Node | None) -> ChangeKind:
    if new is None:
        is_directory = old is not None and old.type is EntryType.DIRECTORY
        return ChangeKind.RMDIR if is_directory else ChangeKind.DELETE
    if old is not None and old.type is not new.type:
        return ChangeKind.RETYPE
    if new.type is EntryType.SYMLINK:
        return ChangeKind.SYMLINK
    if old is None:
        is_directory = new.type is EntryType.DIRECTORY
        return ChangeKind.MKDIR if is_directory else ChangeKind.CREATE
    return ChangeKind.CHMOD if old.content == new.content else ChangeKind.MODIFY


def _read(place: Path) -> Node:
    status = place.lstat()
    if stat.S_ISLNK(status.st_mode):
        return link(str(place.readlink()))
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISDIR(status.st_mode):
        return directory(mode)
    return file(place.read_bytes(), mode)
