"""From a command: parts of the kernel that work on a project never needs."""

from luminaguard.doctor.attack import Attack, GuestScript, Judge, Where
from luminaguard.doctor.judges import Shows, refused

_FILTERED = ("EPERM", "EACCES", "ENOSYS")
_HIDDEN = ("ENOENT", "EACCES", "EPERM", "EROFS")


def _attack(name: str, layer: str, control: str, code: str, judge: Judge) -> Attack:
    return Attack(
        name=name,
        layer=layer,
        control=control,
        where=Where.INSIDE,
        script=GuestScript(code=code),
        judge=judge,
    )


def _call(name: str, code: str, *also: str, at_least: int = 1, control: str = "") -> Attack:
    judge = refused(*_FILTERED, *also, at_least=at_least)
    return _attack(name, "seccomp", control or "system call filter", code, judge)


def _file(name: str, paths: str, mode: str = "O_RDONLY") -> Attack:
    code = f"for path in {paths!r}.split():\n    attempt(path, open_for(os.{mode}), path)"
    judge = refused(*_HIDDEN, at_least=len(paths.split()))
    control = "process files only in /proc, no /sys, no such device in /dev"
    return _attack(name, "kernel-files", control, code, judge)


KERNEL = (
    _call(
        "keep-keys-in-the-kernel",
        """
call("keyctl", 0, -3, 1)
call("add_key", b"user", b"lg", b"x", 1, -3)
call("request_key", b"user", b"lg", None, -3)
""",
        at_least=3,
    ),
    _call("stall-the-kernel-by-userfaultfd", 'call("userfaultfd", 1)\ncall("userfaultfd", 0)'),
    _call(
        "load-a-bpf-program",
        """
call("bpf", 0, bytes([2, 0, 0, 0, 4, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0]) + bytes(112), 128)
call("bpf", 5, bytes(128), 128)
""",
        at_least=2,
        control="system call filter; unprivileged bpf off",
    ),
    _call(
        "watch-by-perf-events",
        """
wanted = bytes([1, 0, 0, 0, 112, 0, 0, 0]) + bytes(32) + bytes([0x61]) + bytes(71)
call("perf_event_open", wanted, 0, -1, -1, 0)
""",
        control="system call filter; perf_event_paranoid",
    ),
    _call("queue-calls-past-the-filter", 'call("io_uring_setup", 1, buffer(120))'),
    _call(
        "enter-other-namespaces",
        """
for kind in ("mnt", "pid", "net", "user", "ipc", "uts"):
    try:
        place = os.open(f"/proc/self/ns/{kind}", os.O_RDONLY)
    except OSError:
        place = 0
    call("setns", place, 0)
""",
        at_least=6,
    ),
    _call(
        "make-a-user-namespace",
        """
call("unshare", 0x10000000)
call("clone", 0x10000000 | 17, 0, 0, 0, 0)
call("clone3", (0x10000000).to_bytes(8, "little") + bytes(24) + bytes([17]) + bytes(31), 64)
""",
        "ENOSPC",
        at_least=3,
        control="system call filter; no user namespaces allowed",
    ),
    _call(
        "make-other-namespaces",
        """
for flag in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x20000000, 0x40000000, 0x80):
    call("unshare", flag)
""",
        at_least=7,
        control="system call filter; no capability",
    ),
    _call(
        "weaken-address-randomness",
        'call("personality", 0x0040000)\ncall("personality", 0x0400000)',
        at_least=2,
    ),
    _call(
        "type-into-a-terminal",
        """
import pty, fcntl, termios
def type_into():
    os.setsid()
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
    attempt("TIOCSTI", fcntl.ioctl, theirs, termios.TIOCSTI, b"x")
    attempt("TIOCSTI, high bits set", fcntl.ioctl, theirs, termios.TIOCSTI | 1 << 32, b"x")
in_child(type_into)
""",
        "EIO",
        at_least=2,
    ),
    _call(
        "read-another-process",
        """
number = os.getppid()
peek("process_vm_readv", number)
peek("process_vm_writev", number)
peek("process_vm_readv", 1)
attempt("its memory", open_for(os.O_RDWR), f"/proc/{number}/mem")
""",
        "ENOENT",
        at_least=4,
        control="system call filter; Yama",
    ),
    _call(
        "trace-another-process",
        'call("ptrace", 0x4206, os.getppid(), 0, 0)\ncall("ptrace", 16, os.getppid(), 0, 0)',
        at_least=2,
        control="system call filter; Yama",
    ),
    _call(
        "open-odd-sockets",
        """
import socket
for name, family, kind in (("AF_KEY", 15, 3), ("AF_VSOCK", 40, 1), ("AF_ALG", 38, 5),
                           ("AF_RDS", 21, 5), ("AF_TIPC", 30, 5), ("AF_BLUETOOTH", 31, 3),
                           ("AF_CAN", 29, 3), ("AF_XDP", 44, 3), ("AF_NFC", 39, 5)):
    attempt(name, socket.socket, family, kind, 0)
""",
        "EAFNOSUPPORT",
        at_least=9,
        control="system call filter; modules absent",
    ),
    _attack(
        "run-without-a-filter",
        "seccomp",
        "system call filter",
        """
note("Seccomp", field("Seccomp"))
note("Seccomp of a child program", os.popen("grep -w Seccomp: /proc/self/status").read().split()[1])
""",
        Shows({"Seccomp": "2", "Seccomp of a child program": "2"}),
    ),
    _attack(
        "leave-the-security-profile",
        "lsm",
        "AppArmor or SELinux, enforcing",
        """
label = ""
for path in ("/proc/self/attr/apparmor/current", "/proc/self/attr/current"):
    try:
        with open(path) as source:
            label = label or source.read().strip("\\0\\n ")
    except OSError:
        pass
selinux = label.count(":") >= 2
note("confined", selinux and "unconfined" not in label or label.endswith("(enforce)"))
for path in ("/proc/self/attr/apparmor/current", "/proc/self/attr/current",
             "/proc/self/attr/apparmor/exec", "/proc/self/attr/exec"):
    def change(path=path):
        verb = b"exec" if path.endswith("exec") else b"changeprofile"
        with open(path, "wb", buffering=0) as target:
            target.write(b"system_u:system_r:kernel_t:s0" if selinux else verb + b" unconfined")
    attempt(f"change {path[16:]}", change)
""",
        Shows({"confined": True}, errors=frozenset({"EACCES", "EPERM", "ENOENT"})),
    ),
    # Files of its own that the kernel would let it write: only access control says no.
    _attack(
        "change-itself-through-proc",
        "lsm",
        "AppArmor or SELinux, enforcing",
        """
for name in ("mem", "oom_score_adj", "coredump_filter", "clear_refs", "timerslack_ns"):
    attempt(f"write {name}", open_for(os.O_WRONLY), f"/proc/self/{name}")
""",
        refused("EACCES", "EPERM", at_least=5),
    ),
    _file(
        "write-kernel-settings", "/proc/sys/kernel/hostname /proc/sys/vm/drop_caches", "O_WRONLY"
    ),
    _file(
        "set-the-core-pattern",
        "/proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sys/fs/suid_dumpable",
        "O_WRONLY",
    ),
    _file(
        "write-sysfs",
        "/sys/power/state /sys/kernel/uevent_helper /sys/module/overlay/parameters/redirect_max",
        "O_WRONLY",
    ),
    _file("press-sysrq", "/proc/sysrq-trigger", "O_WRONLY"),
    _file("read-the-kernels-memory", "/proc/kcore /dev/mem /dev/kmem /dev/port"),
    _file(
        "find-kernel-addresses",
        "/proc/kallsyms /proc/modules /proc/timer_list /sys/kernel/notes /sys/module/ext4/sections",
    ),
    _attack(
        "read-kernel-messages",
        "kernel-files",
        "system call filter; dmesg_restrict; no /dev/kmsg",
        """
call("syslog", 3, buffer(4096), 4096)
call("syslog", 10, 0, 0)
attempt("/dev/kmsg", open_for(os.O_RDONLY), "/dev/kmsg")
""",
        refused(*_HIDDEN, "ENOSYS", at_least=3),
    ),
)
