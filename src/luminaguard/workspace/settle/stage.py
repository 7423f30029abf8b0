"""The staging directory: new content before a commit's steps, old content after them.

It lies in the workspace's root, because only a rename within one file system is atomic; it is
private (0700), its name is in the journal before it is made, and nothing in it is ever trusted
after a crash without being compared with the journal.
"""

import errno
import os
import stat
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from hashlib import sha256

from luminaguard.domain.changeset import Entry, EntryType
from luminaguard.errors import WorkspaceError
from luminaguard.workspace.manifest import Identity
from luminaguard.workspace.settle.fileops import FileOps
from luminaguard.workspace.settle.inspect import BLOCK_BYTES, Found, look, opened
from luminaguard.workspace.settle.journal import Plan
from luminaguard.workspace.settle.plan import Action, Step
from luminaguard.workspace.settle.tree import Tree
from luminaguard.workspace.settle.verify import Checked
from luminaguard.workspace.spool import Spool

_BATCH = 64
"""Slots held open at a time: their writing overlaps, and one journal commit serves many."""

_UNSETTLED_S = 300.0
"""A change older than this was written out by the kernel long ago (it does so after 30 s unless
told otherwise). Source: vm.dirty_expire_centisecs in the kernel's sysctl documentation."""


class Stage:
    """An open staging directory."""

    def __init__(self, tree: Tree, name: str, fd: int) -> None:
        self.fd = fd
        self.name = name
        self._tree = tree
        self._ops = tree.ops

    @classmethod
    def make(cls, tree: Tree, name: str) -> "Stage":
        """Make a new one in the root."""
        tree.ops.mkdir(tree.root.fd, name)
        return cls(tree, name, tree.ops.open_dir(tree.root.fd, name))

    @classmethod
    def find(cls, tree: Tree, name: str) -> "Stage | None":
        """Open the one that a crash left; None where there is none."""
        try:
            return cls(tree, name, tree.ops.open_dir(tree.root.fd, name))
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
                return None
            raise

    def look(self, step: Step) -> Found | None:
        """Return what lies in a step's slot."""
        return look(self._ops, self.fd, step.slot)

    def identity(self, step: Step) -> Identity | None:
        """Return which file lies in a step's slot, and in which state, without reading it."""
        try:
            return Identity.of(self._ops.stat(self.fd, step.slot))
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            raise

    def clear(self, slots: tuple[Step, ...], *, may_go: Callable[[Step], bool]) -> bool:
        """Delete the slots that may go, and the directory if nothing is left in it.

        Returns:
            Whether all of it is gone, durably.
        """
        present = set(self._ops.names(self.fd))
        for step in slots:
            if step.slot in present and may_go(step):
                self._delete(step.slot)
        try:
            self._ops.rmdir(self._tree.root.fd, self.name)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            return False
        with self._tree.directory("") as root_fd:
            self._ops.fsync(root_fd)
        return True

    def close(self) -> None:
        """Let go of the descriptor."""
        self._ops.close(self.fd)

    def _delete(self, slot: str) -> None:
        is_directory = stat.S_ISDIR(self._ops.stat(self.fd, slot).st_mode)
        try:
            if is_directory:
                self._ops.rmdir(self.fd, slot)
            else:
                self._ops.unlink(self.fd, slot)
        except OSError as error:
            # A directory that somebody put a file into while it was on its way out stays.
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise


def fill(
    stage: Stage, tree: Tree, plan: Plan, spool: Spool, checked: Checked
) -> dict[str, Identity]:
    """Put all new content into its slots, with its final mode and owner, and make it durable.

    Returns:
        Slot → identity of what lies in it, for each step that brings something new.

    Raises:
        WorkspaceError: the spool does not hold what was approved.
        OSError: the disk is full, or the like.
    """
    ops, staged = tree.ops, dict[str, Identity]()
    filled = [step for step in plan.steps if step.action in {Action.PLACE, Action.REPLACE}]
    for start in range(0, len(filled), _BATCH):
        batch = filled[start : start + _BATCH]
        with ExitStack() as held:
            fds = [held.enter_context(_filled(stage, tree, s, spool, checked)) for s in batch]
            for fd in fds:
                if fd is not None:
                    ops.fsync(fd)
        for step in batch:
            staged[step.slot] = Identity.of(ops.stat(stage.fd, step.slot))
    for step in plan.steps:
        _settle(tree, step, checked)
    ops.fsync(stage.fd)
    with tree.directory("") as root_fd:
        ops.fsync(root_fd)
    return staged


