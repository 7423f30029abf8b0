"""Runs inside the guest as a program of its own: tries attacks and tells what answered.

Its text is sent to the guest, so it knows the standard library only. Each attack runs in a process
of its own. Whatever is learnt is written at once, line by line, as JSON with the host's nonce: what
an attack did before it was killed is known, and an attack that never ran shows nothing.
"""

import ctypes
import errno
import fcntl
import json
import os
import platform
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any

if sys.platform != "linux":
    raise ImportError("this runs in a guest, and every guest is Linux")

_X86, _ARM = "x86_64", "aarch64"
NUMBERS = {
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "capset": (126, 91),
    "chroot": (161, 51),
    "clock_settime": (227, 112),
    "clone": (56, 220),
    "clone3": (435, 435),
    "close": (3, 57),
    "delete_module": (176, 106),
    "finit_module": (313, 273),
    "fsopen": (430, 430),
    "getpid": (39, 172),
    "init_module": (175, 105),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "mlock": (149, 228),
    "mlockall": (151, 230),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
}
"""Name → system call number on x86_64 and aarch64; None where there is none.

Source: Linux arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h
"""
_LOOKS_FIRST = {
    "add_key": {"EFAULT", "EINVAL"},
    "chroot": {"EFAULT"},
    "io_uring_setup": {"EFAULT", "EINVAL"},
    "keyctl": {"EOPNOTSUPP", "ENOTSUP"},
    "mount": {"EFAULT"},
    "perf_event_open": {"EFAULT", "EINVAL", "E2BIG"},
    "process_vm_readv": {"EINVAL", "EFAULT"},
    "process_vm_writev": {"EINVAL", "EFAULT"},
    "ptrace": {"ESRCH", "EIO"},
    "request_key": {"EFAULT"},
    "setns": {"EBADF"},
    "umount2": {"EINVAL"},
    "unshare": {"EINVAL"},
}
"""Calls whose arguments the kernel looks at before it asks for rights: given nonsense, a call that
is refused for want of rights all the same was never let through to them."""
_GIVEN_UP_S = 8
_RTM_NEWLINK, _NLM_F_REQUEST_ACK_CREATE, _NLMSG_ERROR = 16, 0x405, 2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_nonce = ""
_attack = ""


def call(name: str, *arguments: object) -> int:
    """Make a system call and tell what it returned; -1 when it was refused."""
    number = _number(name)
    if number is None:
        _tell(did=name, refused="ENOSYS", value="no such call on this processor")
        return -1
    result = _raw(number, *arguments)
    if result < 0:
        refused = _name_of(ctypes.get_errno())
        _tell(did=name, refused=refused, filtered=_was_filtered(name, number, refused))
    else:
        _tell(did=name, value=result)
    return result


def attempt(did: str, action: Callable[..., object], *arguments: object) -> object:
    """Do something and tell how it went; return what it gave, None when it was refused."""
    try:
        value = action(*arguments)
    except socket.gaierror as error:
        _tell(did=did, refused=f"EAI {error.errno}")
    except TimeoutError:
        _tell(did=did, refused="ETIMEDOUT")
    except OSError as error:
        _tell(did=did, refused=_name_of(error.errno or 0))
    else:
        _tell(did=did, value=value if isinstance(value, (int, str, bool)) else None)
        return value
    return None


def note(did: str, value: object) -> None:
    """Tell a fact."""
    _tell(did=did, value=value)


def until_refused(did: str, action: Callable[[], object], *, at_most: int, every: int = 0) -> int:
    """Repeat an action until it is refused; tell how often it went through before.

    `every`: tell after so many times too, for actions that may end the process.
    """
    for done in range(at_most):
        try:
            action()
        except OSError as error:
            _tell(did=did, refused=_name_of(error.errno or 0), value=done)
            return done
        except MemoryError:
            _tell(did=did, refused="ENOMEM", value=done)
            return done
        if every and done % every == 0:
            _tell(did=did, value=done)
    _tell(did=did, value=at_most)
    return at_most


def peek(name: str, number: int) -> int:
    """Read or write 8 bytes of another process: `process_vm_readv` or `process_vm_writev`."""
    place = ctypes.create_string_buffer(8)
    # A process that forked off has the same bytes at the same address.
    vector = ctypes.addressof(place).to_bytes(8, "little") + (8).to_bytes(8, "little")
    return call(name, number, vector, 1, vector, 1, 0)


