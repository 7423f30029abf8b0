"""What this host does without any machine: the floors, and other sandboxes beside them."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from luminaguard.bench.samples import Samples

CPU = "host: 1,000,000 rounds of a Python loop"
TRUE = "host: start `true` and wait for it"
READ = "host: read 10,000 files"
LIST = "host: list 10,000 files"
SYNCED = "host: write 50 files, each synced"
BUBBLEWRAP = "bubblewrap: `bwrap --unshare-all true`"
GVISOR = "gVisor: `runsc do true`"
_LIMIT_S = 60.0
_PEERS = {
    BUBBLEWRAP: (
        "bubblewrap",
        ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"],
    ),
    GVISOR: ("runsc", ["runsc", "--network=none", "do"]),
}


def measure_processes(samples: Samples, n: int) -> None:
    """Time the processor, a bare process, and a process in each other sandbox, side by side."""
    commands = {TRUE: ["true"]}
    for figure, (package, prefix) in _PEERS.items():
        problem = _problem(prefix, package)
        if problem is None:
            commands[figure] = [*prefix, "true"]
        else:
            samples.unavailable[figure] = problem
    for _ in range(n):
        with samples.timed(CPU):
            _spin()
        for figure, command in commands.items():
            with samples.timed(figure):
                _run(command)


def measure_files(samples: Samples, tree: Path, scratch: Path, n: int) -> None:
    """Time what reading and writing cost without an image, a machine or a record."""
    for number in range(n):
        with samples.timed(LIST):
            paths = [path for path in tree.rglob("*") if path.is_file()]
        with samples.timed(READ):
            for path in paths:
                path.read_bytes()
        place = scratch / f"synced-{number}"
        place.mkdir()
        with samples.timed(SYNCED):
            for name in range(50):
                _write_synced(place / f"{name}")
        shutil.rmtree(place)


def _spin() -> None:
    total = 0
    for number in range(1_000_000):
        total += number


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=_LIMIT_S)


def _problem(prefix: Sequence[str], package: str) -> str | None:
    if shutil.which(prefix[0]) is None:
        return f"{prefix[0]} is not installed; apt-get install {package}"
    try:
        _run([*prefix, "true"])
    except (OSError, subprocess.SubprocessError) as problem:
        said = b""
        if isinstance(problem, subprocess.CalledProcessError):
            said = problem.stderr
        return (
            f"{prefix[0]} does not work here ({said.decode(errors='replace').strip() or problem})"
        )
    return None


def _write_synced(path: Path) -> None:
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        os.write(fd, b"# edited\n" * 50)
        with suppress(OSError):  # a file system that cannot
            os.fsync(fd)
    finally:
        os.close(fd)
