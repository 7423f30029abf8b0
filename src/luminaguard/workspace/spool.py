"""The bytes that came out of a guest, written once on the host and never again.

Content-addressed: the changeset's digest is computed from what was written here, and the commit
reads nothing else. The directory is private (0700, files 0600) and lives in the state directory.
"""

import os
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from luminaguard.errors import WorkspaceTooLarge


class SpoolFile:
    """One file being received: bytes at ascending offsets, holes allowed."""

    def __init__(self, spool: "Spool", path: Path) -> None:
        self._spool = spool
        self._path = path
        self._file: BinaryIO = open(path, "xb", opener=_private)  # noqa: SIM115 - closed by finish or abandon

    def write(self, offset: int, content: bytes) -> None:
        """Write a run of bytes.

        Raises:
            WorkspaceTooLarge: the spool's quota is used up.
        """
        self._spool.take(len(content))
        self._file.seek(offset)
        self._file.write(content)

    def finish(self, size: int) -> str:
        """Set the final size, and return the digest that the content is found under."""
        self._file.truncate(size)
        self._file.close()
        with self._path.open("rb") as content:
            digest = _digest(content)
        self._path.replace(self._spool.directory / digest)
        return digest

    def abandon(self) -> None:
        """Forget what was received."""
        self._file.close()
        self._path.unlink(missing_ok=True)


class Spool:
    """A private, content-addressed store for one call's bytes."""

    def __init__(self, directory: Path, *, quota_bytes: int) -> None:
        """Make the directory; `quota_bytes` bounds what may be written in all."""
        self.directory = directory
        self._left_bytes = quota_bytes
        directory.mkdir(mode=0o700, parents=True)

    def take(self, count: int) -> None:
        """Use up `count` bytes of the quota.

        Raises:
            WorkspaceTooLarge: less than that is left.
        """
        if count > self._left_bytes:
            raise WorkspaceTooLarge(
                "the guest changed more bytes than may be taken back",
                hint="raise workspace.max_changeset_bytes in the configuration",
            )
        self._left_bytes -= count

    def receive(self) -> SpoolFile:
        """Begin a file."""
        return SpoolFile(self, self.directory / f"incoming-{secrets.token_hex(8)}")

    def add(self, content: bytes) -> str:
        """Store whole content and return its digest."""
        incoming = self.receive()
        incoming.write(0, content)
        return incoming.finish(len(content))

    def path(self, digest: str) -> Path:
        """Where content lies."""
        return self.directory / digest

    @contextmanager
    def open(self, digest: str) -> Generator[BinaryIO]:
        """Open content for reading."""
        with self.path(digest).open("rb") as content:
            yield content

    def close(self) -> None:
        """Delete everything."""
        shutil.rmtree(self.directory, ignore_errors=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _digest(content: BinaryIO) -> str:
    running = sha256()
    while block := content.read(1 << 20):
        running.update(block)
    return running.hexdigest()
