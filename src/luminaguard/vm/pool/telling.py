"""Telling others how a pool fares: programs in this process, and whoever watches it."""

from collections.abc import Callable, Sequence
from typing import Protocol

import anyio
from anyio import to_thread

from luminaguard.errors import VmError
from luminaguard.vm.pool.metrics import PoolMetrics

_TELL_S = 0.2
"""Watchers are told at most this often."""
_TELL_AGAIN_S = 5.0
"""And at least this often, since ages change by themselves."""

Watcher = Callable[[PoolMetrics], None]
"""Told metrics, in a thread; may raise OSError."""


class Told(Protocol):
    """A pool, as far as its figures go."""

    id: str

    def metrics(self) -> PoolMetrics:
        """Return the figures of this moment."""
        ...

    def next_change(self) -> anyio.Event:
        """Return what is set when anything changes from now on."""
        ...


OPEN: list[Told] = []
"""The pools of this process."""


def get_pool_metrics(pool_id: str | None = None) -> PoolMetrics:
    """Return the metrics of the pool that runs in this process.

    Args:
        pool_id: Which one, where there are several: its `id`.

    Raises:
        VmError: there is none, or more than one to choose from.
    """
    found = [pool for pool in OPEN if pool_id in {None, pool.id}]
    if len(found) == 1:
        return found[0].metrics()
    if not found:
        raise VmError(
            "no such pool runs in this process",
            hint="open a MachinePool; `luminaguard pool status` shows those of other processes",
        )
    raise VmError(
        f"{len(found)} pools run in this process", hint="name one by its id: get_pool_metrics(id)"
    )


async def keep_telling(pool: Told, watchers: Sequence[Watcher], failed: Callable[[], None]) -> None:
    """Tell the watchers of every change, at a bounded rate, until cancelled.

    `failed` is called when one of them could not be told.
    """
    while True:
        changed = pool.next_change()
        if not await to_thread.run_sync(tell, pool.metrics(), watchers):
            failed()
        await anyio.sleep(_TELL_S)
        with anyio.move_on_after(_TELL_AGAIN_S - _TELL_S):
            await changed.wait()


def tell(metrics: PoolMetrics, watchers: Sequence[Watcher]) -> bool:
    """Tell every watcher; return whether all could be told."""
    told = True
    for watcher in watchers:
        try:
            watcher(metrics)
        except OSError:
            told = False
    return told
