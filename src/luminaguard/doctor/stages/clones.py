"""Clones of one template: what one could learn of another, and what they must not share."""

import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

import anyio
from anyio import to_thread

from luminaguard.doctor.attack import CannotTry, Step
from luminaguard.doctor.ground import WORKSPACE, Ground
from luminaguard.doctor.stages.tell import awaited, fact, said
from luminaguard.domain.execution import Execution
from luminaguard.domain.harvest import FileBytes, UpperFile
from luminaguard.domain.isolation import Tier
from luminaguard.vm.hypervisor import MicroVM
from luminaguard.vm.linux import data_extents, read_at

_PIECE_BYTES = 1 << 20
_TICKS_PER_S = 100
"""What the kernel counts CPU time in, towards programs. Source: time(7), "USER_HZ"."""
_KNOWN = b"luminaguard_guest"
"""Bytes that every template holds: the search is tried on them first."""
_DRAWS = """
import os, random, secrets, uuid
print(os.urandom(16).hex())
print(uuid.uuid4())
print(random.random())
print(secrets.token_hex(16))
print(hash("a string"))
import ctypes
with open("/proc/self/auxv", "rb") as source:
    words = source.read()
place = [int.from_bytes(words[n + 8:n + 16], "little") for n in range(0, len(words), 16)
         if words[n] == 25][0]
print(ctypes.string_at(place, 16).hex())
"""
_LOOKS = """
for name in ("libc", "[stack]", "[heap]"):
    print(next(line for line in open("/proc/self/maps") if name in line).split("-")[0])
"""
LAID_OUT = ("where the C library lies", "where the stack lies", "where the heap lies")
DRAWN = (
    "bytes of /dev/urandom",
    "a random UUID",
    "a random number of Python's",
    "a secret of Python's",
    "the seed of Python's hashes",
    "what a program's canaries are made of",
)


async def draw_the_same_randomness(ground: Ground) -> Sequence[Step]:
    """Draw random numbers and per-program secrets in two clones, as their first command."""
    steps: list[Step] = []
    for _ in range(2):
        async with ground.machine() as machine:
            lines = (await said(machine.vm, _DRAWS)).splitlines()
        steps += [fact(did, line) for did, line in zip(DRAWN, lines, strict=True)]
    return steps


async def guess_where_programs_lie(ground: Ground) -> Sequence[Step]:
    """Compare where a program's parts lie in two clones."""
    seen: list[list[str]] = []
    tiers: set[Tier] = set()
    for _ in range(2):
        async with ground.machine() as machine:
            seen.append((await said(machine.vm, _LOOKS)).splitlines())
            tiers.add(machine.vm.isolation.tier)
    if seen[0] == seen[1] and tiers == {Tier.EMULATED}:
        raise CannotTry(
            "emulated guests lay programs out the same way each time, for a third of their speed",
            "a host with hardware virtualization",
        )
    return [fact(did, place) for one in seen for did, place in zip(LAID_OUT, one, strict=True)]


async def run_before_reseeding(ground: Ground) -> Sequence[Step]:
    """Use a clone while its randomness is still its siblings'."""
    async with await ground.hypervisor.restore(ground.template) as vm:
        command = Execution(argv=("true",), cwd="/", timeout_s=20)
        return [await awaited("run a command in a clone as restored", vm.execute(command))]


async def live_in_the_past(ground: Ground) -> Sequence[Step]:
    """Ask a clone for the time: its clock stopped when its template was saved."""
    saved_s = (ground.template.directory / "ram").stat().st_mtime
    async with ground.machine() as machine:
        before_s = time.time()
        shown_s = float(await said(machine.vm, "import time; print(time.time())"))
        after_s = time.time()
    off_s = max(before_s - shown_s, shown_s - after_s, 0.0)
    return [
        fact("seconds since the template was saved", round(before_s - saved_s, 1)),
        fact("seconds that the clock is off", round(off_s, 3)),
    ]


