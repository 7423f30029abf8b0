"""From a fork of the box to a running command: everything that happens before exec."""

import os
import signal
import socket
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NoReturn

from luminaguard_guest import interpreter, privileges
from luminaguard_guest.boxwire import TO_CHILD, Become, Receiver
from luminaguard_guest.confinement import Confinement

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


def environment(pairs: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return a command's environment: the minimal one, then the call's `NAME=value` pairs."""
    merged = dict(ENVIRONMENT)
    for pair in pairs:
        name, _, value = pair.partition(b"=")
        merged[name] = value
    return merged


def fork(confinement: Confinement) -> tuple[int, socket.socket]:
    """Fork a child that waits for what it shall become; return its id and its socket.

    What costs time before a program can start has happened when the program is known. Until then
    the child is root, and out of every command's reach. A byte on the socket tells that the program
    could not be started.
    """
    ours, theirs = socket.socketpair()
    try:
        pid = os.fork()
    except OSError:
        ours.close()
        theirs.close()
        raise
    if pid:
        theirs.close()
        return pid, ours
    try:
        ours.close()
        _prepare(confinement)
        _wait(theirs, confinement)
    finally:
        os._exit(NOT_RUNNABLE)


def _prepare(confinement: Confinement) -> None:
    os.setsid()
    privileges.set_oom_score(0)
    signal.set_wakeup_fd(-1)
    # Ignored signals stay ignored across exec, and Python ignores some.
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    os.umask(0o022)
    confinement.prepare()


def _wait(connection: socket.socket, confinement: Confinement) -> None:
    receiver = Receiver(TO_CHILD)
    while receiver.read(connection):
        for _, message, descriptors in receiver.messages():
            if isinstance(message, Become):
                _become(message, descriptors, connection, confinement)


def _become(
    program: Become,
    descriptors: Sequence[int],
    connection: socket.socket,
    confinement: Confinement,
) -> NoReturn:
    env = environment(program.env)
    try:
        os.write(descriptors[3], b"0")  # into the cgroup, before anything of the program runs
        for number, descriptor in enumerate(descriptors[:3]):
            os.dup2(descriptor, number, inheritable=True)
        if not stat.S_ISFIFO(os.fstat(0).st_mode):
            _open_own_null()
        confinement.enter()
        os.chdir(program.cwd)
        if program.code is None:
            os.execvpe(program.argv[0], program.argv, env)  # noqa: S606 - that is the job
    except (OSError, ValueError) as error:
        _refuse(program, error, connection)
    _interpret(program.code or b"", env)


def _open_own_null() -> None:
    """Read from the box's own /dev/null: the agent's has no path in here.

    AppArmor refuses even fstat(2) on what has none, and Node ends itself when that fails.
    """
    null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(null, 0, inheritable=True)
    os.close(null)


def _refuse(program: Become, error: OSError | ValueError, connection: socket.socket) -> NoReturn:
    what = program.argv[0] if program.argv else b"Python"
    if isinstance(error, OSError):
        why = os.strerror(error.errno or 0)
        if error.filename == program.cwd and program.argv[0:1] != (program.cwd,):
            what = program.cwd
    else:
        why = str(error)
    with suppress(OSError):
        os.write(2, b"luminaguard: cannot run " + what + b": " + why.encode() + b"\n")
    connection.send(b"!")
    missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
    os._exit(NOT_FOUND if missing else NOT_RUNNABLE)


def _interpret(code: bytes, env: Mapping[bytes, bytes]) -> NoReturn:
    status = 1
    try:
        os.closerange(3, 1 << 20)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # Python programs expect BrokenPipeError
        os.environ.clear()
        os.environb.update(env)
        own = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
        status = interpreter.run(code, own)
    finally:
        os._exit(status)
