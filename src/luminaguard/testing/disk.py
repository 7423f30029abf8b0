"""A disk that can be watched: act before an operation, let one fail, or stop for good."""

from collections.abc import Callable
from typing import cast

from luminaguard.workspace.settle.fileops import FileOps, real_ops

Watch = Callable[[str, tuple[object, ...]], None]
"""Called with an operation's name and arguments, before it happens; may raise in its place."""

CHANGES = frozenset(
    {"create", "write", "truncate", "mkdir", "symlink", "exchange", "move", "unlink", "rmdir"}
    | {"chmod", "chown", "copy_attributes", "set_mtime", "fsync"}
)
"""Operations that change something."""


class Stopped(BaseException):
    """The process is as good as dead: nothing it does from here on reaches the disk."""


def watched(watch: Watch, ops: FileOps | None = None) -> FileOps:
    """Return operations that call `watch` before each of them."""
    return cast("FileOps", _Watched(ops or real_ops(), watch))


def unsynced() -> FileOps:
    """Return the real operations without waiting for the disk: for tests that lose no power."""
    return cast("FileOps", _Unsynced(real_ops()))


class _Unsynced:
    def __init__(self, ops: FileOps) -> None:
        self._ops = ops

    def __getattr__(self, name: str) -> object:
        return getattr(self._ops, name)

    def fsync(self, _fd: int) -> None:
        """Return at once."""

    def start_writeback(self, _fd: int) -> None:
        """Do nothing."""


class _Watched:
    def __init__(self, ops: FileOps, watch: Watch) -> None:
        self._ops = ops
        self._watch = watch

    def __getattr__(self, name: str) -> Callable[..., object]:
        operation: Callable[..., object] = getattr(self._ops, name)

        def call(*arguments: object) -> object:
            self._watch(name, arguments)
            return operation(*arguments)

        return call


class StopAt:
    """A watch that lets `count` changing operations happen, and none after them."""

    def __init__(self, count: int) -> None:
        self._left = count

    @property
    def has_stopped(self) -> bool:
        """Whether an operation was refused."""
        return self._left < 0

    def __call__(self, name: str, _arguments: tuple[object, ...]) -> None:
        """Watch one operation."""
        if name == "close":
            return
        if name in CHANGES or self._left < 0:
            self._left -= 1
        if self._left < 0:
            raise Stopped


class FailAt:
    """A watch that lets the changing operation after `count` others fail, once."""

    def __init__(self, count: int, error: OSError) -> None:
        self._left = count
        self._error = error
        self.failed = ""
        """Name of the operation that failed; "" so far."""

    def __call__(self, name: str, _arguments: tuple[object, ...]) -> None:
        """Watch one operation."""
        if name not in CHANGES:
            return
        self._left -= 1
        if self._left == -1:
            self.failed = name
            raise self._error


class ActBefore:
    """A watch that does something once, before the first operation that fits."""

    def __init__(
        self, fits: Callable[[str, tuple[object, ...]], bool], act: Callable[[], None]
    ) -> None:
        self._fits = fits
        self._act = act
        self.acted = False
        """Whether the moment came."""

    def __call__(self, name: str, arguments: tuple[object, ...]) -> None:
        """Watch one operation."""
        if not self.acted and self._fits(name, arguments):
            self.acted = True
            self._act()
