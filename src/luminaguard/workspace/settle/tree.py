"""The workspace's tree as a commit walks it: every path anew, from the root's descriptor."""

import errno
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from luminaguard.errors import WorkspaceError
from luminaguard.workspace.settle.fileops import FileOps
from luminaguard.workspace.settle.inspect import Found, look, opened
from luminaguard.workspace.settle.plan import Step

MOVED = {
    errno.ENOENT,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENOTEMPTY,
    errno.EBUSY,
}
"""What the kernel answers when a path is not what it was a moment ago."""

_CAUSES = {
    errno.ENOSPC: ("the disk is full", "free some space on the workspace's disk"),
    errno.EDQUOT: ("the disk quota is used up", "free some space on the workspace's disk"),
    errno.EROFS: ("the file system is read-only", "make the workspace writable"),
    errno.EIO: ("the disk failed to read or write", "check the disk, then try again"),
    errno.EXDEV: (
        "another file system is mounted inside the workspace there",
        "unmount it, or choose that directory as the workspace",
    ),
    errno.EACCES: ("this user may not write there", "give yourself the right to write there"),
    errno.EPERM: ("the system does not permit it", "see whether the file is immutable, and whose"),
    errno.ENOSYS: (
        "this system cannot exchange two files atomically",
        "Linux 5.6 or later is needed",
    ),
    errno.EINVAL: (
        "the file system cannot exchange two files atomically",
        "keep the workspace on ext4, XFS, btrfs or tmpfs",
    ),
}


class Root(Protocol):
    """A workspace's root directory, held open. `WorkspaceRoot` is one."""

    path: Path
    fd: int
    dev: int
    ino: int


class Tree:
    """The root's descriptor and the operations on what is below it."""

    def __init__(self, ops: FileOps, root: Root) -> None:
        self.ops = ops
        self.root = root

    @contextmanager
    def directory(self, path: str) -> Generator[int]:
        """Open a directory of the tree for the time of a `with`; "" is the root.

        Raises:
            OSError: it is gone, not a directory, behind a symbolic link, or on another mount.
        """
        with opened(self.ops, self.ops.open_dir(self.root.fd, path)) as fd:
            yield fd

    def look(self, step: Step) -> Found | None:
        """Return what stands at a step's path; None where nothing does, not even its parent."""
        try:
            with self.directory(step.parent) as fd:
                return look(self.ops, fd, step.name)
        except OSError as error:
            if error.errno in MOVED:
                return None
            raise


def explained(error: OSError, doing: str) -> WorkspaceError:
    """Return the error for people: what was being done, what went wrong, and what mends it."""
    cause, hint = _CAUSES.get(error.errno or 0, (error.strerror or str(error), None))
    where = f" ({error.filename!r})" if error.filename else ""
    return WorkspaceError(f"cannot {doing}{where}: {cause}", hint=hint)


def listed(paths: list[str], limit: int = 10) -> str:
    """Return paths for a message, the rest as a count."""
    shown = ", ".join(repr(path) for path in paths[:limit])
    return shown + (f" and {len(paths) - limit} more" if len(paths) > limit else "")
