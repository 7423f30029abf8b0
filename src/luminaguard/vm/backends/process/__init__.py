"""Processes: machines without a kernel of their own. Only where the user names this backend.

`backend` offers it, `machine` is one guest, `launch` starts and ends its processes, `spaces` gives
it users that are nobody, `jail` reads back what holds, `host` finds what this host must have.
"""
