"""What was sent into a guest: the base that every measured change is against.

A manifest lists each entry of the workspace image with the identity that its host file had while
it was read. Identity, not content, is what later checks compare first: hashing a whole tree for
every session would cost more than all else. Content is hashed where identity alone could lie (a
file changed within the clock's granularity of being read) and for every file that a change touches.
"""

import os
from dataclasses import dataclass, replace
from hashlib import sha256

from luminaguard.domain.changeset import Entry, EntryType


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which file, in which state: equal identities mean an untouched file."""

    dev: int
    ino: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Identity":
        """Take the identity out of a stat result."""
        return cls(
            dev=status.st_dev,
            ino=status.st_ino,
            size=status.st_size,
            mtime_ns=status.st_mtime_ns,
            ctime_ns=status.st_ctime_ns,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestEntry:
    """One path of the base: its state as sent, and its host file's identity at that moment."""

    type: EntryType
    mode: int
    identity: Identity
    target: str | None = None
    """Of a symbolic link."""
    sha256: str | None = None
    """Of a file's bytes, where known."""
    substituted: bool = False
    """The guest got other bytes than the host has (a secret was cut out): it cannot be changed."""

    def entry(self, digest: str | None = None) -> Entry:
        """Return the domain value, with the content's digest where it was found out since."""
        is_file = self.type is EntryType.FILE
        return Entry(
            type=self.type,
            mode=self.mode,
            size=self.identity.size if is_file else 0,
            sha256=(digest or self.sha256) if is_file else None,
            target=self.target,
        )

    def with_sha256(self, digest: str) -> "ManifestEntry":
        """Return the same entry, its content's digest known."""
        return replace(self, sha256=digest)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Base of a session: path → entry, and what stayed behind.

    Paths are relative to the root, `/`-separated; the root itself is not listed.
    """

    entries: dict[str, ManifestEntry]
    left_out: dict[str, str]
    """Path → why it was not sent: "secret", "ignored", "host binaries", "special file", ..."""

    @property
    def digest(self) -> str:
        """SHA-256 over every listed entry's path, type, mode and identity, hexadecimal."""
        running = sha256()
        for path, held in sorted(self.entries.items()):
            running.update(fingerprint(path, held))
        return running.hexdigest()


def fingerprint(path: str, held: ManifestEntry) -> bytes:
    """Return the bytes that a base's digest is taken over; no two entries share them.

    NUL separates the fields: neither a path nor a link's target can hold one.
    """
    mark = held.identity
    return (
        f"{path}\0{held.type.value}\0{held.mode:o}\0{held.target or ''}\0{mark.dev}\0{mark.ino}"
        f"\0{mark.size}\0{mark.mtime_ns}\0{mark.ctime_ns}\0\n"
    ).encode()
