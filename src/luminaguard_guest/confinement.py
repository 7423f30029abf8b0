"""What a process of the box puts on before it becomes a command: all that the profile asks for."""

import ctypes
import errno
import os
from collections.abc import Callable

from luminaguard_guest import privileges
from luminaguard_guest.faults import GuestFault
from luminaguard_guest.landlock import Walls
from luminaguard_guest.lsm import Lsm
from luminaguard_guest.profile import Profile
from luminaguard_guest.seccomp import filter_for
from luminaguard_guest.syscalls import NUMBERS

_OWN_LABEL = "/proc/self/attr/current"
_TRIAL = "/trial"

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class Confinement:
    """Confines processes forked from the one that made it."""

    def __init__(
        self,
        profile: Profile,
        lsm: Lsm | None,
        uid: int = privileges.UID,
        walls: Walls | None = None,
    ) -> None:
        """Make ready whatever does not depend on the command, which becomes this user.

        Without `lsm` there is no mandatory access control: the kernel is not the guest's own.
        `walls` are put up where there is nothing better.

        Raises:
            GuestFault: a rule of the profile makes no sense here.
        """
        self._limits = profile.limits
        self._lsm = lsm
        self._uid = uid
        self._walls = walls
        self._filter = filter_for(profile.rules)
        self._label_fd = -1

    def prepare(self) -> None:
        """Do what can be done before the command is known; the process still is root."""
        privileges.bound_resources(self._limits)
        if self._lsm is not None:
            self._label_fd = os.open(_OWN_LABEL, os.O_WRONLY | os.O_CLOEXEC)
        self._filter.put_on()

    def enter(self) -> None:
        """Become the ordinary user under mandatory access control, for good."""
        if self._walls is not None:
            self._walls.put_on()
        privileges.become_ordinary(self._uid)
        if self._lsm is not None:
            self._enter(self._lsm)

    def _enter(self, lsm: Lsm) -> None:
        os.write(self._label_fd, lsm.entry)

    def prove(self) -> None:
        """Try, in a process of its own, what no command may; before the first command.

        Raises:
            GuestFault: something was possible that must not be.
        """
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if not pid:
            try:
                os.write(write_fd, self._trial().encode())
            finally:
                os._exit(0)
        os.close(write_fd)
        try:
            found = os.read(read_fd, 4096).decode()
        finally:
            os.close(read_fd)
            os.waitpid(pid, 0)
        if found != "held":
            raise GuestFault(f"commands would not be held: {found or 'the trial died'}")

    def _trial(self) -> str:
        """Return "held", or what was wrong. Still root, so that nothing else says no."""
        try:
            self.prepare()
            return self._access_trial() or _filter_trial() or "held"
        except (OSError, GuestFault) as error:
            return f"{type(error).__name__}: {error}"

    def _access_trial(self) -> str | None:
        if self._lsm is None and self._walls is None:
            return None
        if self._walls is not None:
            self._walls.put_on()
        if self._lsm is not None:
            self._enter(self._lsm)
            with open(_OWN_LABEL, "rb", buffering=0) as file:
                label = file.read(256)
            if label != self._lsm.own:
                return f"the kernel calls them {label!r}"
        if (answer := _failure(lambda: os.mkdir(_TRIAL))) != errno.EACCES:
            return f"a directory made in / gives {answer}"
        return None


def _filter_trial() -> str | None:
    """Try calls that fail for another reason, or not at all, without a filter."""
    for call, arguments in (("adjtimex", (None,)), ("sethostname", (b"trial", 5))):
        answer = 0
        if _libc.syscall(_number(call), *arguments) < 0:
            answer = ctypes.get_errno()
        if answer != errno.EPERM:
            return f"{call} gives {answer}"
    return None


def _number(call: str) -> int:
    return NUMBERS[os.uname().machine][call]


def _failure(act: Callable[[], None]) -> int:
    """Return the error number that an act fails with; 0 if it succeeds."""
    try:
        act()
    except OSError as error:
        return error.errno or -1
    return 0
