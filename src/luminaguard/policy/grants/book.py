"""The grants that there are: one private file, sealed, read anew whenever it is asked.

A file that is damaged, was changed by something else, or could be written by others holds no grants
at all: that costs a question, never an effect. The seal's key lies beside the file, so it finds
accidents, stray copies and files that were put there, not somebody who has the user's own rights.
"""

import hmac
import json
import os
import secrets
import stat
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import cast

from luminaguard.domain.calls import JsonValue, canonical_json
from luminaguard.domain.grant import GrantScope
from luminaguard.errors import PolicyError
from luminaguard.policy.grants.grant import Fields, Grant, grant_from
from luminaguard.policy.turn import alone

FORMAT = 1
MAX_GRANTS = 200
MAX_BYTES = 4 * 1024 * 1024


class DamagedBook(Exception):
    """The grants file is not what was written; the message says how."""


@dataclass(slots=True, kw_only=True)
class GrantBook:
    """The grants of one user. Blocking; safe for several processes at once."""

    directory: Path
    """In the state directory; made when the first grant is kept."""
    now: Callable[[], datetime]
    warn: Callable[[str], None] = lambda _: None
    _warned: bool = field(default=False)

    def all(self) -> tuple[Grant, ...]:
        """Return every kept grant that is still open, oldest first; none if the file is damaged."""
        if not self._file.exists():
            return ()
        try:
            with self._turn():
                kept = self._read()
        except (DamagedBook, PolicyError) as problem:
            self._complain(str(problem))
            return ()
        return self._open(kept)

    def get(self, grant_id: str) -> Grant | None:
        """Return an open grant, or None."""
        return next((grant for grant in self.all() if grant.grant_id == grant_id), None)

    def add(self, grant: Grant) -> None:
        """Keep a grant.

        Raises:
            PolicyError: the file is damaged, or there are too many grants; it is not kept.
        """
        with self._turn(make=True):
            kept = self._open(self._read_or_raise())
            if len(kept) >= MAX_GRANTS:
                raise PolicyError(
                    f"there are {len(kept)} grants already",
                    hint="`luminaguard grants list`, then revoke some",
                )
            self._write((*kept, grant))

    def spend(self, grant_id: str) -> Grant:
        """Count one use of a grant, right before its effect, and return it as it is then.

        Raises:
            PolicyError: it was revoked, has expired or is used up; or the file is damaged.
        """
        if not self._file.exists():
            raise _gone(grant_id)
        with self._turn():
            kept = self._open(self._read_or_raise())
            grant = next((grant for grant in kept if grant.grant_id == grant_id), None)
            if grant is None:
                raise _gone(grant_id)
            spent = replace(grant, uses=grant.uses + 1)
            self._write(tuple(spent if held is grant else held for held in kept))
        return spent

    def revoke(self, grant_ids: Sequence[str]) -> tuple[str, ...]:
        """Drop grants at once, also for running sessions, and return those that there were.

        Raises:
            PolicyError: the file is damaged: then only `revoke_all` helps.
        """
        if not self._file.exists():
            return ()
        with self._turn():
            kept = self._open(self._read_or_raise())
            self._write(tuple(grant for grant in kept if grant.grant_id not in grant_ids))
        return tuple(grant.grant_id for grant in kept if grant.grant_id in grant_ids)

    def revoke_all(self) -> None:
        """Drop all grants, also a damaged file."""
        if self.directory.exists():
            with self._turn():
                self._file.unlink(missing_ok=True)

    def end_session(self, session_id: str) -> None:
        """Drop what was granted until the session's end."""
        ended = [
            grant.grant_id
            for grant in self.all()
            if grant.scope is GrantScope.SESSION and grant.session_id == session_id
        ]
        with suppress(PolicyError):  # they hold in no other session, and expire
            self.revoke(ended)

    @property
    def problem(self) -> str:
        """Why no grant counts at present; empty if all is well."""
        if not self._file.exists():
            return ""
        try:
            with self._turn():
                self._read()
        except (DamagedBook, PolicyError) as problem:
            return str(problem)
        return ""

    @property
    def _file(self) -> Path:
        return self.directory / "grants.json"

    @contextmanager
    def _turn(self, *, make: bool = False) -> Generator[None]:
        """Be alone with the files; a disk that fails is an error of ours."""
        try:
            if make:
                self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with alone(self.directory / "lock"):
                yield
        except OSError as error:
            raise PolicyError(f"cannot use the grants in {self.directory}: {error}") from error

    def _open(self, kept: Sequence[Grant]) -> tuple[Grant, ...]:
        now = self.now()
        return tuple(grant for grant in kept if grant.is_open(now))

    def _read_or_raise(self) -> tuple[Grant, ...]:
        try:
            return self._read()
        except DamagedBook as problem:
            raise PolicyError(
                f"no grant can be used or kept: {problem}",
                hint="`luminaguard grants revoke --all` begins anew",
            ) from problem

    def _read(self) -> tuple[Grant, ...]:
        content = self._content()
        if content is None:
            return ()
        try:
            document = cast("dict[str, JsonValue]", json.loads(content))
            grants, seal = document["grants"], document["seal"]
            is_known = document["format"] == FORMAT
        except (ValueError, RecursionError, KeyError, TypeError) as error:
            raise DamagedBook(f"{self._file} cannot be read: {type(error).__name__}") from error
        if not is_known or not hmac.compare_digest(str(seal), self._seal(grants)):
            raise DamagedBook(f"{self._file} is not as LuminaGuard wrote it")
        try:
            return tuple(grant_from(fields) for fields in cast("list[Fields]", grants))
        except ValueError as error:
            raise DamagedBook(f"{self._file} holds what is no grant: {error}") from error

    def _content(self) -> bytes | None:
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            descriptor = os.open(self._file, flags)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise DamagedBook(f"{self._file} is not a regular file")
            if sys.platform != "win32" and (
                status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077
            ):
                raise DamagedBook(f"{self._file} is open to others")
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise DamagedBook(f"{self._file} is too large")
        return content

    def _write(self, grants: Sequence[Grant]) -> None:
        kept: list[JsonValue] = [grant.as_json() for grant in grants]
        document = {"format": FORMAT, "grants": kept, "seal": self._seal(kept)}
        incoming = self.directory / f".grants.{os.getpid()}.incoming"
        incoming.unlink(missing_ok=True)
        _write_new(incoming, json.dumps(document, indent=1).encode())
        incoming.replace(self._file)

    def _seal(self, grants: JsonValue) -> str:
        return hmac.new(self._key(), canonical_json(grants), sha256).hexdigest()

    def _key(self) -> bytes:
        path = self.directory / "key"
        if not path.exists():
            _write_new(path, secrets.token_bytes(32))
        return path.read_bytes()

    def _complain(self, problem: str) -> None:
        if not self._warned:
            self._warned = True
            self.warn(f"no grant is used: {problem}; `luminaguard grants revoke --all` begins anew")


def _gone(grant_id: str) -> PolicyError:
    return PolicyError(f"{grant_id} was revoked, has expired or is used up")


def _write_new(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
