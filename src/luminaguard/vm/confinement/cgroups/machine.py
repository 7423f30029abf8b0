"""One machine's cgroup: made before QEMU, joined by its first process, checked, removed.

Its name carries who made it. What a killed LuminaGuard left is removed at the next start; the
kernel itself refuses to remove a cgroup in which anything lives.
"""

import itertools
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio

from luminaguard.errors import GuestLost
from luminaguard.vm.confinement.cgroups.limits import NEEDED, CgroupLimits, Setting
from luminaguard.vm.confinement.cgroups.places import Branch, Places, find_places

_NAME = re.compile(r"luminaguard-[0-9a-f]{32}-(\d+)-(\d+)-\d+")
"""The owner's mark, process id and start time, and a number."""
_REMOVE_ROUNDS = 100
_REMOVE_POLL_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One machine's directory in one branch."""

    branch: Branch
    directory: Path
    settings: tuple[Setting, ...]


class MachineCgroup:
    """The cgroup of one machine, in every hierarchy that has one."""

    def __init__(self, parts: tuple[_Part, ...], lacking: str | None) -> None:
        """Take over made directories; use `Cgroups.make` instead."""
        self._parts = parts
        self._lacking = lacking

    @property
    def joins(self) -> tuple[str, ...]:
        """Files into which the machine's first process, of a single thread, writes itself.

        A thread that moves itself need not wait until every processor has seen it: 14 ms less.
        Cgroup v2 lets only whole processes cross over. Source: Linux, cgroup_procs_write_start().
        """
        return tuple(
            str(part.directory / ("cgroup.procs" if part.branch.unified else "tasks"))
            for part in self._parts
        )

    @property
    def directories(self) -> tuple[Path, ...]:
        """Where it lies; one for cgroup v2, one for each controller for v1."""
        return tuple(part.directory for part in self._parts)

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel killed something in it for using more memory than its limit.

        Source: Linux, cgroup-v2.rst, memory.events; cgroup-v1/memory.rst, memory.oom_control.
        """
        for part in self._parts:
            for name in ("memory.events", "memory.oom_control"):
                with suppress(OSError):
                    text = (part.directory / name).read_text(encoding="ascii")
                    words = dict(line.split(" ", 1) for line in text.splitlines())
                    return int(words.get("oom_kill", "0")) > 0
        return False

    def cause_of_loss(self, hint: str) -> GuestLost | None:
        """Return why its guest was lost if memory was why; `hint`: what to do about it."""
        if not self.ran_out_of_memory():
            return None
        return GuestLost("the machine used more memory than it may, and was killed", hint=hint)

    def problem(self, pid: int, proc: Path = Path("/proc")) -> str | None:
        """Return why process `pid` is not limited as it should be; None when the kernel says it is.

        Reads the process's cgroups and every limit back.
        """
        if self._lacking is not None:
            return self._lacking
        try:
            return self._unlike(proc / str(pid) / "cgroup")
        except OSError as problem:
            return f"its limits cannot be read back: {problem.strerror}"

    def _unlike(self, listing: Path) -> str | None:
        lines = listing.read_text(encoding="utf-8", errors="replace").splitlines()
        shown = {hierarchy: path for _, hierarchy, path in (line.split(":", 2) for line in lines)}
        for part in self._parts:
            wanted = f"{part.branch.path.rstrip('/')}/{part.directory.name}"
            if shown.get(part.branch.hierarchy) != wanted:
                return f"QEMU is not in {part.directory}"
            for setting in part.settings:
                problem = _unlike(part.directory / setting.file, setting)
                if problem is not None:
                    return problem
        return None

    async def remove(self) -> None:
        """Remove it once all that lived in it is gone; waits for that, bounded. Idempotent."""
        for _ in range(_REMOVE_ROUNDS):
            self._parts = tuple(part for part in self._parts if not _removed(part.directory))
            if not self._parts:
                return
            await anyio.sleep(_REMOVE_POLL_S)


class Cgroups:
    """Makes machines' cgroups, where this host lets LuminaGuard make any."""

    def __init__(self, mark: str, places: Places | None = None) -> None:
        """Keep the owner's mark; the places are looked for at first use unless given."""
        self._mark = mark
        self._places = places
        self._owner = f"{os.getpid()}-{_start_time(os.getpid()) or 0}"
        self._numbers = itertools.count()

    def places(self) -> Places:
        """Return where they are made; the first time, remove what killed owners left there."""
        if self._places is None:
            self._places = find_places()
            for branch in self._places.branches:
                sweep(branch.parent)
        return self._places

    @property
    def parents(self) -> tuple[Path, ...]:
        """Directories in which they are made; known once one was."""
        return () if self._places is None else tuple(one.parent for one in self._places.branches)

    def make(self, limits: CgroupLimits) -> MachineCgroup:
        """Make one machine's cgroup with its limits set; never fails, but may lack a reason."""
        places = self.places()
        if places.lacking is not None:
            return MachineCgroup((), places.lacking)
        name = f"{self._mark}-{self._owner}-{next(self._numbers)}"
        made: list[_Part] = []
        try:
            made.extend(_make(branch, name, limits) for branch in places.branches)
        except OSError as problem:
            for part in made:
                _removed(part.directory)
            where = problem.filename or "a cgroup"
            return MachineCgroup((), f"{where}: {problem.strerror}")
        return MachineCgroup(tuple(made), None)


def sweep(parent: Path) -> None:
    """Remove the cgroups of LuminaGuard processes that are no more; never touch a living one's."""
    with suppress(OSError):
        for entry in os.listdir(parent):
            found = _NAME.fullmatch(entry)
            if found is not None and _start_time(int(found[1])) != int(found[2]):
                _removed(parent / entry)


def _make(branch: Branch, name: str, limits: CgroupLimits) -> _Part:
    directory = branch.parent / name
    directory.mkdir(mode=0o755)
    try:
        held = tuple(_apply(branch, directory, limits))
    except OSError:
        _removed(directory)
        raise
    return _Part(branch=branch, directory=directory, settings=held)


def _apply(branch: Branch, directory: Path, limits: CgroupLimits) -> Iterator[Setting]:
    """Write a cgroup's limits; yield those that it must show."""
    every = limits.v2() if branch.unified else limits.v1()
    for controller in branch.controllers:
        for setting in every[controller]:
            try:
                _write(directory / setting.file, setting.value)
            except OSError:
                if setting.needed and controller in NEEDED:
                    raise
            else:
                yield setting


def _write(file: Path, value: str) -> None:
    fd = os.open(file, os.O_WRONLY)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def _unlike(file: Path, setting: Setting) -> str | None:
    shown = file.read_text(encoding="ascii").strip()
    return None if shown == setting.value else f"{file} reads {shown}, not {setting.value}"


def _removed(directory: Path) -> bool:
    """Remove a cgroup; False while something lives in it."""
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _start_time(pid: int) -> int | None:
    """Return when a process started; None when there is none.

    Source: proc_pid_stat(5), field 22.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as source:
            return int(source.read().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None
