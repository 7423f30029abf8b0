"""Directories that only this user may enter, and the lock on what they hold."""

import os
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from luminaguard.errors import VmError
from luminaguard.vm.linux import try_lock, user_id

_LOCK_POLL_S = 0.05


def make_private(directory: Path) -> bool:
    """Make `directory` 0700 if it does not exist; return whether only this user may enter it.

    What is missing above it is made 0700 as well: it may be somebody else's private directory.
    """
    for place in (*reversed(directory.parents), directory):
        if not place.exists():
            place.mkdir(mode=0o700, exist_ok=True)
    about = os.lstat(directory)
    mine = about.st_uid == user_id() and stat.S_ISDIR(about.st_mode)
    return mine and stat.S_IMODE(about.st_mode) & 0o077 == 0


@asynccontextmanager
async def cache_lock(directory: Path, *, limit_s: float) -> AsyncGenerator[None]:
    """Hold the only lock on what a cache directory holds, over all processes.

    The kernel frees it when its holder dies, however it dies.

    Raises:
        VmError: another process held it all the time.
    """
    os.makedirs(directory, mode=0o700, exist_ok=True)
    fd = os.open(directory / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        with anyio.move_on_after(limit_s) as waited:
            while not try_lock(fd):  # noqa: ASYNC110 - the kernel tells nobody of a freed flock
                await anyio.sleep(_LOCK_POLL_S)
        if waited.cancelled_caught:
            raise VmError(
                f"another process has been busy in {directory} for {limit_s:g} s",
                hint="wait for it, or end it",
            )
        yield
    finally:
        os.close(fd)
