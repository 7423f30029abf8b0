"""Turn a manifest into a disk image, each file proved to be the one that was listed.

A file counts as read when its identity right after the read is the one it had when the tree was
walked. One that moved meanwhile is read again; one that keeps moving ends the attempt. What is
judged by content (secrets, credentials in git's configuration) is judged on the bytes that go in.
"""

import os
import stat
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from luminaguard.domain.changeset import EntryType
from luminaguard.errors import WorkspaceError
from luminaguard.workspace.confined import Descent, read_all
from luminaguard.workspace.manifest import Identity, Manifest, ManifestEntry
from luminaguard.workspace.root import WorkspaceRoot
from luminaguard.workspace.send.cleanfiles import CleanFiles
from luminaguard.workspace.send.erofs import ErofsWriter, Node
from luminaguard.workspace.send.ignore import IgnoreRules
from luminaguard.workspace.send.secrets import is_git_config, redact_git_config, secret_in

RACY_NS = 2 * 10**9
"""A file that changed this recently may change again without its time stamps moving.

Source: FAT keeps 2 s, and kernels stamp with the timer tick; git calls such entries racy.
"""
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceImage:
    """A disk image of the workspace, and the list of what is in it."""

    fd: int
    """Read-only descriptor of a file without a name; whoever holds the value closes it."""
    filesystem: str
    size_bytes: int
    manifest: Manifest
    """As imaged: digests of recently changed files added, what was judged by content left out."""

    def close(self) -> None:
        """Close the descriptor; the image's room is free once nobody else has it open."""
        os.close(self.fd)


def build_image(
    root: WorkspaceRoot,
    manifest: Manifest,
    cache_dir: Path,
    *,
    rules: IgnoreRules | None = None,
    clean: CleanFiles | None = None,
) -> WorkspaceImage:
    """Image what a manifest lists, and return it with the manifest as it became.

    Args:
        root: The workspace.
        manifest: Of a scan, just made.
        cache_dir: Where the image takes its room; it never has a name there.
        rules: Tell what `--include` names, which is sent even if it holds a secret.
        clean: Files known to hold no secrets; brought up to date.

    Raises:
        WorkspaceError: a file kept changing while it was read, or there is no room.
    """
    clean = clean or CleanFiles()
    try:
        with _nameless_file(cache_dir) as (write_fd, read_fd), Descent(root.fd) as tree:
            copy = _Copy(root, manifest, tree, rules or IgnoreRules(), clean, write_fd)
            copy.run()
            size = copy.writer.finish(copy.nodes)
            fd = os.dup(read_fd)
    except OSError as error:
        raise WorkspaceError(
            f"the workspace image could not be made: {error.strerror or error}",
            hint=f"it needs room for the whole workspace in {cache_dir}",
        ) from error
    clean.save()
    result = Manifest(copy.entries, copy.left_out)
    return WorkspaceImage(fd=fd, filesystem="erofs", size_bytes=size, manifest=result)


@contextmanager
def _nameless_file(directory: Path) -> Generator[tuple[int, int]]:
    """Give a private file without a name: a descriptor to write, and one that only reads."""
    write_fd, path = tempfile.mkstemp(prefix="workspace-", dir=directory)
    try:
        try:
            read_fd = os.open(path, os.O_RDONLY)
        finally:
            os.unlink(path)
        try:
            yield write_fd, read_fd
        finally:
            os.close(read_fd)
    finally:
        os.close(write_fd)


