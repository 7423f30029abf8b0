"""Making machines: booted from an image, or brought back from a saved state."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from luminaguard.domain.isolation import Isolation, Tier
from luminaguard.errors import BootTimeout, GuestLost, TemplateError, VmError
from luminaguard.image.image import GuestImage
from luminaguard.vm.agentfiles import agent_archive
from luminaguard.vm.backends.apple.configuration import (
    AGENT_PORT,
    Described,
    Files,
    Shape,
    describe,
)
from luminaguard.vm.backends.apple.framework import Framework
from luminaguard.vm.backends.apple.handle import MachineHandle
from luminaguard.vm.backends.apple.jail import mac_jail
from luminaguard.vm.backends.apple.kernel import bootable_kernel
from luminaguard.vm.backends.apple.machine import AppleEngine
from luminaguard.vm.backends.apple.saved import SavedMachine
from luminaguard.vm.bootfiles import boot_files
from luminaguard.vm.channel import Channel
from luminaguard.vm.confinement.readback import require_minimum
from luminaguard.vm.console import last_lines
from luminaguard.vm.directories import make_private
from luminaguard.vm.engine import EngineMachine
from luminaguard.vm.guest import GuestClient
from luminaguard.vm.hardening import HardeningProfile
from luminaguard.vm.slots import CONSOLE, SCRATCH, WORKSPACE, PrivateDirectory

ACCELERATOR = "virtualization"
_BOOT_LIMIT_S = 20.0
_WAKE_LIMIT_S = 20.0
_CONSOLE_LIMIT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be made."""

    image: GuestImage
    shape: Shape
    key: str


class Launcher:
    """Makes machines on this Mac."""

    def __init__(
        self,
        framework: Framework,
        cache_dir: Path,
        runtime_dir: Path,
        allow_missing: frozenset[str],
        *,
        arch: str,
        boot_limit_s: float = _BOOT_LIMIT_S,
    ) -> None:
        """Keep where things lie, and which jail layers the user's configuration waives."""
        self._framework = framework
        self._cache_dir = cache_dir
        self._runtime_dir = runtime_dir
        self._allow_missing = allow_missing
        self._arch = arch
        self._boot_limit_s = boot_limit_s

    async def boot(self, plan: Plan) -> EngineMachine:
        """Boot a guest until its agent answers.

        Raises:
            BootTimeout: it did not answer; the message ends with what its console showed.
        """
        try:
            return await self._make(plan, saved=None)
        except GuestLost as lost:
            console = await self._console_of(plan)
            raise BootTimeout(
                f"the guest did not come up ({lost}); its console, booted once more, ended with:\n"
                f"{console}",
                hint="luminaguard doctor",
            ) from lost

    async def wake(self, plan: Plan, saved: SavedMachine) -> EngineMachine:
        """Bring a saved guest back, until its agent answers.

        Raises:
            TemplateError: it does not come back.
        """
        try:
            return await self._make(plan, saved=saved)
        except GuestLost as lost:
            raise TemplateError(f"the template does not wake up: {lost}") from lost

    async def describe(self, plan: Plan, directory: Path, *, console: Path | None) -> Described:
        """Return the configuration of a machine whose slots lie in `directory`."""
        files = await self._files(plan, directory, console=console)
        return describe(self._framework, plan.shape, files)

    async def _make(self, plan: Plan, *, saved: SavedMachine | None) -> EngineMachine:
        isolation = self._isolation(plan.shape.profile, is_clone=saved is not None)
        async with AsyncExitStack() as undo:
            directory = await self._directory(plan)
            undo.push_async_callback(_shielded, lambda: run_sync(directory.remove))
            files = await self._files(plan, directory.path, console=None)
            described = describe(
                self._framework,
                plan.shape,
                files,
                identifier=None if saved is None else saved.identifier,
            )
            handle = await MachineHandle.make(
                self._framework, described.configuration, directory.path.name
            )
            undo.push_async_callback(_shielded, handle.end)
            if saved is None:
                await handle.start()
            else:
                await handle.restore(saved.state)
                await handle.resume()
            limit_s = self._boot_limit_s if saved is None else _WAKE_LIMIT_S
            client = await _greet(handle, limit_s)
            undo.callback(client.close)
            undo.pop_all()
        engine = AppleEngine(
            handle=handle,
            directory=directory,
            identifier=described.identifier,
            key=plan.key,
            slot_bytes=plan.shape.disk_limit_bytes,
        )
        return EngineMachine(engine, client, isolation)

    def _isolation(self, profile: HardeningProfile, *, is_clone: bool) -> Isolation:
        jail = mac_jail(runtime_private=make_private(self._runtime_dir))
        require_minimum(jail, allow_missing=self._allow_missing, clone=is_clone)
        return Isolation(
            backend="apple",
            tier=Tier.HARDWARE,
            accelerator=ACCELERATOR,
            jail=jail,
            guest=profile.stamp,
        )

    async def _directory(self, plan: Plan) -> PrivateDirectory:
        return await run_sync(
            PrivateDirectory.make, self._runtime_dir / "apple", plan.shape.disk_limit_bytes
        )

    async def _files(self, plan: Plan, directory: Path, *, console: Path | None) -> Files:
        kernel, initrd = await run_sync(
            lambda: boot_files(
                self._cache_dir / "apple" / "boot",
                plan.image,
                plan.shape.profile,
                agent_archive(),
                unpack=lambda kernel: bootable_kernel(kernel, self._arch),
            )
        )
        return Files(
            kernel=kernel,
            initrd=initrd,
            root=plan.image.rootfs,
            workspace=directory / WORKSPACE,
            scratch=directory / SCRATCH,
            console=console,
        )

    async def _console_of(self, plan: Plan) -> str:
        """Boot once more with a console, and return what it showed last."""
        directory = await self._directory(plan)
        try:
            console = directory.path / CONSOLE
            described = await self.describe(plan, directory.path, console=console)
            handle = await MachineHandle.make(self._framework, described.configuration, "console")
            try:
                await handle.start()
                with anyio.move_on_after(_CONSOLE_LIMIT_S):
                    await _greet(handle, _CONSOLE_LIMIT_S)
            finally:
                with anyio.CancelScope(shield=True):
                    await handle.end()
            return await run_sync(last_lines, console)
        except VmError as problem:
            return f"({problem})"
        finally:
            await run_sync(directory.remove)


async def _greet(handle: MachineHandle, limit_s: float) -> GuestClient:
    started_s = anyio.current_time()
    client = GuestClient(Channel(await handle.connect(AGENT_PORT, limit_s=limit_s)))
    try:
        await client.hello(max(limit_s - (anyio.current_time() - started_s), 1.0))
    except BaseException:
        client.close()
        raise
    return client


async def _shielded(work: Callable[[], Awaitable[object]]) -> None:
    """Await what `work` returns, whatever cancels its user meanwhile."""
    with anyio.CancelScope(shield=True):
        await work()
