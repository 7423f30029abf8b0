"""From a command: use, or come by, rights that an ordinary user does not have."""

from luminaguard.doctor.attack import Attack, GuestScript, Judge, Where
from luminaguard.doctor.judges import Shows, refused

_NO_RIGHT = ("EPERM", "EACCES", "ENOSYS")


def _attack(name: str, code: str, judge: Judge | None = None, control: str = "") -> Attack:
    return Attack(
        name=name,
        layer="capabilities",
        control=control or "no capability in any set; system call filter",
        where=Where.INSIDE,
        script=GuestScript(code=code),
        judge=judge or refused(*_NO_RIGHT),
    )


RIGHTS = (
    _attack(
        "mount-a-file-system",
        """
call("mount", b"none", b"/tmp", b"tmpfs", 0, 0)
call("fsopen", b"tmpfs", 0)
call("open_tree", -100, b"/tmp", 1)
""",
        refused(*_NO_RIGHT, at_least=3),
    ),
    _attack(
        "unmount-a-file-system",
        'call("umount2", b"/proc", 0)\ncall("umount2", b"/usr", 2)',
        refused(*_NO_RIGHT, at_least=2),
    ),
    _attack(
        "remount-writable",
        """
call("mount", b"none", b"/usr", None, 32 | 4096, None)
call("mount_setattr", -100, b"/usr", 0, bytes(8) + bytes([1]) + bytes(23), 32)
""",
        refused(*_NO_RIGHT, at_least=2),
    ),
    _attack("pivot-root", 'os.chdir("/tmp"); call("pivot_root", b".", b".")'),
    _attack("escape-by-chroot", 'call("chroot", b"/tmp")'),
    _attack(
        "become-root",
        """
for name, arguments in (("setuid", (0,)), ("setgid", (0,)), ("setgroups", ([0],)),
                        ("setresuid", (0, 0, 0)), ("setresgid", (0, 0, 0))):
    attempt(name, getattr(os, name), *arguments)
""",
        refused(*_NO_RIGHT, at_least=5),
    ),
    _attack(
        "regain-capabilities",
        """
header = (0x20080522).to_bytes(4, "little") + bytes(4)
call("capset", header, (b"\\xff" * 8 + bytes(4)) * 2)
for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
    note(name, int(field(name), 16))
""",
        Shows(
            {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapAmb": 0},
            errors=frozenset(_NO_RIGHT),
        ),
    ),
    _attack(
        "keep-a-bounding-set",
        """
note("beyond chown, setfcap and sys_chroot", int(field("CapBnd"), 16) & ~(1 | 1 << 18 | 1 << 31))
""",
        Shows({"beyond chown, setfcap and sys_chroot": 0}),
        "bounding set emptied",
    ),
    _attack(
        "run-a-set-user-id-program",
        """
import shutil, subprocess
shutil.copy("/usr/bin/id", "/tmp/try-id")
os.chmod("/tmp/try-id", 0o6755)
attempt("give the program to root", os.chown, "/tmp/try-id", 0, 0)
ran = subprocess.run(["/tmp/try-id", "-u"], capture_output=True, text=True, timeout=5)
note("user of the program", ran.stdout.strip())
note("no_new_privs", field("NoNewPrivs"))
os.unlink("/tmp/try-id")
""",
        Shows({"user of the program": "1000", "no_new_privs": "1"}, errors=frozenset({"EPERM"})),
        "no_new_privs; nosuid mounts; no capability",
    ),
    _attack(
        "give-a-program-capabilities",
        """
with open("/tmp/try-cap", "w") as made:
    made.write("x")
value = (0x02000001).to_bytes(4, "little") + b"\\xff" * 4 + bytes(12)
attempt("set security.capability", os.setxattr, "/tmp/try-cap", "security.capability", value)
os.unlink("/tmp/try-cap")
""",
    ),
    _attack(
        "forge-an-overlay-mark",
        """
os.makedirs("try-forged", exist_ok=True)
attempt("set trusted.overlay.opaque", os.setxattr, "try-forged", "trusted.overlay.opaque", b"y")
attempt("set trusted.overlay.redirect", os.setxattr, "try-forged", "trusted.overlay.redirect", b"/")
os.rmdir("try-forged")
""",
        refused(*_NO_RIGHT, at_least=2),
    ),
    _attack(
        "make-a-disk-device",
        """
import stat
for place in ("/tmp", "/dev/shm", "."):
    for name, kind, device in (("vda", stat.S_IFBLK, (254, 0)), ("mem", stat.S_IFCHR, (1, 1)),
                               ("port", stat.S_IFCHR, (243, 1))):
        attempt(f"make {name} in {place}", os.mknod, f"{place}/try-{name}", 0o666 | kind,
                os.makedev(*device))
""",
        refused(*_NO_RIGHT, at_least=9),
        "no capability; nodev mounts",
    ),
    _attack(
        "set-the-clock",
        """
call("clock_settime", 0, bytes(16))
call("settimeofday", bytes(16), None)
call("adjtimex", (2).to_bytes(4, "little") + bytes(252))
""",
        refused(*_NO_RIGHT, at_least=3),
    ),
    _attack(
        "rename-the-machine",
        'call("sethostname", b"evil", 4)\ncall("setdomainname", b"evil", 4)',
        refused(*_NO_RIGHT, at_least=2),
    ),
    _attack("swap-to-a-file", 'call("swapon", b"/tmp", 0)'),
    # CAD_OFF, which no pid namespace knows: it would do nothing, but needs the right all the same.
    _attack("reboot", 'call("reboot", 0xFEE1DEAD, 0x28121969, 0, 0)'),
    _attack(
        "load-a-module",
        """
call("init_module", b"\\x7fELF" + bytes(60), 64, b"")
call("finit_module", os.open("/usr/bin/env", os.O_RDONLY), b"", 0)
call("delete_module", b"overlay", 0x800)
""",
        refused(*_NO_RIGHT, at_least=3),
        "no capability; system call filter; modules locked",
    ),
    _attack(
        "load-another-kernel",
        """
call("kexec_load", 0, 0, None, 0)
call("kexec_file_load", -1, -1, 0, b"", 0)
""",
        refused(*_NO_RIGHT, at_least=2),
    ),
    _attack(
        "reach-io-ports",
        'call("iopl", 3)\ncall("ioperm", 0x70, 2, 1)',
        refused(*_NO_RIGHT, at_least=2),
    ),
    _attack(
        "open-by-handle",
        """
handle = buffer(136)
handle[0] = 128
call("open_by_handle_at", -100, handle, os.O_RDONLY)
""",
        control="no capability; system call filter",
    ),
    _attack(
        "take-all-the-processor",
        """
attempt("nice -20", os.setpriority, os.PRIO_PROCESS, 0, -20)
attempt("real-time", os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(50))
""",
        refused(*_NO_RIGHT, at_least=2),
    ),
)
