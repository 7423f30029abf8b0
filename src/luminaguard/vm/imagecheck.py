"""That an image's files still are what its digest names: hashed once, then watched by identity.

Clones go on reading the root disk of the image that their template was made of. Hashing it for
every machine would cost more than starting the machine, so its files are hashed when a template is
made, and again when the kernel says that anything about them has changed: their change time moves
with every write, and no program can set it. Source: inode(7), "Last status change timestamp".
"""

import os
import uuid
from contextlib import suppress
from pathlib import Path

from luminaguard.image.image import GuestImage
from luminaguard.image.store import ImageStore

RECORD = "image-files"
"""File beside a template: the identities of its image's files when they were last hashed."""


class ImageCheck:
    """Remembers, for this process, which images were found whole."""

    def __init__(self) -> None:
        """Know of none yet."""
        self._whole: dict[Path, str] = {}

    def require(self, image: GuestImage, record: Path | None = None) -> None:
        """Return if the image is what its digest says. Blocking; 0.2 s when it must be hashed.

        Args:
            image: Its manifest, kernel, RAM disks and root disk are looked at.
            record: Where an earlier process noted the identities; brought up to date.

        Raises:
            ImageError: a file is missing or was changed; the message names the first one.
        """
        marks = _marks(image.directory)
        if self._whole.get(image.directory) == marks:
            return
        if record is None or _read(record) != marks:
            ImageStore(image.directory).verify(image)
            if record is not None:
                with suppress(OSError):  # it will be hashed once more
                    _write(record, marks)
        self._whole[image.directory] = marks


def _marks(directory: Path) -> str:
    """Return the identity of each file, in a form that changes with any of them."""
    lines: list[str] = []
    with suppress(OSError):  # a file that is missing is found when the image is hashed
        for name in sorted(os.listdir(directory)):
            about = os.stat(directory / name)
            times = f"{about.st_mtime_ns} {about.st_ctime_ns}"
            lines.append(f"{name} {about.st_dev} {about.st_ino} {about.st_size} {times}")
    return "\n".join(lines)


def _read(record: Path) -> str | None:
    try:
        return record.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def _write(record: Path, marks: str) -> None:
    fresh = record.with_name(f".{record.name}-{uuid.uuid4().hex}")
    fresh.write_text(marks, encoding="utf-8")
    fresh.chmod(0o600)
    fresh.rename(record)