async def leave_a_secret_on_the_disk(ground: Ground) -> Sequence[Step]:
    """Write a secret in one clone, and look for it in the disks of the next."""
    secret = secrets.token_hex(16)
    async with ground.machine() as machine:
        await _keep(machine.vm, secret)
        steps = [fact("on its own disk", await _on(machine.scratch_fd, secret))]
        steps.append(fact("on its workspace image", await _on(machine.image_fd, secret)))
    async with ground.machine() as machine:
        steps.append(fact("on the next one's disk", await _on(machine.scratch_fd, secret)))
        found = await said(
            machine.vm,
            "import os\n"
            "found = [n for t in ('/tmp', '/home', '/var/tmp', '/dev/shm', '/work')\n"
            "         for _, f, n in os.walk(t) if 'try-secret' in n + f]\n"
            "print(len(found), len(os.listdir('/work/project')))",
        )
    steps.append(fact("files found by the next one, and files of its workspace", found))
    return steps


async def leave_a_secret_in_the_template(ground: Ground) -> Sequence[Step]:
    """Hold a secret in one clone's memory and disk, and look for it in what others start from."""
    secret = secrets.token_hex(16)
    ram = ground.template.directory / "ram"
    before = await to_thread.run_sync(_identity, ground.template.directory)
    async with ground.machine() as machine:
        await _keep(machine.vm, secret)
        shared = [
            f"/proc/{machine.vm.pid}/fd/{fd}"
            for fd in os.listdir(f"/proc/{machine.vm.pid}/fd")
            if "memfd:luminaguard-template" in os.readlink(f"/proc/{machine.vm.pid}/fd/{fd}")
        ]
        memory = [await to_thread.run_sync(_holds, path, secret.encode()) for path in shared]
    known = await to_thread.run_sync(_holds, str(ram), _KNOWN)
    saved = await to_thread.run_sync(_holds, str(ram), secret.encode())
    after = await to_thread.run_sync(_identity, ground.template.directory)
    return [
        fact("the search finds what is there", known),
        fact("in the saved memory", saved),
        fact("in the memory that clones share", any(memory) or not memory),
        fact("the template's files are as before", before == after),
    ]


async def outlive_the_call(ground: Ground) -> Sequence[Step]:
    """Leave a process that left its session and parent, and look for it in the next call."""
    daemon = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        os.closerange(0, 3)\n"
        "        n = 0\n"
        "        while True:\n"
        "            n += 1\n"
        "            with open('/tmp/try-beat', 'w') as out:\n"
        "                out.write(f'{os.getpid()} {n}')\n"
        "            time.sleep(0.005)\n"
        "    os._exit(0)\n"
        "while not (os.path.exists('/tmp/try-beat') and open('/tmp/try-beat').read()):\n"
        "    time.sleep(0.01)\n"
    )
    look = (
        "import os, time\n"
        "first = open('/tmp/try-beat').read()\n"
        "time.sleep(0.3)\n"
        "pid = int(first.split()[0])\n"
        "print(open('/tmp/try-beat').read() == first)\n"
        "print([p for p in os.listdir('/proc') if p.isdigit() and int(p) != os.getpid()])\n"
        "try:\n"
        "    os.kill(pid, 0); print('there')\n"
        "except OSError as error:\n"
        "    print(error.errno)\n"
    )
    async with ground.machine() as machine:
        report = await machine.vm.execute(
            Execution(argv=("python3", "-I", "-c", daemon), cwd="/", timeout_s=30)
        )
        lines = (await said(machine.vm, look)).splitlines()
    return [
        fact("processes left and named", len(report.leftover)),
        fact("its heart has stopped", lines[0]),
        fact("others in /proc", lines[1]),
        fact("signal it", int(lines[2]) if lines[2].isdigit() else lines[2]),
    ]


