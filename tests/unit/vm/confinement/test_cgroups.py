"""Where machines' cgroups are made, what is in them, and what becomes of leftovers."""

import os
from pathlib import Path

import pytest

from luminaguard.vm.confinement.cgroups.delegation import LEAF
from luminaguard.vm.confinement.cgroups.limits import CgroupLimits
from luminaguard.vm.confinement.cgroups.machine import Cgroups, sweep
from luminaguard.vm.confinement.cgroups.places import Branch, Places, find_places

MARK = "luminaguard-" + "ab" * 16
LIMITS = CgroupLimits(memory_bytes=(64 << 20) + 5, processes=32, cpus=1.5, weight=50)
ALL = "cpuset cpu io memory pids"


class Tree:
    """A directory tree that looks like a cgroup file system; it hands nothing down by itself."""

    def __init__(self, tmp_path: Path) -> None:
        self.proc = tmp_path / "proc"
        self.root = tmp_path / "cgroup fs"
        self.proc.mkdir()
        self.root.mkdir()

    def unified(self, path: str, *, controllers: str = ALL, handed_down: str = "") -> Path:
        """Make this process's own cgroup; return its directory."""
        own = self.cgroup(path, controllers=controllers, handed_down=handed_down)
        (self.proc / "cgroup").write_text(f"0::{path}\n")
        self.mounts([f"{self.where('')} rw - cgroup2 cgroup2 rw,nsdelegate"])
        return own

    def cgroup(self, path: str, *, controllers: str = ALL, handed_down: str = "") -> Path:
        directory = self.root / path.lstrip("/")
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "cgroup.controllers").write_text(f"{controllers}\n")
        (directory / "cgroup.subtree_control").write_text(f"{handed_down}\n")
        (directory / "cgroup.procs").write_text(f"{os.getpid()}\n")
        if path != "/":
            (directory / "cgroup.type").write_text("domain\n")
        return directory

    def first_version(self, controllers: dict[str, str]) -> None:
        """Give each controller a hierarchy of its own, at these paths."""
        lines = [f"{n}:{name}:{path}" for n, (name, path) in enumerate(controllers.items())]
        (self.proc / "cgroup").write_text("\n".join([*lines, "0::/"]))
        mounts: list[str] = []
        for name, path in controllers.items():
            (self.root / name / path.lstrip("/")).mkdir(parents=True)
            mounts.append(f"{self.where(name)} rw - cgroup cgroup rw,{name}")
        self.mounts([*mounts, f"{self.where('unified')} rw - cgroup2 cgroup2 rw"])

    def where(self, name: str) -> str:
        return str(self.root / name if name else self.root).replace(" ", "\\040")

    def mounts(self, ends: list[str]) -> None:
        lines = [f"{n} 1 0:{n} / {end}" for n, end in enumerate(ends, start=30)]
        (self.proc / "mountinfo").write_text(
            "1 0 8:1 / / rw - ext4 /dev/sda rw\n" + "\n".join(lines)
        )


def delegate(directory: Path) -> None:
    """Mark a directory as systemd does."""
    try:
        os.setxattr(directory, "user.delegate", b"1")
    except OSError as problem:
        pytest.skip(f"no extended attributes on {directory}: {problem.strerror}")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_a_controller_of_the_first_version_is_used_below_this_process(tree: Tree) -> None:
    tree.first_version({"memory": "/job", "pids": "/", "cpu,cpuacct": "/", "blkio": "/"})
    found = find_places(tree.proc)
    assert found.lacking is None
    assert {one.parent: one.controllers for one in found.branches} == {
        tree.root / "memory" / "job": ("memory",),
        tree.root / "pids": ("pids",),
        tree.root / "cpu,cpuacct": ("cpu",),
        tree.root / "blkio": ("blkio",),
    }
    assert not any(one.unified for one in found.branches)


def test_a_first_version_without_a_needed_controller_says_which(tree: Tree) -> None:
    tree.first_version({"memory": "/", "cpu": "/"})
    assert "pids controller is not mounted" in str(find_places(tree.proc).lacking)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_first_version_that_is_read_only_says_what_to_do(tree: Tree) -> None:
    tree.first_version({"memory": "/", "pids": "/", "cpu": "/"})
    (tree.root / "memory").chmod(0o555)
    lacking = str(find_places(tree.proc).lacking)
    (tree.root / "memory").chmod(0o755)
    assert "run as root" in lacking