def buffer(size: int) -> object:
    """Return zeroed memory to hand to a call."""
    return ctypes.create_string_buffer(size)


def field(name: str, path: str = "/proc/self/status") -> str:
    """Return one field of a process's status."""
    with open(path, encoding="ascii", errors="replace") as source:
        for line in source:
            if line.startswith(f"{name}:"):
                return line.partition(":")[2].strip()
    return ""


def open_for(flags: int) -> Callable[[str], int]:
    """Return an action that opens a path with these flags."""
    return lambda path: os.open(path, flags | os.O_CLOEXEC)


def change_a_link() -> None:
    """Ask the kernel's network code for a new interface."""
    header = (32).to_bytes(4, "little") + _RTM_NEWLINK.to_bytes(2, "little")
    header += _NLM_F_REQUEST_ACK_CREATE.to_bytes(2, "little") + bytes(8)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
        kernel.settimeout(2)
        kernel.send(header + bytes(16))
        answer = kernel.recv(4096)
    kind = int.from_bytes(answer[4:6], "little")
    number = int.from_bytes(answer[16:20], "little", signed=True)
    if kind == _NLMSG_ERROR and number:
        raise OSError(-number, "refused")


def other_processes() -> list[int]:
    """Return every process that /proc shows besides this one and its parent."""
    mine = {os.getpid(), os.getppid()}
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) not in mine]


def in_child(action: Callable[[], object]) -> int:
    """Run an action in a process of its own; return its wait status."""
    child = os.fork()
    if child == 0:
        try:
            action()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]


def ioctl(path: str, request: int, argument: bytes) -> object:
    """Open a device and make an ioctl on it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        return fcntl.ioctl(descriptor, request, argument)
    finally:
        os.close(descriptor)


def _number(name: str) -> int | None:
    return NUMBERS[name][0 if platform.machine() == _X86 else 1]


def _raw(number: int, *arguments: object) -> int:
    words: list[Any] = [
        argument if isinstance(argument, (bytes, ctypes.Array)) else ctypes.c_long(_word(argument))
        for argument in arguments
    ]
    ctypes.set_errno(0)
    result: int = _libc.syscall(ctypes.c_long(number), *words)
    return result


def _word(argument: object) -> int:
    return argument if isinstance(argument, int) else 0


def _was_filtered(name: str, number: int, refused: str) -> bool:
    if refused not in {"EPERM", "EACCES", "ENOSYS"} or name not in _LOOKS_FIRST:
        return False
    return _raw(number, *[-1] * 6) < 0 and (
        _name_of(ctypes.get_errno()) not in _LOOKS_FIRST[name]
        and _name_of(ctypes.get_errno()) == refused
    )


def _name_of(number: int) -> str:
    return errno.errorcode.get(number, f"errno {number}")


def _tell(**facts: object) -> None:
    line = json.dumps({"nonce": _nonce, "attack": _attack, **facts}).encode() + b"\n"
    while line:
        line = line[os.write(1, line) :]


def _truthful() -> None:
    """Try what must succeed and what must fail in one known way."""
    note("the process id by system call", call("getpid") == os.getpid())
    call("close", 9999)
    attempt("open /dev/null", os.open, "/dev/null", os.O_RDONLY)
    attempt("open a file that is not there", os.open, f"/{_nonce}", os.O_RDONLY)
    note("user", list(os.getresuid()))


def _try(name: str, code: str, limit_s: int) -> None:
    global _attack  # noqa: PLW0603 - each process tries one attack
    _attack = name
    _tell(begin=True)
    child = os.fork()
    if child == 0:
        signal.alarm(limit_s)
        status = 1
        try:
            if code:
                exec(compile(code, name, "exec"), dict(globals()))  # noqa: S102 - that is the job
            else:
                _truthful()
            status = 0
        except BaseException as error:  # noqa: BLE001 - told to the host, which decides
            _tell(problem=f"{type(error).__name__}: {error}")
        finally:
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        _tell(ended=f"signal {os.WTERMSIG(status)}")
    else:
        _tell(ended="done" if os.WEXITSTATUS(status) == 0 else "failed")


def main(nonce: str, scripts: Mapping[str, str], limit_s: int = _GIVEN_UP_S) -> None:
    """Try every script; an empty one is the check that this guest tells the truth."""
    global _nonce  # noqa: PLW0603 - set once, before anything is told
    _nonce = nonce
    for name, code in scripts.items():
        _try(name, code, limit_s)
