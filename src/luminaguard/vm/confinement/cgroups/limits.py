"""How much of the host one machine may take, in the words of both cgroup interfaces."""

from collections.abc import Mapping
from dataclasses import dataclass

PERIOD_US = 100_000
"""Over which processor time is counted. Source: Linux, sched-bwc.rst, the default period."""
_V1_SHARES_OF_WEIGHT = 1024 / 100
"""Both interfaces' defaults, 1024 shares and weight 100, mean the same."""
_PAGE_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One file of a cgroup and what it must read."""

    file: str
    value: str
    needed: bool = True
    """False where many kernels have no such file; then its absence is no lack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupLimits:
    """What one machine may take of the host."""

    memory_bytes: int
    """Resident memory and page cache together; beyond it the machine is killed, nothing else."""
    processes: int
    """Threads and processes, those that confine QEMU included."""
    cpus: float
    """Processors that it can keep busy, however many threads it starts."""
    weight: int
    """Share of processor and disk when others want them too; everybody else has 100."""

    def v1(self) -> Mapping[str, tuple[Setting, ...]]:
        """Return controller → settings. Source: Linux, cgroup-v1/{memory,pids,blkio}.rst."""
        memory = str(self._whole_pages())
        weight = str(max(self.weight, 1))
        return {
            "memory": (
                Setting(file="memory.limit_in_bytes", value=memory),
                Setting(file="memory.memsw.limit_in_bytes", value=memory, needed=False),
                Setting(file="memory.swappiness", value="0", needed=False),
            ),
            "pids": (Setting(file="pids.max", value=str(self.processes)),),
            "cpu": (
                Setting(file="cpu.shares", value=str(round(self.weight * _V1_SHARES_OF_WEIGHT))),
                Setting(file="cpu.cfs_period_us", value=str(PERIOD_US), needed=False),
                Setting(file="cpu.cfs_quota_us", value=str(self._quota_us()), needed=False),
            ),
            "blkio": (
                Setting(file="blkio.bfq.weight", value=weight, needed=False),
                Setting(file="blkio.weight", value=weight, needed=False),
            ),
        }

    def v2(self) -> Mapping[str, tuple[Setting, ...]]:
        """Return controller → settings. Source: Linux, cgroup-v2.rst."""
        return {
            "memory": (
                Setting(file="memory.max", value=str(self._whole_pages())),
                Setting(file="memory.swap.max", value="0", needed=False),
                Setting(file="memory.oom.group", value="1", needed=False),
            ),
            "pids": (Setting(file="pids.max", value=str(self.processes)),),
            "cpu": (
                Setting(file="cpu.weight", value=str(self.weight)),
                Setting(file="cpu.max", value=f"{self._quota_us()} {PERIOD_US}", needed=False),
            ),
            "io": (
                Setting(file="io.weight", value=f"default {self.weight}", needed=False),
                Setting(file="io.bfq.weight", value=f"default {self.weight}", needed=False),
            ),
        }

    def _whole_pages(self) -> int:
        """Return the memory limit as the kernel will show it."""
        return self.memory_bytes // _PAGE_BYTES * _PAGE_BYTES

    def _quota_us(self) -> int:
        return round(self.cpus * PERIOD_US)


NEEDED = ("memory", "pids", "cpu")
"""Controllers without which the machine counts as not limited."""
WISHED = ("blkio", "io")
"""Controllers that are used where they are: a host's disks often weigh nothing anyway."""
