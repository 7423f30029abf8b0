"""What a tree is, to the last bit: for tests that say that nothing changed."""

import os
from hashlib import sha256
from pathlib import Path


def fingerprint(root: Path) -> dict[str, tuple[object, ...]]:
    """Return path → everything about it that a user could notice: type, mode, mtime, content."""
    found: dict[str, tuple[object, ...]] = {}
    for top, directories, files in os.walk(root):
        for path in (Path(top), *(Path(top) / name for name in (*directories, *files))):
            status = path.lstat()
            content = ""
            if path.is_symlink():
                content = os.readlink(path)
            elif path.is_file():
                content = sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(root))] = (
                oct(status.st_mode),
                status.st_mtime_ns,
                status.st_ino,
                content,
            )
    return found
