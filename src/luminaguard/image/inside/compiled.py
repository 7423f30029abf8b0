"""Byte code for installed modules, the same in every build: without times, in a fixed order.

The root of a machine is read-only and emulated CPUs are slow: without it, each start of a program
would compile its libraries again.
"""

import os
import py_compile
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

_UNUSED = frozenset({"test", "tests"})
"""Directories of a package's own tests: seldom imported, and often half of its modules."""
_TOGETHER = 32
"""Modules that one process compiles: what one module leaves in memory can show in the next one's
byte code, so each lot begins from the same state, whatever was installed before it."""


def compile_below(directory: Path, root: str) -> None:
    """Compile each module below `directory`; what does not compile is left as it is.

    `root`: the leading part of paths that tracebacks shall not show.
    """
    if sys.platform == "win32":
        raise NotImplementedError("this runs in a Linux guest")
    sources = sorted(
        path.as_posix() for path in directory.rglob("*.py") if not _UNUSED & set(path.parts)
    )
    working: set[int] = set()
    for lot in _lots(sources):
        if len(working) >= (os.cpu_count() or 1):
            working.discard(os.wait()[0])
        working.add(_started(lot, root))
    while working:
        working.discard(os.wait()[0])


def _lots(sources: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(sources), _TOGETHER):
        yield sources[start : start + _TOGETHER]


def _started(lot: Sequence[str], root: str) -> int:
    if sys.platform == "win32":
        raise NotImplementedError("this runs in a Linux guest")
    pid = os.fork()
    if pid == 0:
        try:
            for path in lot:
                _compile(path, path.removeprefix(root))
        finally:
            os._exit(0)
    return pid


def _compile(path: str, shown: str) -> None:
    # Modules for other versions of Python, templates and test data do not compile; nor need they.
    with suppress(py_compile.PyCompileError, SyntaxError, ValueError, RecursionError, OSError):
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        py_compile.compile(path, dfile=shown, doraise=True, invalidation_mode=mode)
