"""Directories that belong to a living process: what a dead one left, the next one removes.

The owner holds an flock on the directory itself, which the kernel frees with its process, however
that ends. So nothing that is in use is ever taken for a leftover.
"""

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from luminaguard.errors import VmError
from luminaguard.vm.directories import make_private
from luminaguard.vm.linux import DIRECTORY, NO_FOLLOW, try_lock

_TRIES = 10


class OwnedDirectory:
    """One private directory of this process. Made by `make_owned`."""

    def __init__(self, path: Path, lock: int) -> None:
        """Take over a directory and the lock on it."""
        self.path = path
        self._lock: int | None = lock

    def remove(self) -> None:
        """Delete it with all that it holds. Blocking; idempotent; never fails."""
        if self._lock is None:
            return
        remove_tree(self.path)
        os.close(self._lock)
        self._lock = None


def make_owned(parent: Path, prefix: str) -> OwnedDirectory:
    """Return a new directory in `parent`, 0700, that is this process's own. Blocking.

    Its name starts with `prefix` and ends in 16 random digits.

    Raises:
        VmError: others may enter `parent`, or it cannot be written.
    """
    try:
        if not make_private(parent):
            raise VmError(f"others may enter {parent}", hint=f"chmod 700 {parent}")
        for _ in range(_TRIES):
            path = parent / f"{prefix}{secrets.token_hex(8)}"
            path.mkdir(mode=0o700)
            with suppress(FileNotFoundError):  # swept before it was locked
                lock = os.open(path, os.O_RDONLY | DIRECTORY | NO_FOLLOW)
                if try_lock(lock) and path.exists():
                    return OwnedDirectory(path, lock)
                os.close(lock)
    except OSError as problem:
        raise VmError(
            f"a machine's directory cannot be made in {parent}: {problem.strerror}",
            hint="free some space there, or set LUMINAGUARD_STATE_DIR to another place",
        ) from problem
    raise VmError(f"no directory could be had in {parent}", hint="try again")


def remove_dead(parent: Path) -> None:
    """Remove what dead processes left in `parent`; never what a living one owns. Blocking.

    Never fails: what cannot be removed is left to the next one.
    """
    with suppress(OSError):
        for entry in list(os.scandir(parent)):
            if entry.is_dir(follow_symlinks=False):
                remove_unused(Path(entry.path))


def remove_unused(path: Path) -> bool:
    """Remove a directory that nobody holds a lock on; return whether that was so. Blocking."""
    try:
        lock = os.open(path, os.O_RDONLY | DIRECTORY | NO_FOLLOW)
    except PermissionError:  # a mode that keeps even its owner out: no owner of ours made that
        remove_tree(path)
        return True
    except OSError:
        return False
    try:
        unused = try_lock(lock)
        if unused:
            remove_tree(path)
        return unused
    finally:
        os.close(lock)


def remove_tree(top: Path) -> None:
    """Remove a directory, whatever modes the files of a workspace have. Never fails. Blocking.

    An ordinary user cannot remove a file from a directory that is not writable: such ones are
    opened up first. No symbolic link is followed.
    """
    shutil.rmtree(top, ignore_errors=True)
    if os.path.lexists(top):
        _open_up(top)
        shutil.rmtree(top, ignore_errors=True)


def _open_up(top: Path) -> None:
    waiting = [str(top)]
    while waiting:
        place = waiting.pop()
        with suppress(OSError):
            os.chmod(place, 0o700)
            with os.scandir(place) as entries:
                waiting += [one.path for one in entries if one.is_dir(follow_symlinks=False)]
