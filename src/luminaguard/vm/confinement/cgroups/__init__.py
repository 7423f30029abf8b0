"""What a machine may take of the host: memory, processes, processor and disk time.

`limits.py` says how much and in which files the kernel wants it, `places.py` finds where this
process may make cgroups, `delegation.py` readies a cgroup v2 directory for that, `machine.py`
makes, joins, checks and removes one machine's. Nothing here is part of the minimum: a host that
gives LuminaGuard no cgroups still gets its machines, and reads on each card what they lack.
"""
