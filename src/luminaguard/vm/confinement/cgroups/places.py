"""Where this process may make cgroups: below its own, so its own limits go on to hold.

Only root with cgroup v2, outside of any delegated part, gets a place of its own at the top.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from luminaguard.vm.confinement.cgroups.delegation import (
    LEAF,
    Refused,
    is_delegated,
    is_true_root,
    open_to_children,
)
from luminaguard.vm.confinement.cgroups.limits import NEEDED, WISHED
from luminaguard.vm.linux import user_id

TOP = "luminaguard"
"""Root's own part of a cgroup v2 tree."""
_DELEGATE = "systemd-run --user --scope -p Delegate=yes luminaguard …"
_ESCAPE = re.compile(r"\\([0-7]{3})")
"""How mountinfo writes blanks. Source: proc_pid_mountinfo(5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A directory below which each machine gets a cgroup."""

    parent: Path
    controllers: tuple[str, ...]
    hierarchy: str
    """Second field of its line in /proc/<pid>/cgroup; empty for cgroup v2."""
    path: str
    """The parent as that line's third field shows it to this process."""

    @property
    def unified(self) -> bool:
        """Whether this is cgroup v2."""
        return self.hierarchy == ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """What was found."""

    branches: tuple[Branch, ...] = ()
    lacking: str | None = None
    """Why machines cannot be limited, with what mends it; None when they can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mount:
    point: Path
    root: str
    controllers: frozenset[str]


def find_places(proc: Path = Path("/proc/self"), *, root: bool | None = None) -> Places:
    """Return where machines' cgroups can be made, readying cgroup v2 for them if need be.

    Args:
        proc: This process's directory in procfs.
        root: Whether this process is root; None asks the kernel.
    """
    root = user_id() == 0 if root is None else root
    try:
        own = _own_cgroups(proc)
        mounts = _mounts(proc)
    except OSError as problem:
        return Places(lacking=f"this host's cgroups cannot be read: {problem.strerror}")
    if own.keys() & set(NEEDED):
        return _first_version(own, mounts)
    unified = next((mount for mount in mounts if not mount.controllers), None)
    if unified is None or "" not in own:
        return Places(lacking="no cgroup file system is mounted here: mount cgroup2")
    return _second_version(own[""][1], unified, root=root)


def _first_version(own: Mapping[str, tuple[str, str]], mounts: list[_Mount]) -> Places:
    branches: list[Branch] = []
    for controller in (*NEEDED, *WISHED):
        mount = next((one for one in mounts if controller in one.controllers), None)
        if controller not in own or mount is None:
            if controller in NEEDED:
                return Places(lacking=f"this host's {controller} controller is not mounted")
            continue
        hierarchy, path = own[controller]
        parent = _directory(mount, path)
        if not os.access(parent, os.W_OK):
            if controller in NEEDED:
                return Places(
                    lacking="this host has cgroup v1, which gives limits to root only: run as "
                    "root, or boot the host with systemd.unified_cgroup_hierarchy=1"
                )
            continue
        branches.append(
            Branch(parent=parent, controllers=(controller,), hierarchy=hierarchy, path=path)
        )
    return Places(branches=_merged(branches))


def _merged(branches: list[Branch]) -> tuple[Branch, ...]:
    """Return them with controllers that share a hierarchy, such as cpu,cpuacct, taken together."""
    merged: dict[Path, Branch] = {}
    for branch in branches:
        known = merged.get(branch.parent)
        controllers = (*known.controllers, *branch.controllers) if known else branch.controllers
        merged[branch.parent] = Branch(
            parent=branch.parent,
            controllers=controllers,
            hierarchy=branch.hierarchy,
            path=branch.path,
        )
    return tuple(merged.values())


def _second_version(path: str, mount: _Mount, *, root: bool) -> Places:
    own = _directory(mount, path)
    if own.name == LEAF:  # another LuminaGuard, or this one, went there before
        own, path = own.parent, path.rpartition("/")[0]
    try:
        if is_delegated(own):
            return _branch(own, path, open_to_children(own, may_move=True))
        if is_true_root(mount.point) and root:
            top = mount.point / TOP
            open_to_children(mount.point, may_move=False)
            top.mkdir(mode=0o755, exist_ok=True)
            return _branch(top, f"/{TOP}", open_to_children(top, may_move=False))
        if os.access(own / "cgroup.procs", os.W_OK) and path in {"", "/"}:
            return _branch(own, path, open_to_children(own, may_move=False))
    except Refused as refused:
        return Places(lacking=str(refused))
    except OSError as problem:
        return Places(lacking=f"{own}: {problem.strerror}; start it by: {_DELEGATE}")
    return Places(lacking=f"no cgroup is delegated to LuminaGuard; start it by: {_DELEGATE}")


def _branch(parent: Path, path: str, controllers: tuple[str, ...]) -> Places:
    found = Branch(parent=parent, controllers=controllers, hierarchy="", path=path or "/")
    return Places(branches=(found,))


def _own_cgroups(proc: Path) -> dict[str, tuple[str, str]]:
    """Return controller → (hierarchy, path); cgroup v2 is the controller without a name."""
    own: dict[str, tuple[str, str]] = {}
    for line in (proc / "cgroup").read_text(encoding="utf-8", errors="replace").splitlines():
        _, hierarchy, path = line.split(":", 2)
        for controller in hierarchy.split(","):
            own[controller] = (hierarchy, path)
    return own


def _mounts(proc: Path) -> list[_Mount]:
    """Return the mounted cgroup file systems. Source: proc_pid_mountinfo(5), fields 4, 5, 9, 11."""
    found: list[_Mount] = []
    for line in (proc / "mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.split()
        kind, options = words[words.index("-") + 1], words[-1]
        if kind in {"cgroup", "cgroup2"}:
            controllers = frozenset(options.split(",")) if kind == "cgroup" else frozenset[str]()
            found.append(
                _Mount(point=Path(_plain(words[4])), root=_plain(words[3]), controllers=controllers)
            )
    return found


def _directory(mount: _Mount, path: str) -> Path:
    """Return where a cgroup's path lies; a container may see only a part of the tree."""
    inside = path.removeprefix(mount.root) if mount.root != "/" else path
    return mount.point / inside.lstrip("/")


def _plain(word: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), word)
