"""Look at every touched path on the host before anything is done there.

Nothing is changed here, so what is found out of place leaves the workspace exactly as it was.
"""

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import stat_result

from luminaguard.domain.changeset import EntryType
from luminaguard.errors import ChangesetConflict
from luminaguard.workspace.manifest import Identity
from luminaguard.workspace.settle.inspect import Found, is_as, look
from luminaguard.workspace.settle.plan import Action, Step
from luminaguard.workspace.settle.tree import MOVED, Tree, listed


@dataclass(frozen=True, slots=True)
class Checked:
    """The tree as it was found, and found right."""

    origins: dict[str, stat_result] = field(default_factory=dict[str, stat_result])
    """Path → status of what a step starts from."""
    parents: dict[str, stat_result] = field(default_factory=dict[str, stat_result])
    """Path → status of each directory that is there before the commit and that it works in."""

    def holder(self, path: str) -> stat_result:
        """Return the status of the nearest directory that is there above `path`."""
        while True:
            path = path.rpartition("/")[0]
            if path in self.parents:
                return self.parents[path]


def verify(tree: Tree, steps: tuple[Step, ...], base: Mapping[str, Identity]) -> Checked:
    """Return what was found where everything is as the changeset expects it.

    Raises:
        ChangesetConflict: the host moved; the message names the paths.
        OSError: something cannot be read, or lies on another mount.
    """
    checked = Checked()
    made = {
        step.path
        for step in steps
        if step.after is not None
        and step.after.type is EntryType.DIRECTORY
        and step.action is not Action.CHMOD
    }
    removed = {step.path for step in steps if step.action is Action.REMOVE}
    with tree.directory("") as root_fd:
        checked.parents[""] = tree.ops.fstat(root_fd)
    wrong: dict[str, str] = {}
    seen: set[str] = set()
    for step in steps:
        # Later steps of a path start from what an earlier one will have made.
        why = "" if step.path in seen else _wrong(tree, step, base, checked, made)
        why = why or ("" if step.path in wrong else _unlisted(tree, step, removed))
        if why:
            wrong[step.path] = why
        seen.add(step.path)
    if wrong:
        raise conflict(wrong)
    return checked


def conflict(wrong: Mapping[str, str]) -> ChangesetConflict:
    """Return the error for paths that are not what they were (path → in which way)."""
    told = [f"{path} ({why})" for path, why in sorted(wrong.items())]
    return ChangesetConflict(
        f"the workspace changed meanwhile, so nothing was committed: {listed(told)}",
        hint="run the call again: it will start from the workspace as it is now",
        paths=sorted(wrong),
    )


def _wrong(
    tree: Tree, step: Step, base: Mapping[str, Identity], checked: Checked, made: set[str]
) -> str:
    """Return in which way a path is not as expected; "" when it is."""
    try:
        with tree.directory(step.parent) as fd:
            checked.parents.setdefault(step.parent, tree.ops.fstat(fd))
            found = look(tree.ops, fd, step.name)
    except OSError as error:
        if error.errno not in MOVED:
            raise
        if step.before is None and step.parent in made:
            return ""
        return "its directory is not there any more"
    if step.before is None:
        return "" if found is None or step.parent in made else "something is there now"
    if found is None:
        return "it is gone"
    checked.origins[step.path] = found.status
    if found.status.st_dev != tree.root.dev:
        raise OSError(errno.EXDEV, "mounted", step.path)
    return _moved(step, found, base.get(step.path))


def _moved(step: Step, found: Found, expected: Identity | None) -> str:
    """Return in which way a path that is there is not the one that was sent into the guest."""
    if expected is None:
        return "it was never sent into the guest"
    seen = found.identity()
    if found.entry is not None and found.entry.type is EntryType.DIRECTORY:
        is_same = (seen.dev, seen.ino) == (expected.dev, expected.ino)
    else:
        is_same = seen == expected
    if not is_same or not is_as(step.before, found):
        return "it was changed"
    return ""


def _unlisted(tree: Tree, step: Step, removed: set[str]) -> str:
    """Return what a directory that is to go still holds besides what is to go with it."""
    if step.before is None or step.before.type is not EntryType.DIRECTORY:
        return ""
    if step.action is Action.CHMOD:
        return ""
    try:
        with tree.directory(step.path) as fd:
            kept = [n for n in tree.ops.names(fd) if f"{step.path}/{n}" not in removed]
    except OSError as error:
        if error.errno not in MOVED:
            raise
        return "it is not a directory any more"
    return f"it still holds {listed(sorted(kept), 3)}" if kept else ""
