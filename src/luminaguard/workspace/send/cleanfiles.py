"""Which files were found free of secrets, so that a second session need not search them again.

A file is known by its identity: any write changes that. Files that changed so recently that their
identity could lie are never remembered, and everything is forgotten when the patterns change.
"""

import os
import secrets
import struct
from pathlib import Path

from luminaguard.workspace.manifest import Identity
from luminaguard.workspace.send.secrets import PATTERNS_DIGEST

_RECORD = struct.Struct("<QQQqq")
_MAX_BYTES = 16 + 400_000 * _RECORD.size
_KEPT_OF_OTHERS = 50_000
"""Up to this many records, those of other workspaces and older states are kept too."""


class CleanFiles:
    """A set of searched files, kept in one private file between runs."""

    def __init__(self, path: Path | None = None) -> None:
        """Load what was kept at `path`; without one, remember within this process only."""
        self._path = path
        self._known: set[tuple[int, int, int, int, int]] = _load(path) if path else set()
        self._seen: set[tuple[int, int, int, int, int]] = set()

    def holds(self, identity: Identity) -> bool:
        """Tell whether this very state of a file was found clean."""
        key = _key(identity)
        if key not in self._known:
            return False
        self._seen.add(key)
        return True

    def add(self, identity: Identity) -> None:
        """Remember a file as clean."""
        self._seen.add(_key(identity))

    def save(self) -> None:
        """Keep what was seen since the last save, and of the rest what is not too much.

        It only saves time, so a full disk or a missing directory is no error.
        """
        known = self._known | self._seen
        if len(known) > max(_KEPT_OF_OTHERS, len(self._seen)):
            known = self._seen
        if known != self._known and self._path is not None:
            _store(self._path, known)
        self._known, self._seen = known, set()


def _key(identity: Identity) -> tuple[int, int, int, int, int]:
    return (
        identity.dev,
        identity.ino,
        identity.size,
        identity.mtime_ns,
        identity.ctime_ns,
    )


def _load(path: Path) -> set[tuple[int, int, int, int, int]]:
    try:
        with path.open("rb") as kept:
            content = kept.read(_MAX_BYTES + 1)
    except OSError:
        return set()
    records = content[16:]
    if content[:16] != PATTERNS_DIGEST or len(content) > _MAX_BYTES or len(records) % _RECORD.size:
        return set()
    return set(_RECORD.iter_unpack(records))  # pyright: ignore[reportReturnType]


def _store(path: Path, known: set[tuple[int, int, int, int, int]]) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with open(temporary, "xb", opener=_private) as kept:
            kept.write(PATTERNS_DIGEST)
            kept.writelines(_RECORD.pack(*key) for key in known)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
