"""Room on the disk that images are built on: asked for first, and missed with a clear word."""

import errno
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from luminaguard.errors import ImageError

_HINT = "free some space, or point LUMINAGUARD_CACHE_DIR to another disk"


def require(directory: Path, needed_bytes: int) -> None:
    """Check that a directory's disk has room before work begins.

    Raises:
        ImageError: it has not.
    """
    free = shutil.disk_usage(directory).free
    if free < needed_bytes:
        raise ImageError(
            f"an image needs about {_mb(needed_bytes)} MB, and {directory} has {_mb(free)} MB left",
            hint=_HINT,
        )


@contextmanager
def explained() -> Generator[None]:
    """Turn a disk that fills up meanwhile into an `ImageError`."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise full() from error
        raise


def full() -> ImageError:
    """Return the error for a disk that has no room left."""
    return ImageError("the disk with the cache directory is full", hint=_HINT)


def names_full_disk(complaint: str) -> bool:
    """Whether a tool's words say that it ran out of room."""
    return "No space left on device" in complaint or "Disk quota exceeded" in complaint


def _mb(count: int) -> int:
    return -(-count // 1_000_000)
