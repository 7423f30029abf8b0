"""One build at a time in a cache directory."""

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from luminaguard.errors import ImageError

if sys.platform != "win32":
    import fcntl

_POLL_S = 0.2


@contextmanager
def alone(
    path: Path, patience_s: float, progress: Callable[[str, float | None], None]
) -> Generator[None]:
    """Hold the lock that keeps builds apart; the kernel drops it with the process.

    Raises:
        ImageError: another build holds it for longer than `patience_s`.
    """
    if sys.platform == "win32":
        raise ImageError("Windows cannot build guest images")
    deadline = time.monotonic() + patience_s
    with path.open("w") as lock:
        while not _locked(lock):
            if time.monotonic() >= deadline:
                raise ImageError(
                    "another image build is running in this cache directory",
                    hint="wait for it to end, then try again",
                )
            progress("waiting for another build to end", None)
            time.sleep(_POLL_S)
        yield


def _locked(lock: IO[str]) -> bool:
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
