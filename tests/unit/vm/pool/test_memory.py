"""The memory that may be used is the least that any limit above us leaves."""

import os
import sys
from pathlib import Path

import pytest

from luminaguard.vm.pool.memory import HostMemory

MIB = 1024 * 1024


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host with 8,000 MiB, 5,000 of them free, and no limits."""
    write(tmp_path, "proc/meminfo", f"MemTotal: {8000 * 1024} kB\nMemAvailable: {5000 * 1024} kB\n")
    write(tmp_path, "proc/self/cgroup", "0::/\n")
    return tmp_path


def write(root: Path, path: str, content: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(content)


def limit_v2(root: Path, group: str, limit: int | str, used: int, cache: int = 0) -> None:
    base = f"sys/fs/cgroup{group}"
    write(root, f"{base}/memory.max", f"{limit}\n")
    write(root, f"{base}/memory.current", f"{used}\n")
    write(root, f"{base}/memory.stat", f"anon 5\ninactive_file {cache}\n")


def test_without_limits_it_is_what_the_host_has_available(root: Path) -> None:
    memory = HostMemory(root)
    assert memory.free_bytes() == 5000 * MIB
    assert memory.total_bytes() == 8000 * MIB


def test_the_tightest_limit_on_the_way_up_decides(root: Path) -> None:
    write(root, "proc/self/cgroup", "0::/user.slice/session\n")
    limit_v2(root, "/user.slice/session", "max", 10 * MIB)
    limit_v2(root, "/user.slice", 1000 * MIB, 400 * MIB)
    memory = HostMemory(root)
    assert memory.free_bytes() == 600 * MIB
    assert memory.total_bytes() == 1000 * MIB


def test_file_cache_in_a_group_does_not_count_as_used(root: Path) -> None:
    write(root, "proc/self/cgroup", "0::/a\n")
    limit_v2(root, "/a", 1000 * MIB, 900 * MIB, cache=300 * MIB)
    assert HostMemory(root).free_bytes() == 400 * MIB


def test_a_group_beyond_its_limit_leaves_nothing(root: Path) -> None:
    write(root, "proc/self/cgroup", "0::/a\n")
    limit_v2(root, "/a", 1000 * MIB, 1200 * MIB)
    assert HostMemory(root).free_bytes() == 0


def test_the_older_kind_of_control_group_counts_as_well(root: Path) -> None:
    write(root, "proc/self/cgroup", "5:cpu:/\n4:memory:/job\n0::/\n")
    base = "sys/fs/cgroup/memory/job"
    write(root, f"{base}/memory.limit_in_bytes", f"{700 * MIB}\n")
    write(root, f"{base}/memory.usage_in_bytes", f"{300 * MIB}\n")
    stat = f"inactive_file {7 * MIB}\ntotal_inactive_file {100 * MIB}\n"
    write(root, f"{base}/memory.stat", stat)
    write(root, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    write(root, "sys/fs/cgroup/memory/memory.usage_in_bytes", "5\n")
    memory = HostMemory(root)
    assert memory.free_bytes() == 500 * MIB
    assert memory.total_bytes() == 700 * MIB


def test_where_the_system_tells_nothing_it_is_not_known(tmp_path: Path) -> None:
    memory = HostMemory(tmp_path)
    assert memory.free_bytes() is None
    assert memory.total_bytes() is None
    assert memory.used_bytes(1) is None


def test_a_process_takes_its_share_of_what_it_shares(root: Path) -> None:
    write(root, "proc/7/smaps_rollup", "55-7f ---p [rollup]\nRss:  9000 kB\nPss:  2000 kB\n")
    assert HostMemory(root).used_bytes(7) == 2000 * 1024


@pytest.mark.skipif(sys.platform == "win32", reason="page sizes are asked of POSIX")
def test_where_the_share_is_not_shown_it_is_all_that_is_resident(root: Path) -> None:
    write(root, "proc/7/statm", "900 20 3 0 0 0 0\n")
    assert HostMemory(root).used_bytes(7) == 20 * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="reads the files of Linux")
def test_this_host_tells_plausible_figures() -> None:
    memory = HostMemory()
    total, free, used = memory.total_bytes(), memory.free_bytes(), memory.used_bytes(os.getpid())
    assert total is not None
    assert free is not None
    assert used is not None
    assert 0 < free <= total
    assert MIB < used < total
