"""What a command in a guest can reach: system calls, capabilities, mounts, sockets, devices.

Looks from inside a real machine, so it tells what holds, not what is configured. Run it over two
versions of LuminaGuard to compare them: `PYTHONPATH=OTHER/src python benchmarks/reachable.py`.
"""

import argparse
import json
import os
import secrets
import subprocess
import tempfile
import time
from pathlib import Path

import anyio

from luminaguard.config import load
from luminaguard.domain.execution import Ended, Execution
from luminaguard.image.store import ImageStore
from luminaguard.vm import hardening
from luminaguard.vm.backends.qemu.backend import QemuHypervisor
from luminaguard.vm.disks import scratch_disk
from luminaguard.vm.hypervisor import GuestMount
from luminaguard.vm.spec import VmSpec

WORKSPACE = "/work/project"
LAST_CALL = 470

# Each call is made in a process of its own, with arguments that cannot be right. One that waits is
# ended by an alarm: it was reached.
PROBE = """
import ctypes, errno, json, os, signal, socket, stat, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
skipped = set(json.loads(sys.argv[1]))

def answer(number):
    if number in skipped:
        return "reached"
    pid = os.fork()
    if not pid:
        signal.alarm(1)
        result = libc.syscall(*[ctypes.c_long(value) for value in (number, *(-1,) * 6)])
        os._exit(ctypes.get_errno() if result == -1 else 0)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        return "killed" if os.WTERMSIG(status) == signal.SIGSYS else "reached"
    return {errno.ENOSYS: "absent", errno.EPERM: "refused"}.get(os.WEXITSTATUS(status), "reached")

def sockets():
    for family in range(46):
        for kind in (1, 2, 3, 5):
            try:
                socket.socket(family, kind, 0).close()
                yield f"{family}/{kind}"
            except OSError:
                pass

def devices():
    for top, folders, files in os.walk("/", followlinks=False):
        if top == "/":
            folders[:] = [name for name in folders if name not in ("usr", "etc", "proc")]
        for name in files:
            mode = os.lstat(os.path.join(top, name)).st_mode
            if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
                yield os.path.join(top, name)

status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
names = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
with open("/proc/self/attr/current", "rb") as file:
    try:
        label = file.read().strip(b"\\0\\n").decode()
    except OSError:
        label = "none"
print(json.dumps({
    "calls": {number: answer(number) for number in range(int(sys.argv[2]))},
    "sockets": list(sockets()),
    "devices": sorted(devices()),
    "label": label,
    "status": {name: status[name].strip() for name in names},
    "limits": [line.split("  ")[0] + ": " + " ".join(line[26:].split()[:2])
               for line in open("/proc/self/limits").read().splitlines()[1:]],
    "mounts": [" ".join(line.split()[1:4]) for line in open("/proc/self/mounts")],
    "proc": sorted(name for name in os.listdir("/proc") if not name.isdigit()),
}))
"""


def numbers() -> dict[str, int]:
    """Return this host's system calls by name: those of its guests."""
    from luminaguard_guest.syscalls import NUMBERS  # noqa: PLC0415 - an older version has none

    return NUMBERS[os.uname().machine]


def saved_numbers(path: Path | None) -> dict[str, int]:
    """Return the numbers, from a file that `--names` wrote where this version has none."""
    return json.loads(path.read_text()) if path else numbers()


async def measure(spec: VmSpec, cache: Path, calls: dict[str, int]) -> dict[str, object]:
    """Return what the probe finds in a fresh clone."""
    never = ("exit", "exit_group", "fork", "vfork", "rt_sigreturn")
    skipped = [calls[name] for name in never if name in calls]
    hypervisor = QemuHypervisor(cache, cache / "run", image=spec.image)
    try:
        template = await hypervisor.template(spec)
        image, scratch = workspace(cache), scratch_disk(cache, 64 * 1024 * 1024)
        async with await hypervisor.restore(template) as machine:
            await machine.attach(workspace_fd=image, scratch_fd=scratch)
            await machine.reseed(secrets.token_bytes(64), time.time_ns())
            await machine.mount(GuestMount(path=WORKSPACE, filesystem="squashfs"))
            argv = ("python3", "-c", PROBE, json.dumps(skipped), str(LAST_CALL))
            report = await machine.execute(Execution(argv=argv, cwd=WORKSPACE, timeout_s=300))
    finally:
        hypervisor.close()
    if report.ended is not Ended.EXITED or report.exit_code != 0:
        raise SystemExit(report.stderr.decode())
    return json.loads(report.stdout)


def workspace(cache: Path) -> int:
    """Return an image of a small tree."""
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "a.txt").write_text("a")
        image = cache / "reachable.img"
        command = ["mksquashfs", place, str(image), "-noappend", "-quiet", "-no-progress"]
        subprocess.run([*command, "-all-root"], check=True, capture_output=True)
    descriptor = os.open(image, os.O_RDONLY)
    image.unlink()
    return descriptor


def show(found: dict, calls: dict[str, int]) -> None:
    """Print it as lines that can be compared."""
    named = {number: name for name, number in calls.items()}
    for kind in ("reached", "refused", "absent", "killed"):
        numbers = [int(number) for number, answer in found["calls"].items() if answer == kind]
        names = sorted(named[number] for number in numbers if number in named)
        others = f" and {len(numbers) - len(names)} unnamed" if len(numbers) > len(names) else ""
        print(f"calls {kind}: {len(names)}{others}\n  {' '.join(names)}")
    for name in ("label", "status", "sockets", "devices", "proc"):
        print(f"{name}: {found[name]}")
    for name in ("limits", "mounts"):
        print(f"{name}:", *found[name], sep="\n  ")


def main() -> None:
    """Measure one profile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="strict")
    parser.add_argument("--lsm", default="apparmor")
    parser.add_argument("--numbers", type=Path, help="JSON of call names and numbers")
    parser.add_argument("--write-numbers", type=Path, help="write that file, and nothing else")
    options = parser.parse_args()
    if options.write_numbers:
        options.write_numbers.write_text(json.dumps(numbers()))
        return
    image = ImageStore(load().cache_dir).current()
    chosen = {}
    if hasattr(hardening, "profile_named"):
        chosen["profile"] = hardening.profile_named(options.profile, lsm=options.lsm)
    calls = saved_numbers(options.numbers)
    with tempfile.TemporaryDirectory() as cache:
        show(anyio.run(measure, VmSpec(image=image, **chosen), Path(cache), calls), calls)


if __name__ == "__main__":
    main()
