"""From a command: take everything there is. Each of these has a machine of its own."""

from luminaguard.doctor.attack import Attack, GuestScript, Judge, Where
from luminaguard.doctor.ground import SCRATCH_BYTES
from luminaguard.doctor.judges import Stops, Survived

_KILLED = frozenset({"signal 9"})
_MIB = 1024**2


def _attack(name: str, layer: str, control: str, code: str, judge: Judge) -> Attack:
    return Attack(
        name=name,
        layer=layer,
        control=control,
        where=Where.INSIDE,
        script=GuestScript(code=code, alone=True),
        judge=Survived(judge),
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
until_refused("MiB", lambda: hoard.append(bytearray(b"x") * 2**20), at_most=4096, every=8)
""",
        Stops(frozenset({"ENOMEM"}), at_most=512, at_least=64, ends=_KILLED),
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
        Stops(frozenset({"ENOSPC", "ENOMEM"}), at_most=512, ends=_KILLED),
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
