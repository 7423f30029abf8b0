"""Readying a cgroup v2 directory: its controllers handed down, its processes out of the way.

A cgroup that hands controllers down may hold no processes itself, so LuminaGuard's own move into a
leaf beside the machines. It moves only where systemd says that the directory is delegated.
Source: Linux, cgroup-v2.rst, "No Internal Process Constraint"; systemd, CGROUP_DELEGATION.md.
"""

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path

from luminaguard.vm.confinement.cgroups.limits import NEEDED

LEAF = "luminaguard-leaf"
"""Where the processes of a delegated cgroup move to."""
_WANTED = ("memory", "pids", "cpu", "io")
_MARKS = ("user.delegate", "trusted.delegate")
"""Extended attributes that systemd sets on what it delegates."""
_ROUNDS = 5
"""Of moving processes: each may start another meanwhile."""


class Refused(Exception):
    """This directory cannot hold machines; the message says why, and what mends it."""


def is_delegated(directory: Path) -> bool:
    """Whether systemd says that whoever runs here may shape what is below."""
    return any(_attribute(directory, name) == b"1" for name in _MARKS)


def is_true_root(directory: Path) -> bool:
    """Whether this is the top of the whole tree, the only cgroup without a type."""
    return (directory / "cgroup.controllers").exists() and not (directory / "cgroup.type").exists()


def open_to_children(directory: Path, *, may_move: bool) -> tuple[str, ...]:
    """Hand the directory's controllers down; return those that children now have.

    Args:
        directory: A cgroup v2 directory.
        may_move: Whether its processes, this one among them, may be moved into its leaf.

    Raises:
        Refused: a needed controller cannot be handed down.
    """
    offered = _words(directory / "cgroup.controllers")
    lacking = [name for name in NEEDED if name not in offered]
    if lacking:
        raise Refused(
            f"{directory} has no {', '.join(lacking)} controller: systemctl edit user@.service, "
            "and add [Service] Delegate=cpu cpuset io memory pids"
        )
    for name in (name for name in _WANTED if name in offered):
        if name not in _words(directory / "cgroup.subtree_control"):
            _hand_down(directory, name, may_move=may_move)
    given = _words(directory / "cgroup.subtree_control")
    return tuple(name for name in _WANTED if name in given)


def _hand_down(directory: Path, name: str, *, may_move: bool) -> None:
    control = directory / "cgroup.subtree_control"
    for _ in range(_ROUNDS):
        try:
            _write(control, f"+{name}")
        except OSError as problem:
            if problem.errno != errno.EBUSY:
                if name in NEEDED:
                    raise
                return
        else:
            return
        if not may_move:
            break
        _move_processes(directory)
    raise Refused(
        f"{directory} holds other processes: give LuminaGuard a cgroup of its own by "
        "systemd-run --scope -p Delegate=yes luminaguard …"
    )


def _move_processes(directory: Path) -> None:
    leaf = directory / LEAF
    leaf.mkdir(mode=0o755, exist_ok=True)
    for pid in _words(directory / "cgroup.procs"):
        with suppress(ProcessLookupError):  # it ended meanwhile
            _write(leaf / "cgroup.procs", pid)


def _write(file: Path, word: str) -> None:
    fd = os.open(file, os.O_WRONLY)  # never create: what is no cgroup must fail
    try:
        os.write(fd, word.encode())
    finally:
        os.close(fd)


def _words(file: Path) -> list[str]:
    return file.read_text(encoding="ascii").split()


def _attribute(directory: Path, name: str) -> bytes | None:
    if sys.platform != "linux":
        return None
    try:
        return os.getxattr(directory, name)
    except OSError:  # none, or not for this user to see
        return None