def test_a_cgroup_that_is_not_delegated_is_left_alone_and_the_mend_is_named(tree: Tree) -> None:
    own = tree.unified("/user.slice/terminal.scope", handed_down="memory pids cpu")
    before = sorted(own.rglob("*"))
    found = find_places(tree.proc, root=False)
    assert found.branches == ()
    assert "systemd-run --user --scope -p Delegate=yes luminaguard" in str(found.lacking)
    assert sorted(own.rglob("*")) == before


def test_a_delegated_cgroup_is_used(tree: Tree) -> None:
    own = tree.unified("/user.slice/run.scope", handed_down="memory pids cpu io")
    delegate(own)
    found = find_places(tree.proc, root=False)
    assert found.lacking is None
    (branch,) = found.branches
    assert (branch.parent, branch.path) == (own, "/user.slice/run.scope")
    assert branch.controllers == ("memory", "pids", "cpu", "io")


def test_a_process_in_the_leaf_uses_the_cgroup_above(tree: Tree) -> None:
    above = tree.cgroup("/run.scope", handed_down="memory pids cpu")
    tree.unified(f"/run.scope/{LEAF}")
    delegate(above)
    (branch,) = find_places(tree.proc, root=False).branches
    assert (branch.parent, branch.path) == (above, "/run.scope")


def test_a_delegation_without_a_needed_controller_names_it_and_the_mend(tree: Tree) -> None:
    delegate(tree.unified("/run.scope", controllers="memory pids"))
    lacking = str(find_places(tree.proc, root=False).lacking)
    assert "no cpu controller" in lacking
    assert "Delegate=cpu" in lacking


def test_root_gets_a_place_at_the_top(tree: Tree) -> None:
    tree.cgroup("/", handed_down="memory pids cpu")
    tree.unified("/session.scope")
    top = tree.cgroup("/luminaguard", handed_down="memory pids cpu")
    (branch,) = find_places(tree.proc, root=True).branches
    assert (branch.parent, branch.path) == (top, "/luminaguard")


def test_a_host_without_cgroups_says_so(tree: Tree) -> None:
    (tree.proc / "cgroup").write_text("")
    tree.mounts([])
    assert "mount cgroup2" in str(find_places(tree.proc).lacking)


@pytest.fixture
def branch(tmp_path: Path) -> Branch:
    (tmp_path / "parent").mkdir()
    return Branch(
        parent=tmp_path / "parent", controllers=("memory", "pids"), hierarchy="", path="/a/b"
    )


def test_a_limit_that_cannot_be_set_is_told_and_leaves_nothing(branch: Branch) -> None:
    # A plain directory has no memory.max, like a cgroup without the controller.
    cgroup = Cgroups(MARK, Places(branches=(branch,))).make(LIMITS)
    assert cgroup.joins == ()
    assert "No such file" in str(cgroup.problem(os.getpid()))
    assert list(branch.parent.iterdir()) == []


def test_both_interfaces_are_given_the_same_limits() -> None:
    first = {one.file: one.value for part in LIMITS.v1().values() for one in part}
    second = {one.file: one.value for part in LIMITS.v2().values() for one in part}
    assert first["memory.limit_in_bytes"] == second["memory.max"] == str(64 << 20)
    assert first["memory.memsw.limit_in_bytes"] == str(64 << 20)  # memory and swap: no swap
    assert second["memory.swap.max"] == "0"
    assert first["pids.max"] == second["pids.max"] == "32"
    assert int(first["cpu.shares"]) / 1024 == int(second["cpu.weight"]) / 100 == 0.5
    assert second["cpu.max"] == f"{first['cpu.cfs_quota_us']} {first['cpu.cfs_period_us']}"
    assert int(first["cpu.cfs_quota_us"]) / int(first["cpu.cfs_period_us"]) == 1.5


def test_leftovers_of_the_dead_are_swept_and_the_livings_are_not(tmp_path: Path) -> None:
    with open("/proc/self/stat", encoding="ascii") as source:
        start = source.read().rpartition(")")[2].split()[19]
    dead = tmp_path / f"{MARK}-{2**22 + 1}-77-0"
    reused = tmp_path / f"{MARK}-{os.getpid()}-{int(start) + 1}-3"
    living = tmp_path / f"{MARK}-{os.getpid()}-{start}-0"
    others = tmp_path / "luminaguard-leaf"
    for directory in (dead, reused, living, others):
        directory.mkdir()
    sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([living, others])
