"""From a command: the agent, its disks, other processes, the network, the system's files."""

from luminaguard.doctor.attack import Attack, GuestScript, Judge, Where
from luminaguard.doctor.judges import Shows, refused
from luminaguard.domain.calls import JsonValue

_DENIED = ("EPERM", "EACCES", "ENOENT", "ENOSYS")

_WRITABLE: list[JsonValue] = ["/dev/shm", "/home/guest", "/tmp", "/var/tmp", "/work/project"]  # noqa: S108
"""The scratch disk, the workspace, and shared memory: a guest's own, and gone with it."""


def _attack(name: str, layer: str, control: str, code: str, judge: Judge) -> Attack:
    return Attack(
        name=name,
        layer=layer,
        control=control,
        where=Where.INSIDE,
        script=GuestScript(code=code),
        judge=judge,
    )


SURROUNDINGS = (
    _attack(
        "speak-as-the-agent",
        "agent",
        "no device of it in /dev; device nodes cannot be made",
        """
for path in ("/dev/vport0p1", "/dev/vport1p1", "/dev/vport2p1", "/dev/hvc0", "/dev/console",
             "/dev/virtio-ports/luminaguard.agent"):
    attempt(path, open_for(os.O_RDWR | os.O_NOCTTY), path)
""",
        refused(*_DENIED, at_least=6),
    ),
    _attack(
        "open-the-raw-disks",
        "agent",
        "no device of them in /dev; device nodes cannot be made",
        """
for path in ("/dev/vda", "/dev/vdb", "/dev/vdc", "/dev/vdd", "/dev/loop-control", "/dev/loop0",
             "/dev/mapper/control", "/dev/fuse", "/dev/net/tun", "/dev/kvm", "/dev/vhost-vsock"):
    attempt(path, open_for(os.O_RDWR), path)
""",
        refused(*_DENIED, at_least=11),
    ),
    _attack(
        "read-the-agents-files",
        "agent",
        "a root of the box's own",
        """
for path in ("/run/luminaguard", "/run/luminaguard/luminaguard_guest/agent.py",
             "/run/luminaguard/scratch/upper", "/run/luminaguard/box", "/agent", "/modules"):
    attempt(path, open_for(os.O_RDONLY), path)
""",
        refused(*_DENIED, at_least=6),
    ),
    _attack(
        "use-inherited-descriptors",
        "agent",
        "closed on exec",
        """
open_ones = []
for number in range(3, 256):
    try:
        open_ones.append(f"{number}: {os.readlink(f'/proc/self/fd/{number}')}")
    except OSError:
        pass
note("descriptors besides the standard ones", open_ones)
""",
        Shows({"descriptors besides the standard ones": []}),
    ),
    _attack(
        "read-other-processes-memory",
        "namespaces",
        "pid namespace; hidepid; other user; Yama",
        """
note("others in /proc", other_processes())
for number in (1, 2, 3, 4):
    if number not in (os.getpid(), os.getppid()):
        attempt(f"memory of {number}", open_for(os.O_RDWR), f"/proc/{number}/mem")
        attempt(f"environment of {number}", open_for(os.O_RDONLY), f"/proc/{number}/environ")
        attempt(f"files of {number}", os.listdir, f"/proc/{number}/fd")
""",
        Shows({"others in /proc": []}, errors=frozenset(_DENIED)),
    ),
    _attack(
        "trace-the-box",
        "namespaces",
        "other user; Yama; system call filter",
        'call("ptrace", 0x4206, 1, 0, 0)\ncall("ptrace", 16, 1, 0, 0)',
        refused("EPERM", "EACCES", "ESRCH", "ENOSYS", at_least=2),
    ),
    _attack(
        "kill-the-box",
        "namespaces",
        "other user; pid namespace",
        """
import signal
for number in (1, *range(2, 40)):
    if number not in (os.getpid(), os.getppid()):
        attempt(f"kill {number}", os.kill, number, signal.SIGKILL)
""",
        refused("EPERM", "ESRCH", at_least=30),
    ),
    _attack(
        "lift-the-limits",
        "cgroup",
        "cgroup file system out of sight; cgroup namespace",
        """
for path in ("/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/box/calls/pids.max",
             "/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/memory.max"):
    attempt(path, open_for(os.O_WRONLY), path)
call("mount", b"none", b"/tmp", b"cgroup2", 0, 0)
note("own cgroup", open("/proc/self/cgroup").read().strip())
""",
        Shows({"own cgroup": "0::/../calls/0"}, errors=frozenset(_DENIED)),
    ),
    _attack(
        "raise-own-limits",
        "rlimits",
        "hard limits; no capability",
        """
import resource
for name in ("RLIMIT_NOFILE", "RLIMIT_CORE", "RLIMIT_NPROC", "RLIMIT_MEMLOCK"):
    number = getattr(resource, name)
    soft, hard = resource.getrlimit(number)
    if hard == resource.RLIM_INFINITY:
        note(f"{name} is unlimited", True)
    def more(number=number, hard=hard):
        try:
            resource.setrlimit(number, (hard + 1, hard + 1))
        except ValueError:
            raise OSError(1, "refused")
    if name in ("RLIMIT_NOFILE", "RLIMIT_CORE"):
        attempt(f"raise {name}", more)
""",
        refused("EPERM", "EACCES", at_least=2),
    ),
    _attack(
        "dump-memory-to-a-core-file",
        "rlimits",
        "RLIMIT_CORE",
        """
status = in_child(os.abort)
note("ended by signal", os.WTERMSIG(status))
note("memory was dumped", os.WCOREDUMP(status))
""",
        Shows({"ended by signal": 6, "memory was dumped": False}),
    ),
    _attack(
        "make-a-huge-file",
        "rlimits",
        "RLIMIT_FSIZE; size of the scratch disk",
        """
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
place = os.open("/tmp/try-huge", os.O_RDWR | os.O_CREAT)
attempt("1 TiB of nothing", os.ftruncate, place, 1 << 40)
attempt("8 GiB of nothing", os.ftruncate, place, 8 << 30)
attempt("8 GiB set aside", os.posix_fallocate, place, 0, 8 << 30)
os.unlink("/tmp/try-huge")
""",
        refused("EFBIG", "ENOSPC", at_least=3),
    ),
    _attack(
        "lock-memory",
        "rlimits",
        "RLIMIT_MEMLOCK",
        """
import mmap
place = mmap.mmap(-1, 64 << 20)
call("mlock", ctypes.addressof(ctypes.c_char.from_buffer(place)), 64 << 20)
call("mlockall", 1)
""",
        refused("ENOMEM", "EPERM", "EAGAIN", at_least=2),
    ),
    _attack(
        "write-the-system",
        "read-only-root",
        "read-only mounts; files of root",
        """
flags = os.O_WRONLY | os.O_CREAT
for path in "/usr/bin/lg /usr/lib/lg /etc/lg /opt/lg /lg /dev/lg /run/lg /root/lg /var/lg".split():
    attempt(path, open_for(flags), path)
for path in "/etc/passwd /usr/bin/env /bin/sh".split():
    attempt(path, open_for(os.O_WRONLY), path)
""",
        refused("EROFS", "EACCES", "EPERM", "ENOENT", at_least=12),
    ),
    _attack(
        "find-somewhere-else-to-write",
        "read-only-root",
        "read-only mounts; files of root",
        """
found = set()
for top, folders, files in os.walk("/", followlinks=False):
    if top in ("/proc", "/usr/share", "/usr/lib", "/tmp", "/home/guest", os.getcwd(), "/dev/fd"):
        folders.clear()
    if top != "/proc" and os.access(top, os.W_OK):
        found.add(top)
note("read-only", [bool(os.statvfs(path).f_flag & os.ST_RDONLY) for path in ("/usr", "/etc")])
note("may write", sorted(found))
""",
        Shows(
            {
                "read-only": [True, True],
                "may write": _WRITABLE,
            }
        ),
    ),
    _attack(
        "connect-out",
        "no-network",
        "no network card; network namespace",
        """
import socket
for family, address in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET, "8.8.8.8"),
                        (socket.AF_INET6, "2001:db8::1")):
    with socket.socket(family) as out:
        out.settimeout(2)
        attempt(f"TCP {address}", out.connect, (address, 80))
""",
        refused("ENETUNREACH", "EPERM", "EACCES", "EAFNOSUPPORT", "EADDRNOTAVAIL", at_least=3),
    ),
    _attack(
        "send-datagrams-out",
        "no-network",
        "no network card; network namespace",
        """
import socket
for address, port in (("192.0.2.1", 9), ("192.0.2.1", 53), ("255.255.255.255", 67)):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        attempt(f"UDP {address}:{port}", out.sendto, b"x", (address, port))
""",
        refused("ENETUNREACH", "EPERM", "EACCES", at_least=3),
    ),
    _attack(
        "resolve-a-name",
        "no-network",
        "no network card; no resolver",
        """
import socket
attempt("example.com", socket.getaddrinfo, "example.com", 80)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
    out.settimeout(2)
    out.connect(("127.0.0.1", 53))
    question = bytes([0, 1, 1, 0, 0, 1]) + bytes(6) + b"\x07example\x03com" + bytes([0, 0, 1, 0, 1])
    out.send(question)
    attempt("a name server of its own", out.recv, 512)
note("interfaces", [name for _, name in socket.if_nameindex()])
""",
        Shows(
            {"interfaces": ["lo"]}, errors=frozenset({"EAI -3", "EAI -2", "EPERM", "ECONNREFUSED"})
        ),
    ),
    _attack(
        "open-a-raw-socket",
        "no-network",
        "no capability; system call filter",
        """
import socket
for name, family, kind in (("raw", socket.AF_INET, 1), ("raw IPv6", socket.AF_INET6, 58)):
    attempt(name, socket.socket, family, socket.SOCK_RAW, kind)
""",
        refused("EPERM", "EACCES", "EAFNOSUPPORT", at_least=2),
    ),
    _attack(
        "open-a-packet-socket",
        "no-network",
        "no capability; system call filter",
        """
import socket
attempt("packet", socket.socket, 17, socket.SOCK_RAW, 0x0300)
""",
        refused("EPERM", "EACCES", "EAFNOSUPPORT"),
    ),
    _attack(
        "make-an-interface",
        "no-network",
        "no capability; system call filter",
        'attempt("a new link by netlink", change_a_link)',
        refused("EPERM", "EACCES", "EAFNOSUPPORT"),
    ),
)
