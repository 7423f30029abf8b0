"""Commit an approved changeset to the host: all of it, or nothing.

    lock ─▶ verify ─▶ journal the plan ─▶ stage new content ─▶ mark `applying` ─▶ do the steps
         ─▶ make them durable ─▶ mark `committed` ─▶ clean up ─▶ unlock

Until the mark `committed` is on the disk, anything that goes wrong takes everything back. A process
that dies, or a power loss, leaves a journal; `recovery` ends what it tells of. The bytes come from
the spool alone, whose digest is what was approved, and are checked against it while they are
copied. Costs grow with the changes, not with the tree.
"""

import secrets
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from luminaguard.domain.changeset import Changeset, EntryType
from luminaguard.errors import RecoveryNeeded, WorkspaceError
from luminaguard.workspace.manifest import Identity
from luminaguard.workspace.settle import journal as journals
from luminaguard.workspace.settle.apply import Steps
from luminaguard.workspace.settle.fileops import FileOps, real_ops
from luminaguard.workspace.settle.inspect import same_but_ctime
from luminaguard.workspace.settle.journal import Journal, Mark, Plan
from luminaguard.workspace.settle.lock import CommitStore
from luminaguard.workspace.settle.plan import Step, plan, with_opened
from luminaguard.workspace.settle.stage import Stage, fill
from luminaguard.workspace.settle.tree import Root, Tree, explained, listed
from luminaguard.workspace.settle.undo import Undo, sync
from luminaguard.workspace.settle.verify import Checked, conflict, verify
from luminaguard.workspace.spool import Spool

RECOVER = "run `luminaguard recover -w {}`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What a commit left on the host."""

    identities: Mapping[str, Identity]
    """Path → its identity now, for each path that was made or changed, directories that were only
    opened for a while included; what is missing here is gone, or moved again at once."""
    kept: str = ""
    """Staging directory that still holds files another program wrote into meanwhile; usually ""."""


def commit(  # what is committed, onto what, out of what
    root: Root,
    base: Mapping[str, Identity],
    changeset: Changeset,
    spool: Spool,
    store: CommitStore,
    *,
    ops: FileOps | None = None,
) -> Committed:
    """Bring a changeset onto the host, entirely or not at all. Blocking.

    Args:
        root: The workspace, held by descriptor.
        base: Path → identity that the host's entry had when it was sent into the guest, for each
            path of the changeset that was there before.
        changeset: What was approved.
        spool: Holds the content of each new file.
        store: The workspace's place in the state directory.
        ops: Operations on the disk; the real ones by default.

    Raises:
        ChangesetConflict: the host moved; nothing was changed, an edit in between included.
        WorkspaceError: it could not be done (disk full, no permission, …); all is taken back.
        RecoveryNeeded: an earlier commit is unfinished, or this one could not be taken back.
    """
    disk = ops or real_ops()
    steps = plan(changeset)
    tree = Tree(disk, root)
    with ExitStack() as held:
        try:
            store_fd = held.enter_context(store.locked())
            if journals.exists(disk, store_fd):
                raise RecoveryNeeded(
                    "an earlier commit to this workspace did not end", hint=_hint(root)
                )
            checked = verify(tree, steps, base)
        except OSError as error:
            raise explained(error, "look at the workspace") from error
        if not steps:
            return Committed(identities={})
        steps = with_opened(steps, {path: s.st_mode for path, s in checked.parents.items()})
        intent = Plan(
            nonce=secrets.token_hex(8),
            changeset=changeset.digest,
            workspace=str(root.path),
            steps=steps,
        )
        return _Commit(tree, store_fd, intent, checked).run(spool)


