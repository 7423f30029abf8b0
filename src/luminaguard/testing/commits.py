"""A workspace, its state directory and a changeset: ready to be committed and recovered."""

from pathlib import Path

from luminaguard.domain.changeset import Changeset
from luminaguard.testing.disk import unsynced
from luminaguard.testing.trees import (
    Node,
    TreeValue,
    changeset_between,
    identities,
    read_tree,
    write_tree,
)
from luminaguard.workspace.root import WorkspaceRoot
from luminaguard.workspace.settle.commit import Committed, commit
from luminaguard.workspace.settle.fileops import FileOps
from luminaguard.workspace.settle.lock import CommitStore
from luminaguard.workspace.settle.recovery import RecoveryReport, pending, recover
from luminaguard.workspace.spool import Spool


class Scene:
    """One workspace on disk, imaged as `before`, with a changeset to `after`."""

    def __init__(self, place: Path, before: TreeValue, after: TreeValue) -> None:
        """Make everything below `place`, which must not exist."""
        self.before = dict(before)
        self.after = dict(after)
        self.path = place / "project"
        self.path.mkdir(parents=True)
        write_tree(self.path, before)
        self.root = WorkspaceRoot.open(self.path)
        self.store = CommitStore(place / "state", self.root.dev, self.root.ino, wait_s=0.2)
        self.store.directory.mkdir(parents=True)
        self.spool = Spool(place / "spool", quota_bytes=1 << 30)
        self.changeset: Changeset = changeset_between(before, after, self.spool)
        self.base = identities(self.path)

    def commit(self, ops: FileOps | None = None) -> Committed:
        """Commit the changeset; by default without waiting for the disk."""
        disk = ops or unsynced()
        return commit(self.root, self.base, self.changeset, self.spool, self.store, ops=disk)

    def recover(self, ops: FileOps | None = None, *, acknowledge: bool = False) -> RecoveryReport:
        """End what a crash left."""
        return recover(self.root, self.store, acknowledge=acknowledge, ops=ops or unsynced())

    @property
    def pending(self) -> bool:
        """Whether a commit is unfinished."""
        return pending(self.store)

    @property
    def tree(self) -> dict[str, Node]:
        """What the workspace holds now."""
        return read_tree(self.path)
