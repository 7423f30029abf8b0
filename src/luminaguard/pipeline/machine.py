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
from luminaguard.vm.hypervisor import GuestMount, Hypervisor, MicroVM
from luminaguard.vm.lifecycle import VmState
from luminaguard.vm.spec import VmSpec

STOP_LIMIT_S = 20.0
"""Bound on ending a machine; its processes are killed, so only a stuck kernel takes long."""
SLOW_S = 2.0
"""A machine that is not there by then is being made from nothing."""


@dataclass(slots=True, kw_only=True)
class SessionMachine:
    """At most one living micro-VM, over one workspace."""

    hypervisor: Hypervisor
    spec: Callable[[], VmSpec]
    """Finds the guest image; called when a machine is made, in a thread."""
    tree: SessionTree
    make_scratch: Callable[[], int]
    """Returns a new scratch disk as an open file; called in a thread."""
    notice: Callable[[str], None]
    """Told what a user waits for, when it takes long."""
    _vm: MicroVM | None = None
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
        self._timings = {}
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
        vm, self._vm = self._vm, None
        self.tree.forget()
        if vm is not None:
            with anyio.move_on_after(STOP_LIMIT_S, shield=True):
                await vm.stop()

    async def _ready(self) -> MicroVM:
        """Return the session's machine, running; make it if there is none."""
        if self._vm is None:
            await self._make()
            await self._prepare(self._living())
        vm = self._living()
        if vm.state is VmState.PAUSED:
            async with self._phase("resume"):
                await vm.resume()
        return vm

    def _living(self) -> MicroVM:
        if self._vm is None:
            raise GuestLost("the session's machine is gone")
        return self._vm

    async def _make(self) -> None:
        """Restore a clone and image the tree, side by side; say so if it takes long."""
        async with _one_error(), anyio.create_task_group() as waiting:
            waiting.start_soon(self._tell_if_slow)
            async with _one_error(), anyio.create_task_group() as tasks:
                tasks.start_soon(self._image)
                tasks.start_soon(self._restore)
            waiting.cancel_scope.cancel()

    async def _tell_if_slow(self) -> None:
        await anyio.sleep(SLOW_S)
        self.notice("preparing the first machine; this is done once for each image")

    async def _image(self) -> None:
        async with self._phase("image"):
            await to_thread.run_sync(self.tree.image)

    async def _restore(self) -> None:
        spec = await to_thread.run_sync(self.spec)
        async with self._phase("template"):
            template = await self.hypervisor.template(spec)
        async with self._phase("restore"):
            self._vm = await self.hypervisor.restore(template)

    async def _prepare(self, vm: MicroVM) -> None:
        """Hand out: disks in, fresh randomness and clock, workspace mounted."""
        async with self._phase("disk"):
            scratch = await to_thread.run_sync(self.make_scratch)
            try:
                await vm.attach(workspace_fd=self.tree.image_fd, scratch_fd=scratch)
            finally:
                os.close(scratch)
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
            self._timings[f"{name}_ms"] = (time.monotonic() - started) * 1000


@asynccontextmanager
async def _one_error() -> AsyncGenerator[None]:
    """Raise the first error of a task group as itself."""
    try:
        yield
    except ExceptionGroup as group:
        raise group.exceptions[0] from group