class _Commit:
    """One commit on its way."""

    def __init__(self, tree: Tree, store_fd: int, intent: Plan, checked: Checked) -> None:
        self._tree = tree
        self._store_fd = store_fd
        self._plan = intent
        self._checked = checked
        self._staged: dict[str, Identity] = {}
        self._begun: list[Step] = []

    def run(self, spool: Spool) -> Committed:
        """Go all the way, or come back all the way."""
        journal = self._begin()
        with ExitStack() as held:
            held.callback(journal.close)
            stage = self._stage(journal, spool, held)
            steps = Steps(self._tree, stage, self._checked, self._staged)
            try:
                self._apply(stage, steps)
            except OSError as error:
                self._take_back(stage, journal, error)
                raise explained(error, "commit to the workspace") from error
            except BaseException as error:
                self._take_back(stage, journal, error)
                raise
            self._declare(journal)
            return self._finish(stage, journal, steps)

    def _begin(self) -> Journal:
        try:
            return Journal.begin(self._tree.ops, self._store_fd, self._plan)
        except OSError as error:
            with suppress(OSError):
                journals.remove(self._tree.ops, self._store_fd)
            raise explained(error, "write the commit's journal") from error

    def _stage(self, journal: Journal, spool: Spool, held: ExitStack) -> Stage:
        try:
            stage = Stage.make(self._tree, self._plan.stage)
            held.callback(stage.close)
            self._staged.update(fill(stage, self._tree, self._plan, spool, self._checked))
            journal.mark(Mark.APPLYING)
        except OSError as error:
            self._abandon(journal, error)
            raise explained(error, "stage the changes") from error
        except BaseException as error:
            self._abandon(journal, error)
            raise
        return stage

    def _abandon(self, journal: Journal, cause: BaseException) -> None:
        """Leave nothing of what was staged; no step was done."""
        try:
            stage = Stage.find(self._tree, self._plan.stage)
            if stage is not None:
                try:
                    stage.clear(self._plan.steps, may_go=lambda _: True)
                finally:
                    stage.close()
            self._restore_times()
            self._close_journal(journal)
        except OSError as error:
            raise RecoveryNeeded(
                f"staging failed ({cause}), and cleaning up after it too ({error.strerror});"
                " the workspace's own files are untouched",
                hint=_hint(self._tree.root),
            ) from error

    def _apply(self, stage: Stage, steps: Steps) -> None:
        late = tuple(step for step in self._plan.steps if step.is_last)
        for step in self._plan.steps:
            if not step.is_last:
                self._do(steps, step)
        sync(self._tree, stage, self._plan.steps)
        for step in late:
            self._do(steps, step)
        moved = [step.path for step in self._plan.steps if not steps.still(step)]
        if moved:
            raise conflict(dict.fromkeys(moved, "a program was writing to it"))

    def _do(self, steps: Steps, step: Step) -> None:
        self._begun.append(step)
        try:
            steps.do(step)
        except WorkspaceError:
            self._begun.pop()  # its path was left, or put back, as it is
            raise

    def _take_back(self, stage: Stage, journal: Journal, cause: BaseException) -> None:
        try:
            unknown = Undo(self._tree, stage, is_live=True).all(tuple(self._begun))
            if unknown:
                raise RecoveryNeeded(
                    "the commit failed, and these paths were changed by others while it ran:"
                    f" {listed(sorted(unknown))}",
                    hint=_hint(self._tree.root),
                ) from cause
            with suppress(OSError):  # a full disk; what is found tells recovery the same
                journal.mark(Mark.UNDONE)
            stage.clear(self._plan.steps, may_go=lambda step: self._is_ours(stage, step))
            self._restore_times()
            self._close_journal(journal)
        except OSError as error:
            raise RecoveryNeeded(
                f"the commit failed ({cause}), and so did taking it back ({error.strerror})",
                hint=_hint(self._tree.root),
            ) from error

    def _declare(self, journal: Journal) -> None:
        """Make it final. Nobody may take back what might be on the disk as committed."""
        try:
            journal.mark(Mark.COMMITTED)
        except OSError as error:
            raise RecoveryNeeded(
                "the disk failed at the very end of the commit; whether it counts is unknown",
                hint=_hint(self._tree.root),
            ) from error

    def _finish(self, stage: Stage, journal: Journal, steps: Steps) -> Committed:
        """Clean up. What fails here leaves a journal that says so, and a commit that holds."""
        identities: dict[str, Identity] = {}
        for step in self._plan.steps:
            identity = steps.settled(step)
            if identity is not None:
                identities[step.path] = identity
        kept = str(self._tree.root.path / self._plan.stage)
        with suppress(OSError):
            if stage.clear(self._plan.steps, may_go=steps.still):
                kept = ""
            journal.remove()
        return Committed(identities=identities, kept=kept)

    def _close_journal(self, journal: Journal) -> None:
        """Delete the journal durably: it may not say that only cleaning up is left."""
        journal.remove()
        self._tree.ops.fsync(self._store_fd)

    def _is_ours(self, stage: Stage, step: Step) -> bool:
        """Whether a slot holds nothing but what was staged in it."""
        if step.after is not None and step.after.type is EntryType.DIRECTORY:
            return True  # only an empty directory can be deleted
        staged, found = self._staged.get(step.slot), stage.identity(step)
        return staged is not None and found is not None and same_but_ctime(staged, found)

    def _restore_times(self) -> None:
        """Give the directories that were worked in the time of modification they had."""
        for path, status in self._checked.parents.items():
            with suppress(OSError), self._tree.directory(path) as fd:
                self._tree.ops.set_mtime(fd, status.st_mtime_ns)


def _hint(root: Root) -> str:
    return RECOVER.format(root.path)
