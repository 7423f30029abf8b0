"""Do the steps, each atomic, each checked: what came out of the tree must be what was approved.

No check made before a rename can hold until the rename. So the rename comes first, by exchange or
to a free name, and then what came out is looked at: nothing is lost by that, because it still
exists, and is put back by the same operation if it is not what it should be.
"""

from collections.abc import Mapping
from contextlib import suppress
from stat import S_IMODE

from luminaguard.domain.changeset import EntryType
from luminaguard.errors import WorkspaceError
from luminaguard.workspace.manifest import Identity
from luminaguard.workspace.settle.fileops import FileOps
from luminaguard.workspace.settle.inspect import is_as, look, opened, same_but_ctime
from luminaguard.workspace.settle.plan import Action, Step
from luminaguard.workspace.settle.stage import Stage
from luminaguard.workspace.settle.tree import MOVED, Tree
from luminaguard.workspace.settle.verify import Checked, conflict

SPECIAL_BITS = 0o7000
"""Set-user-ID, set-group-ID, sticky: a change of mode leaves them as the host has them."""


class Steps:
    """The steps of one commit being done."""

    def __init__(
        self, tree: Tree, stage: Stage, checked: Checked, staged: Mapping[str, Identity]
    ) -> None:
        self._tree = tree
        self._ops = tree.ops
        self._stage = stage
        self._checked = checked
        self._staged = staged
        self.came_out: dict[str, Identity] = {}
        """Slot → identity of what came out of the tree into it."""
        self._is_done = False
        """Whether the step at hand changed its path, and did not put it back."""

    def do(self, step: Step) -> None:
        """Do one step, or leave its path as it is.

        Raises:
            ChangesetConflict: the path is not what it was.
            OSError: it could not be done, or not be checked; the path may be either way.
        """
        self._is_done = False
        try:
            with self._tree.directory(step.parent) as parent_fd:
                self._same_parent(step, parent_fd)
                match step.action:
                    case Action.PLACE:
                        self._place(step, parent_fd)
                    case Action.REPLACE:
                        self._replace(step, parent_fd)
                    case Action.REMOVE:
                        self._remove(step, parent_fd)
                    case Action.CHMOD:
                        self._chmod(step, parent_fd)
        except OSError as error:
            if error.errno in MOVED and not self._is_done:
                raise conflict({step.path: error.strerror or "it was changed"}) from error
            raise

    def settled(self, step: Step) -> Identity | None:
        """Return the identity that a done step's path has; None where it cannot be known.

        Of a path that somebody changed since, it is one that does not fit any more.
        """
        if step.after is None:
            return None
        placed = self._staged.get(step.slot)
        try:
            with self._tree.directory(step.parent) as parent_fd:
                seen = Identity.of(self._ops.stat(parent_fd, step.name))
        except OSError:
            return placed
        is_directory = step.after.type is EntryType.DIRECTORY
        if placed is None or is_directory or same_but_ctime(seen, placed):
            return seen
        return placed

    def still(self, step: Step) -> bool:
        """Tell whether what came out is untouched since: a program may have had it open."""
        return self._stage.identity(step) == self.came_out.get(step.slot)

    def _place(self, step: Step, parent_fd: int) -> None:
        self._untampered(step)
        self._ops.move(self._stage.fd, step.slot, parent_fd, step.name)
        self._is_done = True
        if not self._leads_to(step, parent_fd):
            self._ops.move(parent_fd, step.name, self._stage.fd, step.slot)
            self._is_done = False
            raise conflict({step.path: "its directory was moved"})

    def _replace(self, step: Step, parent_fd: int) -> None:
        self._untampered(step)
        self._ops.exchange(self._stage.fd, step.slot, parent_fd, step.name)
        self._is_done = True
        if why := self._wrong(step, parent_fd):
            self._ops.exchange(self._stage.fd, step.slot, parent_fd, step.name)
            self._is_done = False
            raise conflict({step.path: why})

    def _remove(self, step: Step, parent_fd: int) -> None:
        self._ops.move(parent_fd, step.name, self._stage.fd, step.slot)
        self._is_done = True
        if why := self._wrong(step, parent_fd):
            self._ops.move(self._stage.fd, step.slot, parent_fd, step.name)
            self._is_done = False
            raise conflict({step.path: why})

    def _wrong(self, step: Step, parent_fd: int) -> str:
        """Return in which way what came out is not what should have; "" when it is."""
        found = self._stage.look(step)
        if found is None or not is_as(step.before, found):
            return "it was changed"
        origin = Identity.of(self._checked.origins[step.path])
        is_directory = found.entry is not None and found.entry.type is EntryType.DIRECTORY
        if is_directory:
            if (found.status.st_dev, found.status.st_ino) != (origin.dev, origin.ino):
                return "it was changed"
            if not self._is_empty(step):
                return "something was put into it"
        elif not same_but_ctime(found.identity(), origin):
            return "it was changed"
        if not self._leads_to(step, parent_fd):
            return "its directory was moved"
        self.came_out[step.slot] = found.identity()
        return ""

    def _chmod(self, step: Step, parent_fd: int) -> None:
        if step.before is None or step.after is None:
            raise WorkspaceError(f"no mode to set on {step.path!r}")
        with opened(self._ops, self._ops.open_handle(parent_fd, step.name)) as fd:
            status = self._ops.fstat(fd)
            found = look(self._ops, parent_fd, step.name)
            is_here = found is not None and found.status.st_ino == status.st_ino
            if not is_here or not is_as(step.before, found):
                raise conflict({step.path: "it was changed"})
            special = S_IMODE(status.st_mode) & SPECIAL_BITS
            self._is_done = True
            set_mode(self._ops, parent_fd, step, fd, step.after.mode | special)
            now = look(self._ops, parent_fd, step.name)
            is_right = now is not None and now.status.st_ino == status.st_ino
            if is_right and is_as(step.after, now) and self._leads_to(step, parent_fd):
                return
            if S_IMODE(self._ops.fstat(fd).st_mode) & 0o777 == step.after.mode:
                set_mode(self._ops, parent_fd, step, fd, step.before.mode | special)
                self._is_done = False
            raise conflict({step.path: "it was changed"})

    def _is_empty(self, step: Step) -> bool:
        with opened(self._ops, self._ops.open_dir(self._stage.fd, step.slot)) as fd:
            return not self._ops.names(fd)

    def _untampered(self, step: Step) -> None:
        """Check that what is about to enter the tree is still what was staged."""
        if self._stage.identity(step) != self._staged[step.slot]:
            raise WorkspaceError(
                f"the staged content of {step.path!r} was changed by another program",
                hint="find out what writes into LuminaGuard's staging directories",
            )

    def _same_parent(self, step: Step, parent_fd: int) -> None:
        known = self._checked.parents.get(step.parent)
        status = self._ops.fstat(parent_fd)
        if known is not None and (known.st_dev, known.st_ino) != (status.st_dev, status.st_ino):
            raise conflict({step.path: "its directory was replaced"})

    def _leads_to(self, step: Step, parent_fd: int) -> bool:
        """Tell whether the path still leads to the directory that was worked in."""
        held = self._ops.fstat(parent_fd)
        try:
            with self._tree.directory(step.parent) as again_fd:
                again = self._ops.fstat(again_fd)
        except OSError as error:
            if error.errno in MOVED:
                return False
            raise
        return (held.st_dev, held.st_ino) == (again.st_dev, again.st_ino)


def set_mode(ops: FileOps, parent_fd: int, step: Step, handle: int, mode: int) -> None:
    """Set the mode of what `handle` is open on, and make it durable.

    Only a readable file can be synced, and either the old or the new mode may forbid reading.
    """
    is_directory = step.after is not None and step.after.type is EntryType.DIRECTORY
    to_sync = ops.open_dir if is_directory else ops.open_read
    fd: int | None = None
    with suppress(PermissionError):
        fd = to_sync(parent_fd, step.name)
    try:
        ops.chmod(handle, mode)
        if fd is None:
            fd = to_sync(parent_fd, step.name)
        ops.fsync(fd)
    finally:
        if fd is not None:
            ops.close(fd)
