"""Reading a project's files as hostile text: regular files only, no links, within bounds."""

import json
import os
import stat
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from luminaguard.errors import ImageError

_MAX_BYTES = 1 << 20
_MAX_LOCK_BYTES = 32 << 20
_MAX_NAMES = 5000
_MAX_LINE = 2000


class ProjectFiles:
    """The files of a project's directory. What cannot be read is as if it were not there."""

    def __init__(self, root: Path) -> None:
        """Look at `root`.

        Raises:
            ImageError: it is no directory.
        """
        self.root = root
        if not root.is_dir():
            raise ImageError(f"{root} is no directory", hint="name the project's directory")

    def names(self, directory: str = "") -> list[str]:
        """Return the names of regular files directly in a directory, sorted; the first 5,000."""
        try:
            with os.scandir(self.root / directory) as entries:
                found = [each.name for each in entries if each.is_file(follow_symlinks=False)]
        except OSError:
            return []
        return sorted(found)[:_MAX_NAMES]

    def text(self, path: str, *, limit: int = _MAX_BYTES) -> str | None:
        """Return a file's text; None if it is missing, special, a link, or too large."""
        # Without O_NONBLOCK a named pipe would be waited for.
        flags = os.O_RDONLY
        if sys.platform != "win32":
            flags |= os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            fd = os.open(self.root / path, flags)
        except OSError:
            return None
        with open(fd, "rb") as stream:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
                return None
            return stream.read(limit).decode("utf-8-sig", "replace")

    def lines(self, path: str) -> Iterator[str]:
        """Yield a file's lines, those that are absurdly long cut."""
        for line in (self.text(path) or "").split("\n"):
            yield line[:_MAX_LINE].rstrip("\r")

    def toml(self, path: str) -> dict[str, object]:
        """Return a TOML file's table; empty if it cannot be read."""
        try:
            return tomllib.loads(self.text(path) or "")
        except (ValueError, RecursionError):
            return {}

    def json(self, path: str) -> dict[str, object]:
        """Return a JSON file's object; empty if it cannot be read."""
        try:
            return table_of(json.loads(self.text(path, limit=_MAX_LOCK_BYTES) or "{}"))
        except (ValueError, RecursionError):
            return {}


def table_of(value: object) -> dict[str, object]:
    """Return a table as one, and anything else as an empty one."""
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def strings_of(value: object) -> list[str]:
    """Return the strings in a list; of anything else none."""
    items = cast("list[object]", value) if isinstance(value, list) else []
    return [item for item in items if isinstance(item, str)]
