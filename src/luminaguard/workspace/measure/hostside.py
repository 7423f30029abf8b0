"""The host's tree while a changeset is measured: read only where it still is the base.

Every look is below the root's descriptor, through no link. A file whose identity is not the base's
any more is a conflict, whatever its content: the user, or another program, has been at it.
"""

import os
import stat
from hashlib import sha256
from types import TracebackType
from typing import Self

from luminaguard.domain.changeset import Entry, EntryType
from luminaguard.errors import ChangesetConflict, Unrepresentable
from luminaguard.workspace.base import Base
from luminaguard.workspace.confined import Descent, read_all
from luminaguard.workspace.manifest import ManifestEntry
from luminaguard.workspace.root import WorkspaceRoot
from luminaguard.workspace.send.imaging import is_unmoved
from luminaguard.workspace.send.secrets import redact_git_config
from luminaguard.workspace.spool import Spool

_BLOCK = 1 << 20
_TYPES = {
    EntryType.FILE: stat.S_IFREG,
    EntryType.DIRECTORY: stat.S_IFDIR,
    EntryType.SYMLINK: stat.S_IFLNK,
}


def conflict(path: str, what: str) -> ChangesetConflict:
    """Return the error for one path that moved on the host."""
    return ChangesetConflict(
        f"{path}: {what}",
        hint="nothing was changed; run the command again to work on the tree as it is now",
        paths=(path,),
    )


class HostSide:
    """A base's files on the host; a context manager that holds directory descriptors."""

    def __init__(self, root: WorkspaceRoot, base: Base) -> None:
        """Open the root for walking; nothing is read yet."""
        self._tree = Descent(root.fd)
        self._base = base

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tree.close()

    def entry(self, path: str, held: ManifestEntry) -> Entry:
        """Return the state of a path, digest included, proved to be the base's on the host now.

        Raises:
            ChangesetConflict: it moved.
        """
        if held.type is EntryType.FILE:
            return held.entry(self.digest(path, held))
        if not self.is_base(path, held):
            raise conflict(path, "changed on your side since the session saw it")
        return held.entry()

    def is_base(self, path: str, held: ManifestEntry) -> bool:
        """Tell whether the host's entry still is the one of the base.

        Of a directory only that it is the same one, with the same mode: its time stamps move with
        whatever is made in it.
        """
        status = self._tree.status(path)
        if status is None or stat.S_IFMT(status.st_mode) != _TYPES[held.type]:
            return False
        if held.type is not EntryType.DIRECTORY:
            return is_unmoved(status, held.identity)
        return (
            status.st_ino == held.identity.ino
            and status.st_dev == held.identity.dev
            and status.st_mode & 0o777 == held.mode
        )

    def exists(self, path: str) -> bool:
        """Tell whether the host has anything at a path."""
        return self._tree.status(path) is not None

    def names(self, path: str) -> frozenset[str]:
        """Return the names in a host directory; none where there is no such directory."""
        return frozenset(self._tree.names(path))

    def unlisted(self, path: str) -> list[str]:
        """Return paths in a host directory that the base does not list, sorted."""
        extra = self.names(path) - self._base.tree.get(path, frozenset())
        return sorted(f"{path}/{name}" for name in extra)

    def digest(self, path: str, held: ManifestEntry) -> str:
        """Return the SHA-256 of a base file's content, read from the host.

        Raises:
            ChangesetConflict: the file is not the base's any more.
        """
        return self._read(path, held, None)

    def content(self, path: str, held: ManifestEntry, digest: str | None) -> bytes:
        """Return a base file's content, which must have the digest that was measured.

        Raises:
            ChangesetConflict: the file is not the base's any more.
        """
        content = self._whole(path, held)
        if sha256(content).hexdigest() != digest:
            raise conflict(path, "changed on your side since the session saw it")
        return content

    def take(self, path: str, held: ManifestEntry, spool: Spool) -> str:
        """Copy a file of the image into the spool and return its digest.

        The file may have been moved by an earlier commit of this session: then its content is
        looked for where a commit put the same digest.

        Raises:
            Unrepresentable: the content cannot be found with certainty.
        """
        places = [(path, held)]
        if held.sha256 is not None:
            places += [
                (moved, entry)
                for moved, entry in self._base.settled.items()
                if entry is not None and entry.sha256 == held.sha256
            ]
        for place, entry in places:
            try:
                return self._read(place, entry, spool)
            except ChangesetConflict:
                continue
        raise Unrepresentable(
            f"{path}: the guest moved it, and its content is no longer on the host as it was sent",
            hint="run the command again to work on the tree as it is now",
        )

    def redacted_digest(self, path: str, held: ManifestEntry) -> str:
        """Return the SHA-256 of a substituted file's content as the guest got it."""
        return sha256(redact_git_config(self._whole(path, held))).hexdigest()

    def _whole(self, path: str, held: ManifestEntry) -> bytes:
        try:
            with self._tree.file(path) as fd:
                content = read_all(fd, held.identity.size)
                status = os.fstat(fd)
        except OSError as error:
            raise conflict(path, "cannot be read on your side any more") from error
        if not is_unmoved(status, held.identity):
            raise conflict(path, "changed on your side since the session saw it")
        return content

    def _read(self, path: str, held: ManifestEntry, spool: Spool | None) -> str:
        try:
            with self._tree.file(path) as fd:
                if not is_unmoved(os.fstat(fd), held.identity):
                    raise conflict(path, "changed on your side since the session saw it")
                digest = _spooled(fd, held.identity.size, spool) if spool else _hashed(fd)
                status = os.fstat(fd)
        except OSError as error:
            raise conflict(path, "cannot be read on your side any more") from error
        if not is_unmoved(status, held.identity) or held.sha256 not in {None, digest}:
            raise conflict(path, "changed on your side since the session saw it")
        return digest


def _hashed(fd: int) -> str:
    running = sha256()
    while block := os.read(fd, _BLOCK):
        running.update(block)
    return running.hexdigest()


def _spooled(fd: int, size: int, spool: Spool) -> str:
    copy = spool.receive()
    try:
        offset = 0
        while block := os.read(fd, _BLOCK):
            copy.write(offset, block)
            offset += len(block)
        return copy.finish(max(size, offset))
    except BaseException:
        copy.abandon()
        raise