class _Copy:
    """One pass over a manifest."""

    def __init__(
        self,
        root: WorkspaceRoot,
        manifest: Manifest,
        tree: Descent,
        rules: IgnoreRules,
        clean: CleanFiles,
        fd: int,
    ) -> None:
        self._listed = manifest.entries
        self.entries = dict(manifest.entries)
        self.left_out = dict(manifest.left_out)
        self._tree = tree
        self._rules = rules
        self._clean = clean
        self._racy_since_ns = time.time_ns() - RACY_NS
        self.writer = ErofsWriter(fd, capacity=len(manifest.entries) + 1)
        status = os.stat(".", dir_fd=tree.directory(""))
        top = Node(mode=stat.S_IFDIR | 0o755, mtime_ns=status.st_mtime_ns, links=2)
        top.mode = stat.S_IFDIR | (status.st_mode & 0o777) | 0o700
        self.nodes = [top]
        self._slots = {"": 1}
        self._root = root

    def run(self) -> None:
        """Copy everything that is listed, and still there."""
        for path, entry in self._listed.items():
            if entry.type is EntryType.FILE:
                self._file(path, entry)
            elif entry.type is EntryType.SYMLINK:
                self._link(path, entry)
            else:
                self._add(path, stat.S_IFDIR, entry, links=2)

    def _file(self, path: str, entry: ManifestEntry) -> None:
        taken = self._read(path, entry)
        if taken is None:
            return
        entry, content = taken
        if is_git_config(path):
            redacted = redact_git_config(content)
            if redacted != content:
                entry = replace(entry, substituted=True)
                self.entries[path] = entry
                content = redacted
        if not self._is_clean(path, entry, content):
            return
        node = self._add(path, stat.S_IFREG, entry)
        node.size = len(content)
        node.block = self.writer.append(content)

    def _read(self, path: str, entry: ManifestEntry) -> tuple[ManifestEntry, bytes] | None:
        """Return a file's entry and content, proved to belong together; None if it went away."""
        for _ in range(_ATTEMPTS):
            try:
                with self._tree.file(path) as fd:
                    content = read_all(fd, entry.identity.size)
                    status = os.fstat(fd)
            except OSError:
                self._drop(path, None)
                return None
            if is_unmoved(status, entry.identity) and len(content) == status.st_size:
                return self._trusted(path, entry, content), content
            if not stat.S_ISREG(status.st_mode) or not status.st_mode & stat.S_IRUSR:
                self._drop(path, "changed while it was read")
                return None
            identity = Identity.of(status)
            entry = replace(entry, mode=status.st_mode & 0o777, identity=identity)
            self.entries[path] = entry
        raise WorkspaceError(
            f"{path} kept changing while the workspace was read",
            hint="wait for the program that writes it, or add it to .gitignore",
        )

    def _trusted(self, path: str, entry: ManifestEntry, content: bytes) -> ManifestEntry:
        """Add the content's digest where the file's identity could lie."""
        if entry.identity.ctime_ns < self._racy_since_ns:
            return entry
        entry = entry.with_sha256(sha256(content).hexdigest())
        self.entries[path] = entry
        return entry

    def _is_clean(self, path: str, entry: ManifestEntry, content: bytes) -> bool:
        if entry.substituted:
            kind = secret_in(content)
        elif self._clean.holds(entry.identity):
            return True
        else:
            kind = secret_in(content)
            if kind is None and entry.sha256 is None:
                self._clean.add(entry.identity)
        if kind is None or self._rules.is_included(path):
            return True
        self._drop(path, f"secret: {kind}")
        return False

    def _link(self, path: str, entry: ManifestEntry) -> None:
        status = self._tree.status(path)
        if status is None:
            self._drop(path, None)
        elif not is_unmoved(status, entry.identity) or entry.target is None:
            self._drop(path, "changed while it was read")
        else:
            target = entry.target.encode()
            node = self._add(path, stat.S_IFLNK, entry)
            node.size = len(target)
            node.block = self.writer.append(target)

    def _drop(self, path: str, reason: str | None) -> None:
        del self.entries[path]
        if reason is not None:
            self.left_out[path] = reason

    def _add(self, path: str, kind: int, entry: ManifestEntry, *, links: int = 1) -> Node:
        parent, _, name = path.rpartition("/")
        slot = len(self.nodes) + 1
        above = self._slots[parent]
        self.nodes[above - 1].children[name.encode()] = slot
        node = Node(mode=kind | entry.mode, mtime_ns=entry.identity.mtime_ns, links=links)
        if kind == stat.S_IFDIR:
            node.parent = above
            self.nodes[above - 1].links += 1
            self._slots[path] = slot
        self.nodes.append(node)
        return node


def is_unmoved(status: os.stat_result, identity: Identity) -> bool:
    """Tell whether a file still has the identity it was listed with."""
    return (
        status.st_ino == identity.ino
        and status.st_size == identity.size
        and status.st_mtime_ns == identity.mtime_ns
        and status.st_ctime_ns == identity.ctime_ns
        and status.st_dev == identity.dev
    )
