"""Run as the first program of a guest: tries LuminaGuard's cgroups where the kernel has only v2.

Prints one line `CGROUPS {json}` for each situation on the console, then powers off.
"""

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

CODE = "/run/luminaguard/luminaguard_guest"
USER = 1000
ROOT = Path("/sys/fs/cgroup")
ENTER = 'for p do shift; [ "$p" = -- ] && break; echo 0 >"$p"; done; read -r go; exec "$@"'
BOMB = """
import os, time
born = 0
try:
    while born < 60:
        if not os.fork():
            time.sleep(60)
        born += 1
except OSError:
    print(born)
"""
HOG = "held = bytearray(150 << 20); print('HELD')"
BUSY = "import time; end = time.time() + 1; exec('while time.time() < end: pass')"


def tell(situation: str, facts: dict[str, object]) -> None:
    line = json.dumps({"situation": situation, **facts})
    with open("/run/told", "a", encoding="utf-8") as told:
        told.write(f"CGROUPS {line}\n")


def attacked(situation: str) -> None:
    """Find a place, make a cgroup, attack from inside it, and tell what became of it."""
    import anyio

    from luminaguard.vm.confinement.cgroups.limits import CgroupLimits
    from luminaguard.vm.confinement.cgroups.machine import Cgroups
    from luminaguard.vm.confinement.cgroups.places import find_places

    places = find_places()
    facts: dict[str, object] = {"lacking": places.lacking, "own": own()}
    if places.lacking is None:
        limits = CgroupLimits(memory_bytes=48 << 20, processes=20, cpus=0.2, weight=50)
        cgroup = Cgroups("luminaguard-" + "ab" * 16).make(limits)
        (directory,) = cgroup.directories
        for name, code in (("bomb", BOMB), ("hog", HOG), ("busy", BUSY)):
            entered = ["/bin/sh", "-c", ENTER, "sh", *cgroup.joins, "--"]
            with subprocess.Popen(
                [*entered, sys.executable, "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            ) as one:
                facts["problem"] = waited(cgroup.problem, one.pid)
                print("go", file=one.stdin, flush=True)
                said = one.stdout.readline() if one.stdout else ""  # its children hold it open
                facts[name] = [one.wait(timeout=60), said.strip()]
            (directory / "cgroup.kill").write_text("1")
        for file in ("pids.events", "memory.events", "cpu.stat"):
            words = (directory / file).read_text().split()
            facts[file] = dict(zip(words[::2], map(int, words[1::2]), strict=True))
        facts["weight"] = (directory / "cpu.weight").read_text().strip()
        anyio.run(cgroup.remove)
        facts["removed"] = not directory.exists()
    tell(situation, facts)


def waited(problem: Callable[[int], str | None], pid: int) -> str | None:
    """Return the problem once it is None, or after five seconds."""
    limit = time.monotonic() + 5
    while (answer := problem(pid)) is not None and time.monotonic() < limit:
        time.sleep(0.02)
    return answer


def own() -> str:
    return Path("/proc/self/cgroup").read_text().strip().removeprefix("0::")


def as_user(situation: str, *, delegated: bool) -> None:
    """Do as systemd does for a user's scope, then try as that user, who is not alone in it."""
    scope = ROOT / "user.slice" / situation
    scope.mkdir(parents=True)
    for name in (".", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
        os.chown(scope / name, USER, USER)
    if delegated:
        os.setxattr(scope, "user.delegate", b"1")
    child = os.fork()
    if child == 0:
        try:
            (scope / "cgroup.procs").write_text("0")
            os.setgroups([])
            os.setgid(USER)
            os.setuid(USER)
            other = subprocess.Popen(["/bin/sleep", "60"])
            attacked(situation)
            other.kill()
        except BaseException:  # noqa: BLE001 - whatever it is, the host shall read it
            tell(situation, {"failed": traceback.format_exc()})
        os._exit(0)
    os.waitpid(child, 0)


def main() -> None:
    sys.path += [CODE, "/usr/lib/python3.11", "/usr/lib/python3.11/lib-dynload"]
    sys.path += [p for p in ("/usr/lib/python3/dist-packages",) if p not in sys.path]
    Path("/run/told").touch()
    Path("/run/told").chmod(0o666)
    try:
        attacked("root")
        (ROOT / "user.slice").mkdir()
        (ROOT / "user.slice" / "cgroup.subtree_control").write_text("+memory +pids +cpu +io")
        as_user("plain", delegated=False)
        as_user("delegated", delegated=True)
    except BaseException:  # noqa: BLE001 - whatever it is, the host shall read it
        tell("end", {"failed": traceback.format_exc()})
    with open("/dev/console", "w", encoding="utf-8") as console:
        console.write(f"\n{Path('/run/told').read_text()}END\n")
    time.sleep(1)  # the serial line's own speed
    Path("/proc/sysrq-trigger").write_text("o")
    time.sleep(60)
