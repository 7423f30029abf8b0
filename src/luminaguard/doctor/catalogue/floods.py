"""From a command: take everything there is. Each of these has a machine of its own."""

from luminaguard.doctor.attack import Attack, Evidence, Finding, GuestScript, Judge, Where
from luminaguard.doctor.ground import SCRATCH_BYTES
from luminaguard.doctor.inside import FLOOD_BYTES
from luminaguard.doctor.judges import (
    DROPPED,
    KEPT,
    All,
    AtMost,
    Shows,
    Stops,
    Survived,
    broken,
    enforced,
)

_KILLED = frozenset({"signal 9"})
_LATE = frozenset({"timed out"})
_MIB = 1024**2
_SPIN_S = 8.0
"""Long enough for the attack to begin on a busy host."""
_OVERTIME_S = 4.0
"""Longest that the guest may take to end an attack whose time is up."""


def _little_is_kept(evidence: Evidence) -> Finding:
    """Judge an attack that never stops talking."""
    seen = {step.did: step.value for step in evidence.host}
    kept, dropped = seen.get(KEPT), seen.get(DROPPED)
    if not isinstance(kept, int) or not isinstance(dropped, int):
        return broken("the host does not say what it kept")
    if kept > FLOOD_BYTES or not dropped:
        return broken(f"{kept} bytes of output were kept, and {dropped} dropped")
    return enforced(f"{kept} bytes kept, {dropped} counted and dropped")


def _attack(
    name: str, layer: str, control: str, code: str, judge: Judge, *, limit_s: float = 40.0
) -> Attack:
    return Attack(
        name=name,
        layer=layer,
        control=control,
        where=Where.INSIDE,
        script=GuestScript(code=code, alone=True, limit_s=limit_s),
        judge=Survived(judge, within_s=limit_s + _OVERTIME_S),
    )


FLOODS = (
    _attack(
        "fork-bomb",
        "cgroup",
        "pids.max",
        """
import time
def bomb():
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
until_refused("processes", bomb, at_most=4096, every=64)
""",
        Stops(frozenset({"EAGAIN"}), at_most=512, at_least=16),
    ),
    _attack(
        "memory-hog",
        "cgroup",
        "memory.max",
        """
hoard = []
share = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 100
until_refused("percent of the memory", lambda: hoard.append(bytearray(b"x") * share), at_most=300,
              every=1)
""",
        Stops(frozenset({"ENOMEM"}), at_most=83, at_least=20, ends=_KILLED),
    ),
    _attack(
        "memory-hog-in-shared-memory",
        "cgroup",
        "size of /dev/shm; memory.max",
        """
out = os.open("/dev/shm/try-hog", os.O_WRONLY | os.O_CREAT)
until_refused("MiB", lambda: os.write(out, bytes(2**20)), at_most=4096)
os.unlink("/dev/shm/try-hog")
""",
        Stops(frozenset({"ENOSPC"}), at_most=64),
    ),
    _attack(
        "open-files-flood",
        "rlimits",
        "RLIMIT_NOFILE",
        """
until_refused("open files", lambda: os.open("/dev/null", os.O_RDONLY), at_most=100000)
""",
        Stops(frozenset({"EMFILE"}), at_most=4096, at_least=16),
    ),
    _attack(
        "starve-the-agent",
        "cgroup",
        "cpu.weight, cpu.max; a time limit kept by agent and host",
        """
waits, go = os.pipe()
for _ in range(20):
    if os.fork() == 0:
        os.read(waits, 1)
        while True:
            pass
note("busy processes", 20)
os.write(go, bytes(20))
while True:
    pass
""",
        Shows({"busy processes": 20}, ends=_LATE),
        limit_s=_SPIN_S,
    ),
    _attack(
        "take-the-whole-processor",
        "cgroup",
        "cpu.max",
        """
import time
def spin():
    end = time.monotonic() + 3
    while time.monotonic() < end:
        pass
began, cost = time.monotonic(), sum(os.times()[:4])
for _ in range(3):
    if os.fork() == 0:
        spin()
        os._exit(0)
for _ in range(3):
    os.wait()
took, cost = time.monotonic() - began, sum(os.times()[:4]) - cost
note("share of the processors", round(cost / took / os.cpu_count(), 3))
""",
        AtMost({"share of the processors": (0.3, 0.975)}),
    ),
    _attack(
        "flood-the-output",
        "agent",
        "output kept to a limit, back-pressure beyond it",
        """
block = b"x" * 65536
for _ in range(128):
    sent = 0
    while sent < len(block):
        sent += os.write(2, block[sent:])
note("MiB said", 8)
""",
        All((Shows({"MiB said": 8}), _little_is_kept)),
    ),
    _attack(
        "fill-the-disk",
        "scratch-disk",
        "size of the scratch disk",
        """
out = os.open("/tmp/try-fill", os.O_WRONLY | os.O_CREAT)
block = os.urandom(2**16) * 16
until_refused("MiB", lambda: os.write(out, block), at_most=4096)
""",
        Stops(frozenset({"ENOSPC"}), at_most=SCRATCH_BYTES // _MIB),
    ),
    _attack(
        "fill-the-inodes",
        "scratch-disk",
        "inodes of the scratch disk",
        """
import itertools
numbers = itertools.count()
os.mkdir("/tmp/try-many"); os.chdir("/tmp/try-many")
until_refused("files", lambda: os.mknod(str(next(numbers)), 0o600), at_most=200000)
""",
        Stops(frozenset({"ENOSPC"}), at_most=SCRATCH_BYTES // 1024, at_least=100),
    ),
)