async def write_during_the_harvest(ground: Ground) -> Sequence[Step]:
    """Go on writing in the background while the changes are read out, twice."""
    writer = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    os.closerange(0, 3)\n"
        "    n = 0\n"
        "    while True:\n"
        "        n += 1\n"
        "        with open('counter', 'w') as out:\n"
        "            out.write(str(n) * 1000)\n"
        "while not os.path.exists('counter'):\n"
        "    time.sleep(0.01)\n"
    )
    async with ground.machine() as machine:
        await machine.vm.execute(
            Execution(argv=("python3", "-I", "-c", writer), cwd=WORKSPACE, timeout_s=30)
        )
        first = await _harvested(machine.vm)
        second = await _harvested(machine.vm)
    return [
        fact("the counter was harvested", b"counter" in first),
        fact("both harvests agree", first == second),
    ]


async def run_while_paused(ground: Ground) -> Sequence[Step]:
    """Go on while the machine is paused for a human's decision."""
    async with ground.machine() as machine:
        vm = machine.vm
        clock = "import time; print(time.monotonic())"
        await said(vm, clock)
        guest_s, host_s = float(await said(vm, clock)), time.monotonic()
        await vm.pause()
        paused_at_s, used_s = time.monotonic(), _cpu_s(vm.pid)
        command = Execution(argv=("true",), cwd="/", timeout_s=20)
        refused = await awaited("run a command in a paused machine", vm.execute(command))
        with anyio.move_on_after(1.0):
            await anyio.sleep_forever()
        paused_s, cost_s = time.monotonic() - paused_at_s, _cpu_s(vm.pid) - used_s
        await vm.resume()
        guest_s = float(await said(vm, clock)) - guest_s
        awake_s = time.monotonic() - host_s - paused_s
    return [
        refused,
        fact("seconds paused", round(paused_s, 2)),
        fact("processor seconds meanwhile", round(cost_s, 2)),
        fact("seconds that the guest lived meanwhile", round(max(guest_s - awake_s, 0.0), 2)),
    ]


async def _keep(vm: MicroVM, secret: str) -> None:
    """Write a secret to memory-backed and disk-backed files of a machine, and onto the disk."""
    await said(
        vm,
        f"import os\nsecret = {secret!r}\n"
        "for place in ('/tmp', '/home/guest', '/dev/shm', '/work/project'):\n"
        "    with open(place + '/try-secret', 'w') as out:\n"
        "        out.write(secret * 300)\n"
        "os.sync()\n",
    )


async def _on(fd: int, secret: str) -> bool:
    return await to_thread.run_sync(_holds, f"/proc/self/fd/{fd}", secret.encode())


def _holds(path: str, wanted: bytes) -> bool:
    """Search a file that may be sparse; pieces overlap, so that nothing is missed between them."""
    fd = os.open(path, os.O_RDONLY)
    try:
        for start, length in data_extents(fd, os.fstat(fd).st_size):
            for offset in range(start, start + length, _PIECE_BYTES):
                if wanted in read_at(fd, _PIECE_BYTES + len(wanted), offset):
                    return True
    finally:
        os.close(fd)
    return False


def _identity(directory: Path) -> dict[str, tuple[int, int, int]]:
    """Return what changes whenever a file of the template is written."""
    found: dict[str, tuple[int, int, int]] = {}
    for path in directory.iterdir():
        about = path.stat()
        if path.name in {"ram", "state"}:
            found[path.name] = (about.st_ino, about.st_size, about.st_mtime_ns)
    return found


def _cpu_s(pid: int) -> float:
    """Return the processor time that a process has used. Source: proc_pid_stat(5), 14 and 15."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as source:
        fields = source.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


async def _harvested(vm: MicroVM) -> dict[bytes, list[bytes]]:
    content: dict[bytes, list[bytes]] = {}
    last: list[bytes] = []
    async for record in vm.harvest():
        if isinstance(record, UpperFile):
            last = content[record.path] = [str(record.size).encode()]
        elif isinstance(record, FileBytes):
            last.append(record.content)
    return content
