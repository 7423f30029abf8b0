"""Where rules are read from: the user's file, and the project's, which may only tighten.

The user's file is trusted as far as nobody else can write it. The project's comes from whoever
wrote the project, so what it would allow is reported and left out, and it is never read through a
link.
"""

import os
import stat
import sys
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from luminaguard.errors import PolicyError
from luminaguard.policy.measured import PROJECT_FILE
from luminaguard.policy.rules.book import RulesFile
from luminaguard.policy.rules.read import MAX_BYTES, read_rules
from luminaguard.policy.rules.rule import Action, Tier

Contents = dict[Tier, tuple[Path, bytes]]

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFiles:
    """The files that make up a session's rules; each may be missing."""

    user: Path | None = None
    workspace: Path | None = None
    """Root of the project, on the host."""

    def contents(self) -> Contents:
        """Return the bytes of the files that there are. Blocking.

        Raises:
            PolicyError: one is there and cannot be read, or others may write the user's.
        """
        found: Contents = {}
        if self.user is not None:
            content = _content(self.user, private=True)
            if content is not None:
                found[Tier.USER] = self.user, content
        if self.workspace is not None:
            path = self.workspace / PROJECT_FILE
            content = _content(path, private=False)
            if content is not None:
                found[Tier.PROJECT] = path, content
        return found


def parsed(tier: Tier, path: Path, content: bytes) -> RulesFile:
    """Return the rules of a file; those of a project that would loosen are set apart.

    Raises:
        PolicyError: it is not a proper rules file.
    """
    file = RulesFile(tier=tier, path=str(path), digest=sha256(content).hexdigest())
    rules = read_rules(content, tier=tier, source=path.name)
    if tier is Tier.USER:
        return replace(file, rules=rules)
    tightening = tuple(rule for rule in rules if rule.action is not Action.ALLOW)
    loosening = tuple(rule for rule in rules if rule.action is Action.ALLOW)
    return replace(file, rules=tightening, loosening=loosening)


def complaints(files: tuple[RulesFile, ...]) -> tuple[str, ...]:
    """Return a line for each entry that is not in force because a project may not loosen."""
    return tuple(
        f"{file.path}: rule {rule.name!r} would allow; a project's file may only deny or ask, "
        "so it is not in force"
        for file in files
        for rule in file.loosening
    )


def _content(path: Path, *, private: bool) -> bytes | None:
    """Return a file's bytes, None if there is none. A link, a pipe or a giant is an error."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    if not private:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PolicyError(f"cannot read {path}: {error.strerror or error}", hint=_HINT) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise PolicyError(f"{path} is not a regular file", hint=_HINT)
        if private:
            _refuse_foreign(path, status)
        return _read(path, descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path, descriptor: int) -> bytes:
    with os.fdopen(os.dup(descriptor), "rb") as file:
        try:
            content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise PolicyError(f"cannot read {path}: {error}", hint=_HINT) from error
    if len(content) > MAX_BYTES:
        raise PolicyError(f"{path} is larger than {MAX_BYTES // 1024} KiB", hint=_HINT)
    return content


def _refuse_foreign(path: Path, status: os.stat_result) -> None:
    """Rules that others could write are not the user's."""
    if sys.platform == "win32":
        return
    if status.st_uid not in {0, os.geteuid()}:
        raise PolicyError(f"{path} belongs to another user", hint=f"chown it, or remove {path}")
    if status.st_mode & _WRITABLE_BY_OTHERS:
        raise PolicyError(f"others can write {path}", hint=f"chmod go-w {path}")


_HINT = "mend it, or remove it: nothing runs under rules that cannot be read"
