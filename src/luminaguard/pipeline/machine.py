"""The session's micro-VM: made when it is needed, used call by call, destroyed when in doubt.

Between calls, and while a human decides, the machine is paused: it costs no CPU and cannot change
anything. After any end but approval or a call without effect it is destroyed; the next call gets a
fresh clone over a fresh image of the host's tree.
"""

import os
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import anyio
from anyio import to_thread

from luminaguard.domain.execution import Execution
from luminaguard.errors import GuestLost
from luminaguard.pipeline.rehearsal import Rehearsal
from luminaguard.pipeline.tree import CardMaterial, SessionTree
from luminaguard.vm.hypervisor import GuestMount, MicroVM
from luminaguard.vm.lifecycle import VmState
from luminaguard.vm.source import Lease, MachineSource

STOP_LIMIT_S = 20.0
"""Bound on ending a machine; its processes are killed, so only a stuck kernel takes long."""
SLOW_S = 2.0
"""A machine that is not there by then is being made from nothing."""

PHASES = (
    "queue_ms",
    "template_ms",
    "restore_ms",
    "image_ms",
    "disk_ms",
    "resume_ms",
    "reseed_ms",
    "mount_ms",
    "exec_ms",
    "harvest_ms",
    "commit_ms",
)
"""What a call's time goes to, in order. A phase that a call did not need took it 0 ms."""


@dataclass(slots=True, kw_only=True)
class SessionMachine:
    """At most one living micro-VM, over one workspace."""

    source: MachineSource
    owner: str
    """The session's id: whom the source hands machines to."""
    tree: SessionTree
    make_scratch: Callable[[], int]
    """Returns a new scratch disk as an open file; called in a thread."""
    notice: Callable[[str], None]
    """Told what a user waits for, when it takes long."""
    _lease: Lease | None = None
    _timings: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def workspace_path(self) -> str:
        """Where the workspace is, on the host and in the guest."""
        return self.tree.path

    async def rehearse(self, execution: Execution) -> Rehearsal:
        """Run a command, measure everything since the last settle, and pause the machine.

        Raises:
            VmError: no machine could be had, or it failed under the call.
            WorkspaceError: the tree cannot be sent, or the effect cannot be measured faithfully.
        """
        self._timings = dict.fromkeys(PHASES, 0.0)
        vm = await self._ready()
        common = await to_thread.run_sync(self.tree.environment)
        async with self._phase("exec"):
            report = await vm.execute(replace(execution, env={**common, **execution.env}))
        async with self._phase("harvest"), self.tree.measuring() as measurement:
            async for record in vm.harvest():
                measurement.add(record)
            changeset = await to_thread.run_sync(measurement.finish)
        await vm.pause()
        return Rehearsal(
            report=report,
            changeset=changeset,
            isolation=vm.isolation,
            spawn_ms=vm.spawn_ms,
            timings_ms=dict(self._timings),
        )

    async def material(self, rehearsal: Rehearsal) -> CardMaterial:
        """Return what a card shows beyond the changeset itself."""
        return await to_thread.run_sync(self.tree.material, rehearsal.changeset)

    async def commit(self, rehearsal: Rehearsal) -> Rehearsal:
        """Bring the measured changeset to the host; the machine is settled and goes on.

        Raises:
            ChangesetConflict: the host moved; nothing was overwritten.
            RecoveryNeeded: whether it was done must be found out by recovery.
        """
        async with self._phase("commit"):
            await to_thread.run_sync(self.tree.commit, rehearsal.changeset)
        return replace(rehearsal, timings_ms=dict(self._timings))

    async def destroy(self) -> None:
        """End the machine and forget what it measured. Works in every state, also cancelled."""
        lease, self._lease = self._lease, None
        self.tree.forget()
        if lease is not None:
            with anyio.move_on_after(STOP_LIMIT_S, shield=True):
                await lease.release()

    async def _ready(self) -> MicroVM:
        """Return the session's machine, running; have one made ready if there is none."""
        if self._lease is None:
            await self._make()
            await self._hand_out(self._held())
        lease = self._held()
        lease.renew()
        await self._resumed(lease.vm)
        return lease.vm

    def _held(self) -> Lease:
        if self._lease is None:
            raise GuestLost("the session's machine is gone")
        return self._lease

    async def _resumed(self, vm: MicroVM) -> None:
        if vm.state is VmState.PAUSED:
            async with self._phase("resume"):
                await vm.resume()

    async def _make(self) -> None:
        """Get a machine and image the tree, side by side; say so if it takes long."""
        async with _one_error(), anyio.create_task_group() as waiting:
            waiting.start_soon(self._tell_if_slow)
            async with _one_error(), anyio.create_task_group() as tasks:
                tasks.start_soon(self._image)
                tasks.start_soon(self._get)
            waiting.cancel_scope.cancel()

    async def _tell_if_slow(self) -> None:
        await anyio.sleep(SLOW_S)
        self.notice("preparing the first machine; this is done once for each image")

    async def _image(self) -> None:
        async with self._phase("image"):
            await to_thread.run_sync(self.tree.image)

    async def _get(self) -> None:
        self._lease = await self.source.lease(self.owner)
        self._timings |= self._lease.timings_ms

    async def _hand_out(self, lease: Lease) -> None:
        """Make the machine this session's: disks in, fresh randomness and clock, workspace."""
        vm = lease.vm
        async with self._phase("disk"):
            scratch = await to_thread.run_sync(self.make_scratch)
            try:
                await vm.attach(workspace_fd=self.tree.image_fd, scratch_fd=scratch)
            finally:
                os.close(scratch)
        await self._resumed(vm)
        async with self._phase("reseed"):
            await vm.reseed(secrets.token_bytes(64), time.time_ns())
        async with self._phase("mount"):
            await vm.mount(GuestMount(path=self.tree.path, filesystem=self.tree.filesystem))

    @asynccontextmanager
    async def _phase(self, name: str) -> AsyncGenerator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self._timings[f"{name}_ms"] += (time.monotonic() - started) * 1000


@asynccontextmanager
async def _one_error() -> AsyncGenerator[None]:
    """Raise the first error of a task group as itself."""
    try:
        yield
    except ExceptionGroup as group:
        raise group.exceptions[0] from group
