"""Which processes descend from which, as the kernel tells it.

Source: proc_pid_task(5), "children"; kernels with CONFIG_PROC_CHILDREN have it.
"""

import os
from contextlib import suppress
from pathlib import Path


def children(parent: int) -> list[int]:
    """Return the children of all threads of a process; none if it is gone."""
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{parent}/task"):
            with suppress(OSError):
                text = Path(f"/proc/{parent}/task/{thread}/children").read_text(encoding="ascii")
                found.extend(int(pid) for pid in text.split())
    return found


def descendants(parent: int) -> list[int]:
    """Return all processes below one, parents before children."""
    found: list[int] = []
    waiting = [parent]
    while waiting:
        below = children(waiting.pop(0))
        found += below
        waiting += below
    return found
