"""The workspace's root directory: which tree may be one, and a descriptor that stays on it.

`-w` is resolved exactly once. Everything later goes through the descriptor, so renaming the tree or
putting a link in its place cannot send a session elsewhere. Trees whose loss or disclosure would
reach beyond a project are refused: the file system's root, homes, system directories, and whatever
holds LuminaGuard's own state: a guest would be sent its keys, or could rewrite its journal.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from luminaguard.errors import WorkspaceRefused
from luminaguard.workspace.confined import HOLD_FLAGS

if sys.platform != "win32":
    import pwd

_HINT = "choose a project directory with -w DIR"

_SYSTEM_TREES = frozenset(
    {"/usr", "/etc", "/proc", "/sys", "/dev", "/boot", "/bin", "/sbin", "/lib", "/run"}
    | {"/lib32", "/lib64", "/libx32", "/System", "/Library", "/Applications", "/private/etc"}
)
"""Refused with everything in them."""
_LEFT_TO_USERS = frozenset({"/run/media", "/dev/shm"})  # noqa: S108 - named to be told apart, not used
"""Inside system trees, and yet where users mount or keep trees of their own."""
_SYSTEM_PLACES = _LEFT_TO_USERS | frozenset(
    {"/var", "/tmp", "/home", "/opt", "/srv", "/mnt", "/media", "/root", "/var/tmp"}  # noqa: S108
    | {"/var/lib", "/var/cache", "/var/log", "/Users", "/Volumes", "/private"}
    | {"/private/var", "/private/tmp"}
)
"""Refused themselves; a directory inside them may be a workspace."""


class WorkspaceRoot:
    """A directory that a session works on, held open by descriptor until closed."""

    def __init__(self, path: Path, fd: int) -> None:
        """Take over an open descriptor; use `WorkspaceRoot.open`."""
        self.path = path
        """Absolute, without links, as it was when opened: for people, and for the guest's mount."""
        self.fd = fd
        status = os.fstat(fd)
        self.dev = status.st_dev
        self.ino = status.st_ino

    @classmethod
    def open(cls, path: Path | str, *, protected: Sequence[Path] = ()) -> "WorkspaceRoot":
        """Resolve and hold `path`; `protected` are LuminaGuard's own directories.

        Raises:
            WorkspaceRefused: it cannot or may not be a workspace.
        """
        real = _resolve(path)
        try:
            fd = os.open(real, HOLD_FLAGS)
        except OSError as error:
            raise WorkspaceRefused(f"{path}: {error.strerror}", hint=_HINT) from error
        root = cls(real, fd)
        try:
            _refuse_unsuitable(root, protected)
        except BaseException:
            root.close()
            raise
        return root

    @property
    def identity(self) -> str:
        """Name this very directory: "device:inode path"."""
        return f"{self.dev}:{self.ino} {self.path}"

    def is_same(self, path: Path) -> bool:
        """Tell whether `path` is this directory now, under whatever name."""
        return _mark(path) == (self.dev, self.ino)

    def close(self) -> None:
        """Let go of the directory; harmless when repeated."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _resolve(path: Path | str) -> Path:
    try:
        real = Path(path).resolve(strict=True)
        str(real).encode()
    except UnicodeEncodeError as error:
        raise WorkspaceRefused("the workspace's path is not valid UTF-8", hint=_HINT) from error
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise WorkspaceRefused(f"{path}: {reason}", hint=_HINT) from error
    if not real.is_dir():
        raise WorkspaceRefused(f"{path} is not a directory", hint=_HINT)
    if not os.access(real, os.R_OK | os.X_OK):
        raise WorkspaceRefused(f"{path} cannot be read by this user", hint=_HINT)
    return real


def _refuse_unsuitable(root: WorkspaceRoot, protected: Sequence[Path]) -> None:
    _refuse_system(root)
    for home in _homes():
        if root.is_same(home):
            raise WorkspaceRefused(f"{root.path} is a home directory", hint=_HINT)
    for home in _peoples_homes():
        if _contains(root, home):
            raise WorkspaceRefused(f"{root.path} holds the home directory {home}", hint=_HINT)
    above = {_mark(parent) for parent in (root.path, *root.path.parents)}
    for own in protected:
        if _contains(root, own):
            raise WorkspaceRefused(
                f"{root.path} holds LuminaGuard's own directory {own}",
                hint="move it with LUMINAGUARD_STATE_DIR, LUMINAGUARD_CACHE_DIR or "
                "LUMINAGUARD_CONFIG, or choose a directory beside it",
            )
        mark = _mark(own)
        if mark is not None and mark in above:
            raise WorkspaceRefused(f"{root.path} lies in LuminaGuard's own {own}", hint=_HINT)


def _refuse_system(root: WorkspaceRoot) -> None:
    path = root.path
    is_system = (
        path == Path(path.anchor)
        or root.is_same(Path("/"))
        or str(path) in _SYSTEM_PLACES
        or (
            any(path.is_relative_to(tree) for tree in _SYSTEM_TREES)
            and not any(path.is_relative_to(tree) for tree in _LEFT_TO_USERS)
        )
    )
    if is_system:
        raise WorkspaceRefused(f"{path} belongs to the system", hint=_HINT)


def _contains(root: WorkspaceRoot, path: Path) -> bool:
    """Tell whether `path` (which need not exist yet) is the root or lies below it.

    By inode and not by name alone, so a bind mount or a link is no way around.
    """
    real = Path(os.path.realpath(path))
    return real.is_relative_to(root.path) or any(
        _mark(parent) == (root.dev, root.ino) for parent in (real, *real.parents)
    )


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _homes() -> Iterator[Path]:
    """Yield every account's home directory, and the one the environment names."""
    if "HOME" in os.environ:
        yield Path(os.environ["HOME"])
    if sys.platform == "win32":
        yield Path.home()
        return
    for account in pwd.getpwall():
        yield Path(account.pw_dir)


def _peoples_homes() -> Iterator[Path]:
    """Yield the homes of people and of root: a tree that holds one is refused as well."""
    if "HOME" in os.environ:
        yield Path(os.environ["HOME"])
    if sys.platform == "win32":
        yield Path.home()
        return
    for account in pwd.getpwall():
        is_person = account.pw_uid in {0, os.getuid()} or 1000 <= account.pw_uid < 60000
        if is_person and account.pw_dir not in {"", "/", "/nonexistent"}:
            yield Path(account.pw_dir)
