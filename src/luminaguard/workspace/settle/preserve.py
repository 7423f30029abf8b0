"""Keep the version of a path that recovery may not put back, outside the workspace."""

import os
from pathlib import Path

from luminaguard.domain.changeset import EntryType
from luminaguard.workspace.settle.fileops import FileOps
from luminaguard.workspace.settle.inspect import BLOCK_BYTES, Found, opened
from luminaguard.workspace.settle.lock import make_durable, sync_directory
from luminaguard.workspace.settle.plan import Step


def preserve(ops: FileOps, stage_fd: int, step: Step, found: Found, place: Path) -> Path | None:
    """Copy what lies in a step's slot to `place`/PATH, durably; doing it again is harmless.

    Returns:
        Where it lies now; None for a directory, which has no content of its own.

    Raises:
        OSError: it could not be copied.
    """
    if found.entry is None or found.entry.type is EntryType.DIRECTORY:
        return None
    to = place / step.path
    make_durable(to.parent)
    incoming = to.with_name(f"{to.name[:200]}.incoming")
    incoming.unlink(missing_ok=True)
    if found.entry.type is EntryType.SYMLINK:
        incoming.symlink_to(found.entry.target or "")
    else:
        _copy(ops, stage_fd, step.slot, incoming)
    incoming.replace(to)
    sync_directory(to.parent)
    return to


def _copy(ops: FileOps, stage_fd: int, slot: str, to: Path) -> None:
    descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with (
        os.fdopen(descriptor, "wb") as copy,
        opened(ops, ops.open_read(stage_fd, slot)) as fd,
    ):
        while block := ops.read(fd, BLOCK_BYTES):
            copy.write(block)
        copy.flush()
        os.fsync(copy.fileno())
