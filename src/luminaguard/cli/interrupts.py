"""Ctrl-C and SIGTERM end the call in progress; a commit that has begun is brought to its end."""

import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import anyio


@asynccontextmanager
async def interrupts(interrupt: Callable[[], None]) -> AsyncGenerator[None]:
    """Call `interrupt` for each SIGINT and SIGTERM while the body runs."""
    try:
        async with anyio.create_task_group() as tasks:
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:

                async def watch() -> None:
                    async for _ in signals:
                        interrupt()

                tasks.start_soon(watch)
                yield
                tasks.cancel_scope.cancel()
    except ExceptionGroup as group:  # the body's own error: watching raises none
        raise group.exceptions[0] from group
