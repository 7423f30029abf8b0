"""Starting doubles instead of processes, behind the same contract as the real launcher."""

import os
import secrets
from pathlib import Path

from fcdouble.engine import Engine
from fcdouble.guest import Programs
from fcdouble.server import ApiServer
from luminaguard.domain.isolation import Jail
from luminaguard.vm.backends.firecracker.api.client import ApiClient
from luminaguard.vm.backends.firecracker.backend import Host
from luminaguard.vm.backends.firecracker.jail.commands import API_SOCKET
from luminaguard.vm.backends.firecracker.jail.launch import greet
from luminaguard.vm.backends.firecracker.launched import Launched, TemplateMemory
from luminaguard.vm.backends.firecracker.pipes import MetricsTail, Tail
from luminaguard.vm.backends.firecracker.room import Room
from luminaguard.vm.backends.firecracker.shape import LOG, METRICS, Shape
from luminaguard.vm.backends.firecracker.version import Version, parse_version


class DoubleVmm:
    """A double's process is this one."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server
        self.pid = os.getpid()

    @property
    def alive(self) -> bool:
        return self.server.alive

    def cpu_s(self) -> float:
        return 0.0

    def jail(self, room: Room, template: TemplateMemory | None) -> Jail:
        return Jail(layers=())

    async def last_words(self) -> str:
        return "the double has ended"

    async def end(self) -> None:
        self.server.stop()


class DoubleLauncher:
    """Starts a double for each machine; `engines` are all of them, oldest first."""

    def __init__(
        self, base: Path, programs: Programs | None = None, version: str = "1.16.1"
    ) -> None:
        self.base = base
        self.programs = programs or {}
        self.version = version
        self.breaks: dict[tuple[str, str], str] = {}
        self.engines: list[Engine] = []
        self.vmms: list[DoubleVmm] = []
        self.answer_s = 5.0

    async def launch(self, shape: Shape) -> Launched:
        name = f"double-{secrets.token_hex(8)}"
        top = self.base / "firecracker" / name
        room = Room(top, top / "root", None)
        log, metrics = Tail(room.pipe(LOG)), MetricsTail(room.pipe(METRICS))
        engine = Engine(
            root=room.root,
            id=name,
            programs=self.programs,
            version=self.version,
            breaks=self.breaks,
        )
        vmm = DoubleVmm(ApiServer(engine, room.root / "rw" / API_SOCKET))
        self.engines.append(engine)
        self.vmms.append(vmm)
        api = ApiClient(lambda: room.connect(API_SOCKET), answer_s=self.answer_s)
        launched = Launched(vmm=vmm, room=room, api=api, log=log, metrics=metrics)
        try:
            await greet(launched, name)
        except BaseException:
            await launched.end()
            raise
        return launched

    def close(self) -> None:
        """Nothing watches over doubles."""

    @property
    def host(self) -> Host:
        version = parse_version(self.version)
        assert isinstance(version, Version)
        return Host(identity=f"double {self.version}", version=version, launcher=self)

    @property
    def left(self) -> list[Path]:
        """What machines left behind."""
        return sorted(self.base.glob("firecracker/*"))
