"""From a fork of the box to a running command: everything that happens before exec."""

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from luminaguard_guest import interpreter, privileges
from luminaguard_guest.cgroups import CallGroup

NOT_FOUND = 127
NOT_RUNNABLE = 126

ENVIRONMENT = {
    b"PATH": b"/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
    b"HOME": b"/home/guest",
    b"USER": b"guest",
    b"LOGNAME": b"guest",
    b"SHELL": b"/bin/sh",
    b"LANG": b"C.UTF-8",
    b"TERM": b"dumb",
    b"TMPDIR": b"/tmp",
    b"GIT_OPTIONAL_LOCKS": b"0",
    b"GIT_CONFIG_COUNT": b"1",
    b"GIT_CONFIG_KEY_0": b"safe.directory",
    b"GIT_CONFIG_VALUE_0": b"*",
}
"""What every command finds, unless its call says otherwise. Nothing of the host's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a child is to become."""

    argv: Sequence[bytes]
    code: bytes | None
    cwd: bytes
    env: Mapping[bytes, bytes]


def environment(pairs: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return a command's environment: the minimal one, then the call's `NAME=value` pairs."""
    merged = dict(ENVIRONMENT)
    for pair in pairs:
        name, _, value = pair.partition(b"=")
        merged[name] = value
    return merged


def become(program: Program, group: CallGroup, stdio: Sequence[int], refused_fd: int) -> NoReturn:
    """Turn this freshly forked process into the program; never returns.

    `stdio`: descriptors for standard input, output and error. `refused_fd` gets one byte if the
    program could not be started; otherwise it closes without one.
    """
    try:
        group.enter()
        os.setsid()
        privileges.set_oom_score(0)
        for number, descriptor in enumerate(stdio):
            os.dup2(descriptor, number, inheritable=True)
        signal.set_wakeup_fd(-1)
        # Ignored signals stay ignored across exec, and Python ignores these two.
        for name in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD):
            signal.signal(name, signal.SIG_DFL)
        os.umask(0o022)
        privileges.become_ordinary()
        os.chdir(program.cwd)
        if program.code is None:
            _execute(program)
    except (OSError, ValueError) as error:
        _refuse(program, error, refused_fd)
    _interpret(program)


def _execute(program: Program) -> NoReturn:
    os.execvpe(program.argv[0], list(program.argv), dict(program.env))  # noqa: S606 - that is the job


def _refuse(program: Program, error: OSError | ValueError, refused_fd: int) -> NoReturn:
    what = program.argv[0] if program.argv else b"Python"
    if isinstance(error, OSError):
        why = os.strerror(error.errno or 0)
        if error.filename == program.cwd and program.argv[0:1] != (program.cwd,):
            what = program.cwd
    else:
        why = str(error)
    os.write(2, b"luminaguard: cannot run " + what + b": " + why.encode() + b"\n")
    os.write(refused_fd, b"!")
    missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
    os._exit(NOT_FOUND if missing else NOT_RUNNABLE)


def _interpret(program: Program) -> NoReturn:
    status = 1
    try:
        os.closerange(3, 1 << 20)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # Python programs expect BrokenPipeError
        os.environ.clear()
        os.environb.update(program.env)
        own = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
        status = interpreter.run(program.code or b"", own)
    finally:
        os._exit(status)
