"""Every request fits the published description, every wait ends, every refusal says why."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from fcdouble.description import description, operation
from fcdouble.engine import Engine
from fcdouble.server import ApiServer
from luminaguard.vm.backends.firecracker.api import bodies
from luminaguard.vm.backends.firecracker.api.bodies import (
    BootSource,
    CacheType,
    Drive,
    DriveChange,
    Entropy,
    HugePages,
    InstanceState,
    IoEngine,
    Logger,
    LogLevel,
    MachineConfig,
    MachineConfigChange,
    MemoryBackend,
    MemoryBackendType,
    Metrics,
    RateLimiter,
    Serial,
    SnapshotCreate,
    SnapshotLoad,
    SnapshotType,
    TokenBucket,
    Vsock,
    VsockOverride,
)
from luminaguard.vm.backends.firecracker.api.client import ApiClient
from luminaguard.vm.backends.firecracker.api.faults import ApiLost, ApiRefused
from luminaguard.vm.backends.firecracker.room import Room

pytestmark = pytest.mark.anyio

RATE = RateLimiter(
    bandwidth=TokenBucket(size=1 << 20, refill_time=100, one_time_burst=1 << 22),
    ops=TokenBucket(size=1000, refill_time=1000),
)
FULL_DRIVE = Drive(
    drive_id="root",
    path_on_host="/ro/disk",
    is_read_only=True,
    is_root_device=False,
    cache_type=CacheType.UNSAFE,
    io_engine=IoEngine.SYNC,
    rate_limiter=RATE,
)


class World:
    """A double and its client."""

    def __init__(self, base: Path, *, answer_s: float = 5.0) -> None:
        self.room = Room(base / "machine", base / "machine" / "root", None)
        for name in ("kernel", "disk", "log", "metrics"):
            place = self.room.root / ("rw" if name in {"log", "metrics"} else "ro") / name
            place.write_bytes(b"\x7fELF")
        self.engine = Engine(root=self.room.root, id="one")
        self.server = ApiServer(self.engine, self.room.root / "rw" / "api.sock")
        self.api = ApiClient(lambda: self.room.connect("api.sock"), answer_s=answer_s)

    async def booted(self) -> None:
        await self.api.put_boot_source(BootSource(kernel_image_path="/ro/kernel"))
        await self.api.put_drive(Drive(drive_id="d", path_on_host="/ro/disk", is_read_only=True))
        await self.api.put_vsock(Vsock(guest_cid=3, uds_path="/rw/vsock.sock"))
        await self.api.start()

    def close(self) -> None:
        self.server.stop()
        self.room.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


@pytest.fixture
async def hasty(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path, answer_s=1)
    yield made
    made.close()


async def test_a_fresh_process_tells_who_it_is(world: World) -> None:
    info = await world.api.describe()
    assert (info.id, info.state, info.app_name) == ("one", InstanceState.NOT_STARTED, "Firecracker")
    assert await world.api.version() == world.engine.version == info.vmm_version
    assert (await world.api.machine_config()).mem_size_mib == 128


SETTINGS: list[Callable[[ApiClient], Awaitable[None]]] = [
    lambda api: api.put_machine_config(
        MachineConfig(
            vcpu_count=2,
            mem_size_mib=256,
            smt=False,
            track_dirty_pages=True,
            huge_pages=HugePages.TRANSPARENT,
        )
    ),
    lambda api: api.patch_machine_config(MachineConfigChange(mem_size_mib=512)),
    lambda api: api.put_boot_source(
        BootSource(kernel_image_path="/ro/kernel", initrd_path="/ro/disk", boot_args="quiet")
    ),
    lambda api: api.put_drive(FULL_DRIVE),
    lambda api: api.put_vsock(Vsock(guest_cid=3, uds_path="/rw/vsock.sock")),
    lambda api: api.put_entropy(Entropy(rate_limiter=RATE)),
    lambda api: api.put_serial(
        Serial(serial_out_path="/rw/log", rate_limiter=TokenBucket(size=1, refill_time=1))
    ),
    lambda api: api.put_logger(
        Logger(log_path="/rw/log", level=LogLevel.DEBUG, show_level=True, show_log_origin=True)
    ),
    lambda api: api.put_metrics(Metrics(metrics_path="/rw/metrics")),
]


@pytest.mark.parametrize("number", range(len(SETTINGS)))
async def test_each_setting_fits_the_description_with_all_its_fields(
    world: World, number: int
) -> None:
    await SETTINGS[number](world.api)
    assert len(world.engine.heard) == 1


async def test_what_was_configured_can_be_read_back(world: World) -> None:
    await world.api.put_machine_config(MachineConfig(vcpu_count=2, mem_size_mib=256))
    await world.api.put_drive(FULL_DRIVE)
    config = await world.api.vm_config()
    assert config["machine-config"] == {"vcpu_count": 2, "mem_size_mib": 256}
    assert config["drives"] == [FULL_DRIVE.as_json()]
    assert (await world.api.machine_config()).vcpu_count == 2


async def test_a_machine_is_started_paused_saved_and_loaded_in_that_order(
    world: World, tmp_path: Path
) -> None:
    await world.booted()
    assert (await world.api.describe()).state is InstanceState.RUNNING
    save = SnapshotCreate(
        snapshot_path="/rw/state", mem_file_path="/rw/memory", snapshot_type=SnapshotType.FULL
    )
    with pytest.raises(ApiRefused, match="paused"):
        await world.api.create_snapshot(save)
    await world.api.pause()
    assert (await world.api.describe()).state is InstanceState.PAUSED
    await world.api.create_snapshot(save)
    await world.api.patch_drive(DriveChange(drive_id="d", path_on_host="/rw/memory"))
    await world.api.resume()
    again = World(tmp_path / "again")
    for name in ("state", "memory"):
        content = (world.room.root / "rw" / name).read_bytes()
        (again.room.root / "rw" / name).write_bytes(content)
    backend = MemoryBackend(backend_type=MemoryBackendType.FILE, backend_path="/rw/memory")
    await again.api.load_snapshot(
        SnapshotLoad(
            snapshot_path="/rw/state",
            mem_backend=backend,
            resume_vm=True,
            track_dirty_pages=False,
            vsock_override=VsockOverride(uds_path="/rw/other.sock"),
        )
    )
    assert (await again.api.describe()).state is InstanceState.RUNNING
    again.close()


async def test_nothing_starts_without_a_kernel(world: World) -> None:
    with pytest.raises(ApiRefused, match="without kernel") as refused:
        await world.api.start()
    assert refused.value.status == 400


LATE: list[Callable[[ApiClient], Awaitable[None]]] = [
    lambda api: api.put_boot_source(BootSource(kernel_image_path="/ro/kernel")),
    lambda api: api.put_machine_config(MachineConfig(vcpu_count=1, mem_size_mib=128)),
    lambda api: api.put_drive(Drive(drive_id="x", path_on_host="/ro/disk", is_read_only=True)),
    lambda api: api.put_vsock(Vsock(guest_cid=3, uds_path="/rw/other.sock")),
    lambda api: api.start(),
    lambda api: api.load_snapshot(
        SnapshotLoad(
            snapshot_path="/rw/log",
            mem_backend=MemoryBackend(backend_type=MemoryBackendType.FILE, backend_path="/rw/log"),
        )
    ),
]


@pytest.mark.parametrize("number", range(len(LATE)))
async def test_a_running_machine_is_not_configured_any_more(world: World, number: int) -> None:
    await world.booted()
    with pytest.raises(ApiRefused, match="after starting"):
        await LATE[number](world.api)
    assert (await world.api.describe()).state is InstanceState.RUNNING


EARLY: list[Callable[[ApiClient], Awaitable[None]]] = [
    lambda api: api.pause(),
    lambda api: api.resume(),
    lambda api: api.flush_metrics(),
    lambda api: api.patch_drive(DriveChange(drive_id="d", path_on_host="/ro/disk")),
    lambda api: api.create_snapshot(SnapshotCreate(snapshot_path="/rw/a", mem_file_path="/rw/b")),
]


@pytest.mark.parametrize("number", range(len(EARLY)))
async def test_what_needs_a_guest_is_refused_before_there_is_one(world: World, number: int) -> None:
    with pytest.raises(ApiRefused, match="before starting"):
        await EARLY[number](world.api)


async def test_a_snapshot_is_loaded_into_a_fresh_process_only(world: World) -> None:
    await world.api.put_machine_config(MachineConfig(vcpu_count=1, mem_size_mib=128))
    backend = MemoryBackend(backend_type=MemoryBackendType.FILE, backend_path="/rw/log")
    with pytest.raises(ApiRefused, match="boot-specific"):
        await world.api.load_snapshot(SnapshotLoad(snapshot_path="/rw/log", mem_backend=backend))


async def test_a_path_that_firecracker_cannot_open_is_refused_with_the_reason(
    world: World,
) -> None:
    drive = Drive(drive_id="x", path_on_host="/ro/none", is_read_only=True)
    with pytest.raises(ApiRefused, match="No such file"):
        await world.api.put_drive(drive)


async def test_a_value_out_of_range_is_refused(world: World) -> None:
    with pytest.raises(ApiRefused, match="out of range"):
        await world.api.put_machine_config(MachineConfig(vcpu_count=33, mem_size_mib=128))
    with pytest.raises(ApiRefused, match="out of range"):
        await world.api.put_vsock(Vsock(guest_cid=2, uds_path="/rw/vsock.sock"))


async def test_a_server_error_is_told_without_what_could_steer_a_terminal(world: World) -> None:
    world.engine.breaks["GET", "/version"] = "error"
    with pytest.raises(ApiRefused, match="Internal") as refused:
        await world.api.version()
    assert refused.value.status == 500
    assert "\x1b" not in str(refused.value)


async def test_a_socket_that_takes_requests_and_never_answers_is_given_up_in_time(
    hasty: World,
) -> None:
    hasty.engine.breaks["GET", "/"] = "hang"
    with anyio.fail_after(5), pytest.raises(ApiLost, match="within"):
        await hasty.api.describe()
    assert await hasty.api.version()  # other requests are not held up by it


async def test_a_request_can_be_cancelled(world: World) -> None:
    world.engine.breaks["GET", "/"] = "hang"
    with anyio.fail_after(5):
        with anyio.move_on_after(0.1) as scope:
            await world.api.describe()
        assert scope.cancelled_caught
        assert await world.api.version()
        assert await to_thread.run_sync(world.server.given_up.wait, 2), "its thread still waits"


@pytest.mark.parametrize("act", ["nonsense", "die"])
async def test_an_answer_that_is_none_means_that_firecracker_is_lost(
    world: World, act: str
) -> None:
    world.engine.breaks["GET", "/"] = act
    with pytest.raises(ApiLost):
        await world.api.describe()


async def test_a_process_that_is_gone_cannot_be_asked(world: World) -> None:
    world.server.stop()
    with pytest.raises(ApiLost, match="cannot be asked"):
        await world.api.describe()


async def test_an_answer_of_another_form_is_not_believed(world: World) -> None:
    world.engine.breaks["GET", "/"] = "odd"
    with pytest.raises(ApiLost, match="is wrong"):
        await world.api.describe()


def test_every_field_of_every_body_is_one_of_the_description() -> None:
    names = {
        "Action": "InstanceActionInfo",
        "VmChange": "Vm",
        "MachineConfig": "MachineConfiguration",
        "MachineConfigChange": "MachineConfiguration",
        "DriveChange": "PartialDrive",
        "Entropy": "EntropyDevice",
        "Serial": "SerialDevice",
        "SnapshotCreate": "SnapshotCreateParams",
        "SnapshotLoad": "SnapshotLoadParams",
    }
    definitions: dict[str, Any] = description()["definitions"]
    found = [one for one in vars(bodies).values() if isinstance(one, type)]
    for one in found:
        if issubclass(one, bodies.Body) and one is not bodies.Body:
            described = definitions[names.get(one.__name__, one.__name__)]["properties"]
            assert {field.name for field in fields(one)} <= described.keys(), one


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/machine-config", b'{"vcpu_count": 1, "mem_size_mib": 1, "extra": 1}'),
        ("PUT", "/machine-config", b'{"vcpu_count": true, "mem_size_mib": 1}'),
        ("PUT", "/machine-config", b'{"vcpu_count": 1}'),
        ("PUT", "/actions", b'{"action_type": "Explode"}'),
        ("PUT", "/drives/a", b'{"drive_id": "b", "is_root_device": false}'),
        ("PUT", "/boot-source", b"{"),
        ("PUT", "/boot-source", b""),
        ("DELETE", "/boot-source", b""),
        ("PUT", "/balloon", b"{}"),
    ],
)
def test_the_double_refuses_what_the_description_does_not_allow(
    tmp_path: Path, method: str, path: str, body: bytes
) -> None:
    status, answer = Engine(root=tmp_path, id="one").handle(method, path, body)
    assert status == 400
    assert isinstance(answer, dict)
    assert answer["fault_message"]


def test_the_description_is_read_with_its_parameters() -> None:
    found = operation("PATCH", "/drives/root")
    assert found is not None
    assert found[1] == {"drive_id": "root"}
