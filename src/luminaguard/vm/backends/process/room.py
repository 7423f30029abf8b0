"""The directory that one machine is shown: the agent, its orders, and the workspace's files."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from luminaguard.vm import trees
from luminaguard.vm.agentfiles import copy_agent
from luminaguard.vm.hardening import HardeningProfile
from luminaguard.vm.linux import DIRECTORY, NO_FOLLOW, try_lock

_PREFIX = "process-"
_UNFINISHED = ".process-"
_ABANDONED_S = 600.0
"""Age of an unlocked, unnamed directory that nobody can still be making."""


class Room:
    """One machine's private directory; whose owner lives is known by the lock on it."""

    def __init__(self, runtime_dir: Path, name: str, owner: int | None) -> None:
        """Make it, locked from the first moment at which it bears its name.

        Args:
            runtime_dir: Private directory of this user's running LuminaGuard.
            name: Unique; it carries the owner's mark.
            owner: Host user that the workspace's files belong to; None: whoever unpacks them.
        """
        self.directory = runtime_dir / f"{_PREFIX}{name}"
        self._owner = owner
        unfinished = runtime_dir / f"{_UNFINISHED}{name}"
        unfinished.mkdir(mode=0o700)
        self._lock = _open(unfinished)
        try_lock(self._lock)
        unfinished.rename(self.directory)

    @property
    def shown(self) -> Path:
        """What the guest sees, read-only, at /mnt."""
        return self.directory / "shown"

    @property
    def lower(self) -> Path:
        """The workspace's files, once they are there."""
        return self.shown / "lower"

    def write(self, profile: HardeningProfile) -> None:
        """Make everything that a start needs. Blocking.

        Whoever may enter it may read it all, whatever the caller's umask: the guest is another
        user.
        """
        agent = self.shown / "agent"
        for place in (self.shown, self.lower, agent):
            place.mkdir()
        copy_agent(agent / "luminaguard_guest")
        (self.shown / "profile.json").write_bytes(profile.to_bytes())
        self.limit_scratch(0)
        for place in (self.shown, *self.shown.rglob("*")):
            place.chmod(0o755 if place.is_dir() else 0o644)

    def limit_scratch(self, size_bytes: int) -> None:
        """Tell the guest how much commands may write."""
        (self.shown / "scratch-bytes").write_text(f"{size_bytes}\n", encoding="ascii")

    def furnish(self, workspace_fd: int) -> None:
        """Unpack a workspace image into what the guest sees. Blocking."""
        trees.unpack(workspace_fd, self.lower)
        if self._owner is not None:
            for place in _below(os.fsencode(self.lower)):
                os.chown(place, self._owner, self._owner, follow_symlinks=False)

    def remove(self) -> None:
        """Remove everything. Blocking; idempotent."""
        _remove(self.directory)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def sweep(runtime_dir: Path) -> None:
    """Remove what killed LuminaGuard processes left; never touch a living one's. Blocking."""
    for directory in runtime_dir.glob(f"{_PREFIX}*"):
        _remove_abandoned(directory)
    for directory in runtime_dir.glob(f"{_UNFINISHED}*"):
        with suppress(OSError):
            if time.time() - directory.stat().st_mtime > _ABANDONED_S:
                _remove_abandoned(directory)


def _remove_abandoned(directory: Path) -> None:
    with suppress(OSError):
        lock = _open(directory)
        try:
            if try_lock(lock):
                _remove(directory)
        finally:
            os.close(lock)


def _open(directory: Path) -> int:
    return os.open(directory, os.O_RDONLY | DIRECTORY | NO_FOLLOW)


def _remove(directory: Path) -> None:
    """Remove a tree, directories without write permission among it; leave what resists."""

    def insist(act: Callable[..., object], path: str, _error: object) -> None:
        with suppress(OSError):
            os.chmod(os.path.dirname(path), 0o700)
            if act is not os.rmdir and os.path.isdir(path) and not os.path.islink(path):
                os.chmod(path, 0o700)
                shutil.rmtree(path, ignore_errors=True)
            else:
                act(path)

    shutil.rmtree(directory, onerror=insist)


def _below(top: bytes) -> Iterator[bytes]:
    """Yield a directory and everything below it; no symbolic link is followed."""
    yield top
    waiting = [top]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                yield entry.path
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