def _settle(tree: Tree, step: Step, checked: Checked) -> None:
    """Make old content durable that its writer may have left to the kernel until now.

    After a power loss it could not be put back otherwise: it would be empty, or lost.
    """
    origin = checked.origins.get(step.path)
    if origin is None or not stat.S_ISREG(origin.st_mode):
        return
    if step.action is not Action.CHMOD and origin.st_ctime > time.time() - _UNSETTLED_S:
        with (
            tree.directory(step.parent) as parent_fd,
            opened(tree.ops, tree.ops.open_read(parent_fd, step.name)) as fd,
        ):
            tree.ops.fsync(fd)


@contextmanager
def _filled(
    stage: Stage, tree: Tree, step: Step, spool: Spool, checked: Checked
) -> Generator[int | None]:
    """Make one slot's content; yields a descriptor to make it durable by, None for a link."""
    ops, after = tree.ops, step.after
    if after is None:
        raise WorkspaceError(f"there is nothing to stage for {step.path!r}")
    if after.type is EntryType.SYMLINK:
        ops.symlink(after.target or "", stage.fd, step.slot)
        _own(ops, stage.fd, step, _owner(step, after, checked))
        yield None
        return
    if after.type is EntryType.DIRECTORY:
        ops.mkdir(stage.fd, step.slot)
        fd = ops.open_dir(stage.fd, step.slot)
    else:
        fd = ops.create(stage.fd, step.slot)
    with opened(ops, fd):
        if after.type is EntryType.FILE:
            _copy(ops, fd, step.path, after, spool)
        _own(ops, stage.fd, step, _owner(step, after, checked))
        if _is_kept(step, after):
            _copy_attributes(tree, step, fd)
        ops.chmod(fd, after.mode | _inherited_bits(step, after, checked))
        ops.start_writeback(fd)
        yield fd


def _copy(ops: FileOps, fd: int, path: str, after: Entry, spool: Spool) -> None:
    """Copy content out of the spool, checking that it is what was approved; holes stay holes."""
    digest, size = sha256(), 0
    try:
        with spool.open(after.sha256 or "") as content:
            while block := content.read(BLOCK_BYTES):
                digest.update(block)
                if block.count(0) != len(block):
                    ops.write(fd, size, block)
                size += len(block)
    except FileNotFoundError as error:
        raise WorkspaceError(f"the approved content of {path!r} is not in the spool") from error
    if (size, digest.hexdigest()) != (after.size, after.sha256):
        raise WorkspaceError(f"the spooled content of {path!r} is not what was approved")
    ops.truncate(fd, size)


def _is_kept(step: Step, after: Entry) -> bool:
    """Whether new content takes the place of old content of the same kind."""
    return step.before is not None and step.before.type is after.type


def _owner(step: Step, after: Entry, checked: Checked) -> tuple[int, int]:
    if _is_kept(step, after) and step.path in checked.origins:
        origin = checked.origins[step.path]
        return origin.st_uid, origin.st_gid
    holder = checked.holder(step.path)
    return _heir(holder, is_group_passed=bool(holder.st_mode & stat.S_ISGID))


def _inherited_bits(step: Step, after: Entry, checked: Checked) -> int:
    """Return the bit that a new directory gets from one that passes its group on."""
    if after.type is not EntryType.DIRECTORY:
        return 0
    return checked.holder(step.path).st_mode & stat.S_ISGID


def _heir(holder: os.stat_result, *, is_group_passed: bool) -> tuple[int, int]:
    """Return owner and group of a new entry; -1 leaves what the system gave it.

    A set-group-ID directory passes its group on. Source: inode(7).
    """
    if sys.platform == "win32":
        return -1, -1
    is_root = os.geteuid() == 0
    return (
        holder.st_uid if is_root else -1,
        holder.st_gid if is_root or is_group_passed else -1,
    )


def _own(ops: FileOps, stage_fd: int, step: Step, owner: tuple[int, int]) -> None:
    status = ops.stat(stage_fd, step.slot)
    uid = -1 if owner[0] == status.st_uid else owner[0]
    gid = -1 if owner[1] == status.st_gid else owner[1]
    if (uid, gid) == (-1, -1):
        return
    try:
        ops.chown(stage_fd, step.slot, uid, gid)
    except PermissionError as error:
        raise WorkspaceError(
            f"{step.path!r} belongs to another user or group, which cannot be kept",
            hint="take over its ownership, or run LuminaGuard as its owner",
        ) from error


def _copy_attributes(tree: Tree, step: Step, to_fd: int) -> None:
    ops = tree.ops
    with (
        tree.directory(step.parent) as parent_fd,
        opened(ops, ops.open_read(parent_fd, step.name)) as from_fd,
    ):
        ops.copy_attributes(from_fd, to_fd)
