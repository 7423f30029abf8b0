"""The resident interpreter: Python calls run in a fork of a process that has it all imported."""

import atexit
import builtins
import gc
import importlib
import linecache
import random
import signal
import site
import sys
import threading
import traceback
from collections.abc import Sequence
from types import CodeType, ModuleType

_PRELOADED = (
    *("argparse", "array", "ast", "base64", "bisect", "calendar", "collections", "configparser"),
    *("contextlib", "copy", "csv", "dataclasses", "datetime", "decimal", "difflib", "enum"),
    *("fnmatch", "fractions", "functools", "glob", "hashlib", "heapq", "html", "inspect", "io"),
    *("itertools", "json", "logging", "math", "operator", "os", "pathlib", "pprint", "random"),
    *("re", "secrets", "shlex", "shutil", "statistics", "string", "struct", "subprocess"),
    *("tempfile", "textwrap", "threading", "time", "tomllib", "traceback", "types", "typing"),
    *("unicodedata", "urllib.parse", "uuid", "warnings", "zipfile", "zlib"),
)
"""Modules that programs often import. None may keep random state of its own from here on:
`random` is seeded anew in each fork, `tempfile` and `uuid` draw theirs when first used."""

_NAME = "<python>"


def preload() -> None:
    """Import what programs commonly use, and keep it out of the garbage collector's way."""
    # The agent itself starts without the distribution's packages; programs expect them.
    site.main()
    for name in _PRELOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def run(code: bytes, own_path: Sequence[str]) -> int:
    """Run a program as `__main__` in this process; return its exit status.

    Standard streams, environment and working directory are already the program's.
    `own_path`: entries of `sys.path` that are the agent's and not for the program.
    """
    _refresh(own_path)
    status = _execute(code)
    return _finish(status)


def _refresh(own_path: Sequence[str]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    random.seed()
    sys.argv = ["-c"]
    sys.path[:] = ["", *(entry for entry in sys.path if entry and entry not in own_path)]
    for name in [name for name in sys.modules if name.startswith("luminaguard_guest.")]:
        del sys.modules[name]
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - for the process's life
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr


def _execute(code: bytes) -> int:
    module = ModuleType("__main__")
    module.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = module
    try:
        program = _compile(code)
        exec(program, module.__dict__)  # noqa: S102 - running programs is what this is for
    except SystemExit as leaving:
        return _exit_status(leaving.code)
    except BaseException as error:  # noqa: BLE001 - whatever ends a program ends it with a traceback
        # The two frames of our own are no part of the program.
        frames = error.__traceback__
        own = {_execute.__code__, _compile.__code__}
        while frames is not None and frames.tb_frame.f_code in own:
            frames = frames.tb_next
        _flush()
        traceback.print_exception(type(error), error, frames)
        return 1
    return 0


def _compile(code: bytes) -> CodeType:
    text = code.decode("utf-8", "surrogateescape")
    # Lets tracebacks show the line, as there is no file to read it from.
    linecache.cache[_NAME] = (len(text), None, text.splitlines(keepends=True), _NAME)
    return compile(text, _NAME, "exec", dont_inherit=True)


def _exit_status(value: object) -> int:
    if value is None:
        return 0
    if isinstance(value, int):
        return value & 0xFF
    _flush()
    print(value, file=sys.stderr)  # noqa: T201 - as the interpreter does
    return 1


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue


def _finish(status: int) -> int:
    """Do what the interpreter does at its end: threads, exit functions, buffers."""
    try:
        shutdown = getattr(threading, "_shutdown", None)
        if shutdown is not None:
            shutdown()
        run_exit_functions = getattr(atexit, "_run_exitfuncs", None)
        if run_exit_functions is not None:
            run_exit_functions()
    except BaseException:  # noqa: BLE001 - nothing above could do more with it
        traceback.print_exc()
        status = status or 1
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        status = status or 120  # what the interpreter itself exits with
    _flush()
    return status
