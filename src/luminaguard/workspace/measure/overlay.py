"""What a guest sees: an upper layer merged over the image, as the kernel merges them.

Purely a calculation over claims and the manifest; no file is touched. Its two questions are what a
path looks like in the merged tree, and which paths can look different from the base at all: the
cost follows the number of changes, not the size of the tree.
Source: the kernel's Documentation/filesystems/overlayfs.rst (whiteouts and opaque directories,
redirect_dir) and fs/overlayfs/namei.c for the order in which the attributes count.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from luminaguard.domain.changeset import EntryType
from luminaguard.errors import HostileStream, WorkspaceTooLarge
from luminaguard.workspace.base import Base
from luminaguard.workspace.manifest import ManifestEntry
from luminaguard.workspace.measure.upper import UpperNode, UpperType


@dataclass(frozen=True, slots=True)
class FromImage:
    """A path shows the image's entry of `source`, which is the path itself unless it was moved."""

    source: str
    entry: ManifestEntry


Sight = UpperNode | FromImage | None
"""What a path shows. Of upper nodes only files, directories and links are ever shown, and a
special file as itself, so that nobody takes it for a deletion."""


class MergedTree:
    """An upper layer over a base's image."""

    def __init__(self, root: UpperNode, base: Base, *, max_entries: int) -> None:
        """Resolve where each upper directory gets its lower contents from.

        Raises:
            HostileStream: a redirect points to something that was never sent.
        """
        self._root = root
        self._base = base
        self._max_entries = max_entries
        self._lower: dict[str, str | None] = {"": ""}
        self._resolve(root)

    def look(self, path: str) -> Sight:
        """Return what the guest sees at a path."""
        node = self._root
        rest = path.split("/")
        for depth, name in enumerate(rest):
            child = node.children.get(name)
            if child is None:
                return self._from_image(node, "/".join(rest[depth:]))
            node = child
            if node.type is not UpperType.DIRECTORY and depth < len(rest) - 1:
                return None
        return None if node.type is UpperType.WHITEOUT else node

    def candidates(self) -> set[str]:
        """Return every path that may look different from the base.

        Raises:
            WorkspaceTooLarge: moved directories multiply the tree beyond the limit.
        """
        found = set(self._base.settled)
        for node in _nodes_below(self._root):
            found.add(node.path)
            if self._lower.get(node.path) != node.path and self._was_directory(node.path):
                # Cut off from its place in the image: all that the base has here may be gone.
                found.update(subtree(self._base.tree, node.path))
            if node.type is UpperType.DIRECTORY:
                found.update(self._moved_here(node))
            if len(found) > self._max_entries:
                raise WorkspaceTooLarge(
                    f"the guest changed more than {self._max_entries:,} entries",
                    hint="raise workspace.max_changeset_entries in the configuration",
                )
        return found

    def _resolve(self, node: UpperNode) -> None:
        for directory in _nodes_below(node):
            if directory.type is UpperType.DIRECTORY:
                self._lower[directory.path] = self._lower_of(directory)

    def _lower_of(self, node: UpperNode) -> str | None:
        """Return the image path whose contents show through an upper directory."""
        parent, _, name = node.path.rpartition("/")
        above = self._lower[parent]
        if node.opaque:
            return None
        if node.redirect is None:
            source = None if above is None else _join(above, name)
            return source if self._is_directory(source) else None
        if node.redirect.startswith("/"):
            source = node.redirect[1:]
        else:
            source = None if above is None else _join(above, node.redirect)
        if not self._is_directory(source):
            raise HostileStream(
                f"{node.path!a}: moved from {node.redirect!a}, where no directory was sent"
            )
        return source

    def _is_directory(self, path: str | None) -> bool:
        entry = self._base.image.entries.get(path) if path is not None else None
        return entry is not None and entry.type is EntryType.DIRECTORY

    def _was_directory(self, path: str) -> bool:
        held = self._base.get(path)
        return held is not None and held.type is EntryType.DIRECTORY

    def _from_image(self, directory: UpperNode, rest: str) -> FromImage | None:
        lower = self._lower.get(directory.path)
        if lower is None:
            return None
        source = _join(lower, rest)
        entry = self._base.imaged(source)
        return FromImage(source, entry) if entry is not None else None

    def _moved_here(self, node: UpperNode) -> Iterator[str]:
        """Yield the paths that show the image's entries of another place."""
        lower = self._lower[node.path]
        if lower is None or lower == node.path:
            return
        for name in self._base.image_tree.get(lower, ()):
            if name in node.children:
                continue
            yield _join(node.path, name)
            for source in subtree(self._base.image_tree, _join(lower, name)):
                yield node.path + source[len(lower) :]


def subtree(tree: dict[str, frozenset[str]], path: str) -> Iterator[str]:
    """Yield every path below one, as a tree index lists them."""
    for name in tree.get(path, ()):
        child = _join(path, name)
        yield child
        yield from subtree(tree, child)


def _nodes_below(node: UpperNode) -> Iterator[UpperNode]:
    """Yield all nodes of an upper layer except its root, parents first."""
    for child in node.children.values():
        yield child
        yield from _nodes_below(child)


def _join(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name
