"""What the user, or another program, changed on the host while a session runs."""

import os
import stat

from luminaguard.domain.changeset import EntryType
from luminaguard.workspace.base import Base
from luminaguard.workspace.confined import Descent
from luminaguard.workspace.manifest import ManifestEntry
from luminaguard.workspace.root import WorkspaceRoot
from luminaguard.workspace.send.imaging import is_unmoved


def moved_on_host(root: WorkspaceRoot, base: Base) -> tuple[str, ...]:
    """Return the paths whose host entry is not the base's any more, sorted. Blocking.

    Only what was sent is looked at; files made since are found when a change meets them.
    """
    moved: list[str] = []
    with Descent(root.fd) as tree:
        for parent, names in base.tree.items():
            try:
                fd = tree.directory(parent)
            except OSError:
                fd = -1
            prefix = f"{parent}/" if parent else ""
            for name in names:
                held = base.get(prefix + name)
                if held is None or fd < 0 or _moved(fd, name, held):
                    moved.append(prefix + name)
    return tuple(sorted(moved))


def _moved(fd: int, name: str, held: ManifestEntry) -> bool:
    try:
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
    except OSError:
        return True
    if held.type is EntryType.DIRECTORY:
        is_same = status.st_ino == held.identity.ino and status.st_dev == held.identity.dev
        return not (is_same and stat.S_ISDIR(status.st_mode))
    return not is_unmoved(status, held.identity)
