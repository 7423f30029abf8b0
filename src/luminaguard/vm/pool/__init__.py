"""A pool of warm machines: restored, exercised and paused before anybody asks for them.

`MachinePool` (pool.py) hands each of them out once, through a `Lease`; `PoolSettings` bounds it;
`PoolMetrics` tells how it fares. `schedule.py` takes all decisions, as a pure function.
"""
