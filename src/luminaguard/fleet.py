"""Many sessions at once, or one that should never wait: one warm pool, one audit log."""

from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from anyio import to_thread

from luminaguard.audit.log import AuditLog
from luminaguard.backends import choose
from luminaguard.config import Settings, load
from luminaguard.errors import LuminaGuardError
from luminaguard.image.image import GuestImage
from luminaguard.machines import machine_spec
from luminaguard.vm.hypervisor import Hypervisor
from luminaguard.vm.linux import allow_open_files
from luminaguard.vm.pool.pool import MachinePool
from luminaguard.vm.pool.publish import MetricsFile


class Fleet:
    """What sessions share: warm machines and one audit log. An async context manager.

    async with Fleet() as fleet:
        async with Session("project", machines=fleet.machines, log=fleet.log) as session:
            outcome = await session.exec(["make", "test"])
    """

    def __init__(
        self,
        *,
        settings: Settings | None = None,
        hypervisor: Hypervisor | None = None,
        image: GuestImage | str | None = None,
    ) -> None:
        """Choose what the machines are; nothing is opened yet.

        Args:
            settings: Default: from the configuration file and the environment.
            hypervisor: Default: the first of the settings' order that works on this host.
            image: What warm machines run, or its name. Default: the image that the settings name.
        """
        self._settings = settings or load()
        self._hypervisor = hypervisor
        self._image = image or self._settings.vm.image
        self._stack = AsyncExitStack()
        self._pool: MachinePool | None = None
        self._log: AuditLog | None = None

    async def __aenter__(self) -> Self:
        """Open the audit log and begin to fill the pool; no machine is waited for."""
        allow_open_files()
        async with AsyncExitStack() as stack:
            self._log = await to_thread.run_sync(AuditLog.open, self._settings.state_dir)
            stack.callback(self._log.close)
            if self._hypervisor is None:
                self._hypervisor = own = await choose(self._settings, self._probed_image)
                stack.callback(own.close)
            pool = MachinePool(
                self._hypervisor,
                lambda: machine_spec(self._settings, self._image),
                self._settings.pool,
            )
            public = stack.enter_context(
                MetricsFile(self._settings.runtime_dir, pool.id, backend=self._hypervisor.name)
            )
            pool.watch(public.publish)
            self._pool = await stack.enter_async_context(pool)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Destroy all machines and close everything; the sessions have been closed before."""
        self._pool = self._log = None
        await self._stack.__aexit__(exc_type, exc, traceback)

    def _probed_image(self) -> GuestImage:
        return machine_spec(self._settings, self._image).image

    @property
    def log(self) -> AuditLog:
        """The open audit log."""
        if self._log is None:
            raise _closed()
        return self._log

    @property
    def machines(self) -> MachinePool:
        """The warm machines."""
        if self._pool is None:
            raise _closed()
        return self._pool


def _closed() -> LuminaGuardError:
    return LuminaGuardError("the fleet is not open", hint="use it as `async with Fleet() as fleet`")
