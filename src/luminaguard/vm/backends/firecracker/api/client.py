"""Every request that LuminaGuard makes of Firecracker, as one typed method each."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from luminaguard.vm.backends.firecracker.api.bodies import (
    Action,
    ActionType,
    Body,
    BootSource,
    Drive,
    DriveChange,
    Entropy,
    InstanceInfo,
    Logger,
    MachineConfig,
    MachineConfigChange,
    MachineConfigInfo,
    Metrics,
    RunState,
    Serial,
    SnapshotCreate,
    SnapshotLoad,
    VmChange,
    Vsock,
    version_from_json,
)
from luminaguard.vm.backends.firecracker.api.faults import ApiLost
from luminaguard.vm.backends.firecracker.api.transport import Connect, Request, Transport

ANSWER_S = 5.0
"""Longest wait for an answer to what takes Firecracker milliseconds."""
START_S = 20.0
"""Starting a guest, and loading one: the kernel or the memory is read."""
SAVE_S = 120.0
"""Writing a guest's whole memory to a file."""

_Answer = TypeVar("_Answer")


class ApiClient:
    """Talks to one Firecracker process.

    Every method raises `ApiRefused` when Firecracker says no, which changes nothing, and `ApiLost`
    when it is not known what happened. Every wait is bounded.
    """

    def __init__(self, connect: Connect, *, answer_s: float = ANSWER_S) -> None:
        """Use `connect` for each request; `answer_s` bounds the ordinary ones."""
        self._transport = Transport(connect)
        self._answer_s = answer_s

    async def describe(self) -> InstanceInfo:
        """Return who answers, and in what state its machine is."""
        return await self._get("/", InstanceInfo.from_json)

    async def version(self) -> str:
        """Return the version of the running Firecracker."""
        return await self._get("/version", version_from_json)

    async def machine_config(self) -> MachineConfigInfo:
        """Return the shape of the machine."""
        return await self._get("/machine-config", MachineConfigInfo.from_json)

    async def vm_config(self) -> Mapping[str, object]:
        """Return everything that is configured, as the API's own JSON object."""
        return await self._get("/vm/config", lambda said: said)

    async def put_machine_config(self, config: MachineConfig) -> None:
        """Set the machine's shape, before it starts."""
        await self._change("PUT", "/machine-config", config)

    async def patch_machine_config(self, change: MachineConfigChange) -> None:
        """Change parts of the machine's shape, before it starts."""
        await self._change("PATCH", "/machine-config", change)

    async def put_boot_source(self, source: BootSource) -> None:
        """Set what the guest boots, before it starts."""
        await self._change("PUT", "/boot-source", source)

    async def put_drive(self, drive: Drive) -> None:
        """Add or change a disk, before the machine starts."""
        await self._change("PUT", f"/drives/{drive.drive_id}", drive)

    async def patch_drive(self, change: DriveChange) -> None:
        """Swap a disk's file, once the machine has started or was loaded."""
        await self._change("PATCH", f"/drives/{change.drive_id}", change)

    async def put_vsock(self, vsock: Vsock) -> None:
        """Give the guest a socket device, before it starts."""
        await self._change("PUT", "/vsock", vsock)

    async def put_entropy(self, entropy: Entropy) -> None:
        """Give the guest a source of random numbers, before it starts."""
        await self._change("PUT", "/entropy", entropy)

    async def put_serial(self, serial: Serial) -> None:
        """Say where the guest's serial line goes, before it starts."""
        await self._change("PUT", "/serial", serial)

    async def put_logger(self, logger: Logger) -> None:
        """Say where log lines go."""
        await self._change("PUT", "/logger", logger)

    async def put_metrics(self, metrics: Metrics) -> None:
        """Say where metrics go; once."""
        await self._change("PUT", "/metrics", metrics)

    async def start(self) -> None:
        """Start the configured machine."""
        action = Action(action_type=ActionType.INSTANCE_START)
        await self._change("PUT", "/actions", action, limit_s=START_S)

    async def flush_metrics(self) -> None:
        """Have the metrics written now."""
        await self._change("PUT", "/actions", Action(action_type=ActionType.FLUSH_METRICS))

    async def pause(self) -> None:
        """Stop the guest's processors."""
        await self._change("PATCH", "/vm", VmChange(state=RunState.PAUSED))

    async def resume(self) -> None:
        """Let the guest's processors run."""
        await self._change("PATCH", "/vm", VmChange(state=RunState.RESUMED))

    async def create_snapshot(self, snapshot: SnapshotCreate) -> None:
        """Write a paused machine's state and memory to files."""
        await self._change("PUT", "/snapshot/create", snapshot, limit_s=SAVE_S)

    async def load_snapshot(self, snapshot: SnapshotLoad) -> None:
        """Make a saved machine of this fresh process."""
        await self._change("PUT", "/snapshot/load", snapshot, limit_s=START_S)

    async def _get(self, path: str, read: Callable[[Mapping[str, object]], _Answer]) -> _Answer:
        said = await self._transport.send(Request(method="GET", path=path), limit_s=self._answer_s)
        try:
            return read(said)
        except ValueError as problem:
            raise ApiLost(f"Firecracker's answer to GET {path} is wrong: {problem}") from problem

    async def _change(
        self, method: str, path: str, body: Body, *, limit_s: float | None = None
    ) -> None:
        request = Request(method=method, path=path, body=body.as_json())
        await self._transport.send(request, limit_s=limit_s or self._answer_s)
