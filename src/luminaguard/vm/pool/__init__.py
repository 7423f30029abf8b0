"""A pool of warm machines: restored, exercised and paused before anybody asks for them.

`MachinePool` hands each of them out once, through a `Lease`; `PoolSettings` bounds it;
`PoolMetrics` tells how it fares. `schedule.py` takes all decisions, as a pure function.
"""

from luminaguard.vm.pool.lease import PoolLease
from luminaguard.vm.pool.metrics import Percentiles, PoolMetrics
from luminaguard.vm.pool.pool import MachinePool
from luminaguard.vm.pool.settings import PoolSettings
from luminaguard.vm.pool.telling import get_pool_metrics

__all__ = [
    "MachinePool",
    "Percentiles",
    "PoolLease",
    "PoolMetrics",
    "PoolSettings",
    "get_pool_metrics",
]
