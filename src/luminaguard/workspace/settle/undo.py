"""Take steps back, in the reverse order; the same for a conflict and for a recovery.

A step is judged by what is found, never by what was meant to have happened: after a power loss any
subset of the steps may have reached the disk. A path is touched only where it is exactly what the
step would have made of it; where it is neither that nor what it was before, somebody else changed
it, and it is left alone.
"""

import errno
import stat

from luminaguard.domain.changeset import EntryType
from luminaguard.workspace.settle.apply import SPECIAL_BITS, set_mode
from luminaguard.workspace.settle.inspect import Found, is_as, look, opened
from luminaguard.workspace.settle.plan import Action, Step
from luminaguard.workspace.settle.stage import Stage
from luminaguard.workspace.settle.tree import MOVED, Tree

_CHANGED = "it was changed since"
_LOST = "its earlier version is not in the staging directory any more"
_USED = "something was put into it since"


class Undo:
    """Steps being taken back."""

    def __init__(self, tree: Tree, stage: Stage | None, *, is_live: bool) -> None:
        """Judge steps in a tree.

        Args:
            tree: The workspace.
            stage: Its staging directory; None where it is gone.
            is_live: The process that did the steps takes them back itself. It knows that what is
                in a slot came out of the tree just now, and puts even that back which somebody
                changed; after a crash only what is proved by its digest is put back.
        """
        self._tree = tree
        self._ops = tree.ops
        self._stage = stage
        self._is_live = is_live
        self._first: dict[str, Step] = {}

    def all(self, steps: tuple[Step, ...]) -> dict[str, str]:
        """Take all steps back that can be, durably.

        Returns:
            Path → why it was left as it is.

        Raises:
            OSError: the disk failed; the rest is not taken back.
        """
        for step in steps:
            self._first.setdefault(step.path, step)
        unknown: dict[str, str] = {}
        is_durable = False
        for step in reversed(steps):
            if step.opens and not is_durable:
                # A directory must not be shut on the disk while what goes into it is not there.
                sync(self._tree, self._stage, steps)
                is_durable = True
            if why := self._why_not(step):
                unknown.setdefault(step.path, why)
        if not is_durable:
            sync(self._tree, self._stage, steps)
        return unknown

    def _why_not(self, step: Step) -> str:
        """Take one step back; return why it could not be, or ""."""
        try:
            return self._one(step)
        except OSError as error:
            if error.errno not in MOVED | {errno.EACCES, errno.EPERM}:
                raise
            return error.strerror or _CHANGED

    def _one(self, step: Step) -> str:
        """Take one step back; "" when its path is as it was before."""
        found = self._tree.look(step)
        if step.action is not Action.CHMOD:
            return "" if self._is_old(step, found) else self._rename_back(step, found)
        if is_as(step.after, found):
            return self._chmod(step)
        # What an earlier step of the path made, or did not, is judged there.
        is_settled = is_as(step.before, found) or step is not self._first[step.path]
        return "" if is_settled or self._is_untouched(step, found) else _CHANGED

    def _rename_back(self, step: Step, found: Found | None) -> str:
        in_slot = self._stage.look(step) if self._stage else None
        if self._is_live and _is_never_done(step, in_slot):
            return ""
        if not is_as(step.after, found):
            return _CHANGED
        if self._stage is None:
            return _LOST
        with self._tree.directory(step.parent) as parent_fd:
            if step.action is Action.PLACE:
                return self._unplace(self._stage, step, parent_fd)
            if not self._may_return(step, in_slot):
                return _LOST
            if step.action is Action.REPLACE:
                return self._unreplace(self._stage, step, parent_fd)
            self._ops.move(self._stage.fd, step.slot, parent_fd, step.name)
            return ""

    def _may_return(self, step: Step, in_slot: Found | None) -> bool:
        if self._is_live:
            return in_slot is not None and not is_as(step.after, in_slot)
        return self._is_old(step, in_slot)

    def _is_old(self, step: Step, found: Found | None) -> bool:
        """Whether it is as before the step, or as before an earlier step of the same path."""
        return is_as(step.before, found) or is_as(self._first[step.path].before, found)

    def _unplace(self, stage: Stage, step: Step, parent_fd: int) -> str:
        if step.after and step.after.type is EntryType.DIRECTORY:
            with opened(self._ops, self._ops.open_dir(parent_fd, step.name)) as fd:
                if self._ops.names(fd):
                    return _USED
        self._ops.move(parent_fd, step.name, stage.fd, step.slot)
        if why := self._came_out_wrong(stage, step):
            self._ops.move(stage.fd, step.slot, parent_fd, step.name)
            return why
        return ""

    def _unreplace(self, stage: Stage, step: Step, parent_fd: int) -> str:
        self._ops.exchange(stage.fd, step.slot, parent_fd, step.name)
        if why := self._came_out_wrong(stage, step):
            self._ops.exchange(stage.fd, step.slot, parent_fd, step.name)
            return why
        return ""

    def _came_out_wrong(self, stage: Stage, step: Step) -> str:
        """Return in which way what was taken out is not what the step had put there."""
        found = stage.look(step)
        if not is_as(step.after, found):
            return _CHANGED
        if found is not None and stat.S_ISDIR(found.status.st_mode):
            with opened(self._ops, self._ops.open_dir(stage.fd, step.slot)) as fd:
                return _USED if self._ops.names(fd) else ""
        return ""

    def _chmod(self, step: Step) -> str:
        if step.before is None:
            return _CHANGED
        with (
            self._tree.directory(step.parent) as parent_fd,
            opened(self._ops, self._ops.open_handle(parent_fd, step.name)) as fd,
        ):
            status = self._ops.fstat(fd)
            found = look(self._ops, parent_fd, step.name)
            if found is None or found.status.st_ino != status.st_ino:
                return _CHANGED
            special = stat.S_IMODE(status.st_mode) & SPECIAL_BITS
            set_mode(self._ops, parent_fd, step, fd, step.before.mode | special)
        return ""

    def _is_untouched(self, step: Step, found: Found | None) -> bool:
        """Whether the step was never done to a path that somebody changed: its mode tells."""
        if not self._is_live or step.before is None:
            return False
        return found is None or stat.S_IMODE(found.status.st_mode) & 0o777 == step.before.mode


def _is_never_done(step: Step, in_slot: Found | None) -> bool:
    """Whether a slot is still as it was staged; enough for the process that staged it."""
    return in_slot is None if step.action is Action.REMOVE else is_as(step.after, in_slot)


def sync(tree: Tree, stage: Stage | None, steps: tuple[Step, ...]) -> None:
    """Make every rename of the steps durable; directories that are gone have nothing to keep."""
    for path in sorted({step.parent for step in steps}):
        try:
            with tree.directory(path) as fd:
                tree.ops.fsync(fd)
        except OSError as error:
            if error.errno not in MOVED:
                raise
    if stage is not None:
        tree.ops.fsync(stage.fd)
