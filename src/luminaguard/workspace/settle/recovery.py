"""End what a crash or a power loss left half done: entirely old, or entirely new.

    plan only, undone   the tree is old: the staging directory goes
    committed           the tree is new: the staging directory goes
    applying            every step that reached the disk is taken back

Recovery may itself be cut off at any point and run again. Its only input is the journal; what lies
in the workspace is compared with the journal before it is touched, and a path that somebody
changed since is left as it is: the version that is not in its place is copied beside the journal,
and the workspace stays closed to commits until a human has seen the report.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import cast

from luminaguard.domain.calls import JsonValue
from luminaguard.domain.changeset import EntryType
from luminaguard.workspace.settle import journal as journals
from luminaguard.workspace.settle.fileops import FileOps, real_ops
from luminaguard.workspace.settle.inspect import Found, is_as, look, opened
from luminaguard.workspace.settle.journal import Journal, Journaled, Mark, Plan
from luminaguard.workspace.settle.lock import CommitStore
from luminaguard.workspace.settle.plan import Action, Step
from luminaguard.workspace.settle.preserve import preserve
from luminaguard.workspace.settle.stage import Stage
from luminaguard.workspace.settle.tree import Root, Tree, explained
from luminaguard.workspace.settle.undo import Undo


class Ending(StrEnum):
    """What became of an unfinished commit."""

    NOTHING = "nothing"
    """There was none."""
    ROLLED_BACK = "rolled-back"
    """The workspace is as before the commit."""
    FINISHED = "finished"
    """The commit was already whole; the workspace is as after it."""
    UNKNOWN = "unknown"
    """Rolled back, except for paths that somebody changed since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """A path that recovery left as it found it."""

    path: str
    why: str
    preserved: str
    """Where the other version lies; "" where there is none."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return the journaled and public JSON form."""
        return {"path": self.path, "why": self.why, "preserved": self.preserved}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryReport:
    """How an unfinished commit was ended."""

    ending: Ending
    workspace: str
    changeset: str = ""
    """Digest of the changeset that was being committed."""
    paths: tuple[str, ...] = ()
    """All paths of that changeset."""
    unknown: tuple[Unknown, ...] = field(default=())
    is_blocked: bool = False
    """Commits are refused until the report is acknowledged."""
    kept: str = ""
    """Staging directory that still holds something recovery may not delete; usually ""."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return the public JSON form."""
        return {
            "ending": self.ending.value,
            "workspace": self.workspace,
            "changeset": self.changeset,
            "paths": list(self.paths),
            "unknown": [unknown.as_json() for unknown in self.unknown],
            "blocked": self.is_blocked,
            "kept": self.kept,
        }


def pending(store: CommitStore, *, ops: FileOps | None = None) -> bool:
    """Tell whether a commit ended half way or a report waits; a running commit is waited for.

    Raises:
        WorkspaceError: another process is committing for too long.
    """
    if not store.directory.is_dir():
        return False
    with store.locked() as store_fd:
        return journals.exists(ops or real_ops(), store_fd)


def recover(
    root: Root, store: CommitStore, *, acknowledge: bool = False, ops: FileOps | None = None
) -> RecoveryReport:
    """End an unfinished commit as far as it is certain how. Blocking; safe to repeat.

    Args:
        root: The workspace, held by descriptor.
        store: Its place in the state directory.
        acknowledge: The user sees the report, so the workspace need not stay closed.
        ops: Operations on the disk; the real ones by default.

    Raises:
        RecoveryNeeded: the journal is damaged.
        WorkspaceError: the disk failed, or another process is committing; try again.
    """
    disk = ops or real_ops()
    if not store.directory.is_dir():
        return RecoveryReport(ending=Ending.NOTHING, workspace=str(root.path))
    try:
        with store.locked() as store_fd:
            found = journals.read(disk, store_fd)
            if found is None:
                return RecoveryReport(ending=Ending.NOTHING, workspace=str(root.path))
            return _Recovery(Tree(disk, root), store_fd, store.preserved, found).run(
                acknowledge=acknowledge
            )
    except OSError as error:
        raise explained(error, "recover the workspace") from error


