"""One gVisor guest as the rest of LuminaGuard sees it."""

import os
from pathlib import Path

from anyio.to_thread import run_sync

from luminaguard.domain.isolation import Isolation
from luminaguard.errors import GuestLost, TemplateError, VmStateError
from luminaguard.vm.backends.gvisor.sandbox import Sandbox
from luminaguard.vm.hypervisor import GuestMount
from luminaguard.vm.lifecycle import VmEvent, after
from luminaguard.vm.living import LivingMachine
from luminaguard.vm.room import Room
from luminaguard.vm.spec import VmSpec

_MIB = 1024 * 1024


class GvisorMachine(LivingMachine):
    """A `MicroVM` run by runsc."""

    def __init__(self, sandbox: Sandbox, room: Room, isolation: Isolation, spec: VmSpec) -> None:
        """Take over a sandbox whose guest has answered; `ready` must follow."""
        super().__init__(sandbox.client, isolation)
        self._sandbox = sandbox
        self._room = room
        self._spec = spec
        self._mounted = False

    @property
    def pid(self) -> int:
        """Process id of the sentry: the guest's kernel."""
        return self._sandbox.pid

    @property
    def _alive(self) -> bool:
        return self._sandbox.alive

    @property
    def _slot_bytes(self) -> int:
        return self._spec.disk_limit_bytes

    async def _finish(self) -> None:
        await self._sandbox.end()

    def _cause_of_loss(self) -> GuestLost | None:
        return self._sandbox.cgroup.cause_of_loss("raise vm.memory_mib")

    async def attach(self, *, workspace_fd: int, scratch_fd: int) -> None:
        """Show the guest the workspace image's files, unpacked into the machine's own directory.

        Of the scratch disk only its size counts: what commands write lies in the sandbox's memory,
        at most half of what the machine has.
        """
        state = self.state
        self._require_disks_fit(workspace_fd, scratch_fd)
        if self._mounted:
            raise VmStateError("the workspace is mounted: it cannot be swapped", state=state.value)
        await run_sync(self._furnish, workspace_fd, os.fstat(scratch_fd).st_size)

    def _furnish(self, workspace_fd: int, scratch_bytes: int) -> None:
        self._room.furnish(workspace_fd)
        most = self._spec.memory_mib * _MIB // 2
        self._room.limit_scratch(min(scratch_bytes, most))

    async def mount(self, mount: GuestMount) -> None:
        """Mount scratch space and overlay."""
        await super().mount(mount)
        self._mounted = True

    async def pause(self) -> None:
        """Stop every process of the guest."""
        await self._change(VmEvent.PAUSE, "pause")

    async def resume(self) -> None:
        """Let the guest go on."""
        await self._change(VmEvent.RESUME, "resume")

    async def snapshot(self, directory: Path) -> None:
        """Refuse: a restored sandbox would not get its channel back.

        Raises:
            TemplateError: always; `Capabilities.snapshots` says so.
        """
        del directory
        after(self.state, VmEvent.SNAPSHOT)
        raise TemplateError("gVisor machines are not saved", hint="boot one for every use")

    async def _change(self, event: VmEvent, command: str) -> None:
        state = self.state
        following = after(state, event)
        if following is not state:
            try:
                await self._sandbox.control(command)
            except BaseException:
                await self._lost()  # nobody knows what it is now
                raise
        self._state = following
