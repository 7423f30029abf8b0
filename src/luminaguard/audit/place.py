"""Where a log lies, and how one is begun.

`<state_dir>/audit` (0700): `log.db`, `head.json`, `key` (0600), `key.pub`, `lock`, one file per
live session in `sessions/`, and `root.json` once old records were taken out. It is made whole under
another name and then renamed, so that a missing part is tampering and never an interrupted start.
"""

import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from luminaguard.audit.chain import FIRST_PREV, link
from luminaguard.audit.files import make_private_directory, sync_directory, write_private
from luminaguard.audit.head import Head, SignedHead, Signer, create_key
from luminaguard.audit.lock import FileLock
from luminaguard.audit.records import Entry, RecordKind
from luminaguard.audit.store import SCHEMA, connect, insert, transaction
from luminaguard.domain.calls import canonical_json

DIRECTORY = "audit"

_TURN_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class LogPlace:
    """The directory of one log and the paths in it."""

    directory: Path

    @classmethod
    def below(cls, state_dir: Path) -> "LogPlace":
        """Return the place of a state directory's log."""
        return cls(state_dir / DIRECTORY)

    @property
    def exists(self) -> bool:
        """Whether a log was begun here; an empty directory is none."""
        return self.directory.is_dir() and any(self.directory.iterdir())

    @property
    def database(self) -> Path:
        """The records."""
        return self.directory / "log.db"

    @property
    def head(self) -> Path:
        """The signed head."""
        return self.directory / "head.json"

    @property
    def root(self) -> Path:
        """The signed root: the last record that was taken out, if ever one was."""
        return self.directory / "root.json"

    @property
    def key(self) -> Path:
        """The private key."""
        return self.directory / "key"

    @property
    def public_key(self) -> Path:
        """The public key."""
        return self.directory / "key.pub"

    @property
    def lock(self) -> Path:
        """Locked by whoever writes."""
        return self.directory / "lock"

    @property
    def sessions(self) -> Path:
        """Lock files of live sessions."""
        return self.directory / "sessions"


def create(place: LogPlace, clock: Callable[[], datetime]) -> None:
    """Begin a log: key, database, first record and head. If another process was faster, keep its.

    Raises:
        OSError: the directory cannot be made.
    """
    parent = place.directory.parent
    make_private_directory(parent)
    turn = FileLock(parent / f".{DIRECTORY}.lock")
    turn.acquire(_TURN_TIMEOUT_S)
    try:
        if not place.exists:
            _create_alone(place, LogPlace(parent / f".{DIRECTORY}.new"), clock)
    finally:
        turn.release()


def _create_alone(place: LogPlace, new: LogPlace, clock: Callable[[], datetime]) -> None:
    shutil.rmtree(new.directory, ignore_errors=True)  # of a start that was interrupted
    try:
        make_private_directory(new.directory)
        make_private_directory(new.sessions)
        _begin(new, create_key(new.key, new.public_key), clock)
        new.directory.rename(place.directory)
    finally:
        shutil.rmtree(new.directory, ignore_errors=True)
    sync_directory(place.directory.parent)


def time_text(moment: datetime) -> str:
    """Return a moment as records have it: UTC, microseconds, sortable as text."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def head_bytes(signed: SignedHead) -> bytes:
    """Return the content of `head.json`."""
    return canonical_json(signed.as_json()) + b"\n"


def _begin(place: LogPlace, signer: Signer, clock: Callable[[], datetime]) -> None:
    log_id = secrets.token_hex(16)
    body = {"log_id": log_id, "public_key": signer.public_key, "signature": "ed25519"}
    entry = Entry(kind=RecordKind.LOG_CREATED, body=body, session_id="")
    first = link(entry, seq=1, time=time_text(clock()), prev=FIRST_PREV)
    write_private(place.database, b"")
    database = connect(place.database)
    try:
        database.executescript(SCHEMA)
        with transaction(database):
            insert(database, [first], signer.sign_group_end(1, first.hash))
    finally:
        database.close()
    head = Head(log_id=log_id, seq=1, hash=first.hash, time=first.time)
    write_private(place.head, head_bytes(signer.sign_head(head)))