class _Recovery:
    """One unfinished commit being ended."""

    def __init__(self, tree: Tree, store_fd: int, preserved: Path, found: Journaled) -> None:
        self._tree = tree
        self._store_fd = store_fd
        self._found = found
        self._plan: Plan = found.plan
        self._preserved = preserved / found.plan.nonce
        self._copied: set[str] = set()

    def run(self, *, acknowledge: bool) -> RecoveryReport:
        """Do what is certain, report, and forget the journal where nothing is left to say."""
        stage = Stage.find(self._tree, self._plan.stage)
        try:
            unknown = self._end(stage)
            kept = self._clear(stage)
        finally:
            if stage is not None:
                stage.close()
        is_blocked = bool(unknown) and not acknowledge
        if not is_blocked:
            journals.remove(self._tree.ops, self._store_fd)
            self._tree.ops.fsync(self._store_fd)
        return RecoveryReport(
            ending=self._ending(unknown),
            workspace=str(self._tree.root.path),
            changeset=self._plan.changeset,
            paths=tuple(sorted({step.path for step in self._plan.steps})),
            unknown=unknown,
            is_blocked=is_blocked,
            kept=kept,
        )

    def _ending(self, unknown: tuple[Unknown, ...]) -> Ending:
        if unknown:
            return Ending.UNKNOWN
        is_new = self._found.mark is Mark.COMMITTED
        return Ending.FINISHED if is_new else Ending.ROLLED_BACK

    def _end(self, stage: Stage | None) -> tuple[Unknown, ...]:
        """Take back what is to be taken back, and mark how it ended."""
        if self._found.mark is Mark.SETTLED:
            return _unknown_from(self._found.report)
        if self._found.mark is not Mark.APPLYING:
            return ()
        left = Undo(self._tree, stage, is_live=False).all(self._plan.steps)
        unknown = tuple(
            Unknown(path=path, why=why, preserved=self._keep_other(stage, path))
            for path, why in sorted(left.items())
        )
        journal = Journal.resume(self._tree.ops, self._store_fd, self._found)
        try:
            if unknown:
                journal.mark(Mark.SETTLED, {"unknown": [each.as_json() for each in unknown]})
            else:
                journal.mark(Mark.UNDONE)
        finally:
            journal.close()
        return unknown

    def _keep_other(self, stage: Stage | None, path: str) -> str:
        """Copy the version of a path that is not in its place; return where it lies."""
        for step in self._plan.steps:
            if stage is None or step.path != path:
                continue
            found = stage.look(step)
            if found is None:
                continue
            side = _side(step, found)
            copy = preserve(self._tree.ops, stage.fd, step, found, self._preserved / side)
            if copy is not None:
                self._copied.add(step.slot)
                return str(copy)
            if found.entry is None or found.entry.type is not EntryType.DIRECTORY or side != "new":
                return str(self._tree.root.path / self._plan.stage / step.slot)
        return ""

    def _clear(self, stage: Stage | None) -> str:
        """Delete what is proved to be a copy of something known; return what is left, if any."""
        if stage is not None:
            self._gather(stage)
        if stage is None or stage.clear(self._plan.steps, may_go=lambda s: self._may_go(stage, s)):
            return ""
        return str(self._tree.root.path / self._plan.stage)

    def _gather(self, stage: Stage) -> None:
        """Bring new entries back to their slots that lie in a new directory which itself does.

        A power loss may keep the rename of an entry into a directory, and lose the earlier one of
        that directory into the tree.
        """
        by_path = {
            s.path: s for s in self._plan.steps if s.action in {Action.PLACE, Action.REPLACE}
        }
        ops = self._tree.ops
        present = set(ops.names(stage.fd))
        for step in self._plan.steps:
            is_directory = step.after is not None and step.after.type is EntryType.DIRECTORY
            if not is_directory or step.slot not in present:
                continue
            with suppress(NotADirectoryError), opened(ops, ops.open_dir(stage.fd, step.slot)) as fd:
                for name in ops.names(fd):
                    inner = by_path.get(f"{step.path}/{name}")
                    if (
                        inner
                        and inner.slot not in present
                        and is_as(inner.after, look(ops, fd, name))
                    ):
                        ops.move(fd, name, stage.fd, inner.slot)
                        present.add(inner.slot)

    def _may_go(self, stage: Stage, step: Step) -> bool:
        if self._found.mark is None or step.slot in self._copied:
            return True
        found = stage.look(step)
        if found and found.entry and found.entry.type is EntryType.DIRECTORY:
            return True  # only an empty one can be deleted
        return is_as(step.before, found) or is_as(step.after, found)


def _side(step: Step, found: Found) -> str:
    if is_as(step.before, found):
        return "old"
    return "new" if is_as(step.after, found) else "found"


def _unknown_from(report: Mapping[str, object]) -> tuple[Unknown, ...]:
    rows = cast("list[Mapping[str, str]]", report["unknown"])
    return tuple(
        Unknown(path=row["path"], why=row["why"], preserved=row["preserved"]) for row in rows
    )
