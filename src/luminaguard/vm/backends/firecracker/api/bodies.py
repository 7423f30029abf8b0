"""What goes into requests and comes out of answers, as values.

Field names are those of the API; `None` means "leave out", which lets Firecracker's default hold.
Source: Firecracker API description 1.17.0-dev, `definitions`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import cast

from luminaguard.domain.calls import JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A request's body: its fields are those of the JSON object."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return the JSON object, without fields that are left out."""
        said = {one.name: cast("object", getattr(self, one.name)) for one in fields(self)}
        return {name: _plain(value) for name, value in said.items() if value is not None}


def _plain(value: object) -> JsonValue:
    return value.as_json() if isinstance(value, Body) else cast("JsonValue", value)


class ActionType(StrEnum):
    """What `PUT /actions` can do."""

    INSTANCE_START = "InstanceStart"
    FLUSH_METRICS = "FlushMetrics"
    SEND_CTRL_ALT_DEL = "SendCtrlAltDel"


class RunState(StrEnum):
    """What `PATCH /vm` can ask for."""

    PAUSED = "Paused"
    RESUMED = "Resumed"


class InstanceState(StrEnum):
    """What `GET /` can tell."""

    NOT_STARTED = "Not started"
    RUNNING = "Running"
    PAUSED = "Paused"


class MemoryBackendType(StrEnum):
    """Who serves a restored guest's page faults: the kernel from a file, or a handler of ours."""

    FILE = "File"
    UFFD = "Uffd"


class SnapshotType(StrEnum):
    """How much of the memory a snapshot holds."""

    FULL = "Full"
    DIFF = "Diff"


class CacheType(StrEnum):
    """What a guest's flush does on the host."""

    UNSAFE = "Unsafe"
    WRITEBACK = "Writeback"


class IoEngine(StrEnum):
    """How a drive's file is read and written."""

    SYNC = "Sync"
    ASYNC = "Async"


class HugePages(StrEnum):
    """Which pages back the guest's memory."""

    NONE = "None"
    TRANSPARENT = "Transparent"
    TWO_MIB = "2M"


class LogLevel(StrEnum):
    """What is worth a line in the log."""

    ERROR = "Error"
    WARNING = "Warning"
    INFO = "Info"
    DEBUG = "Debug"
    TRACE = "Trace"
    OFF = "Off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action(Body):
    """`PUT /actions`."""

    action_type: ActionType


@dataclass(frozen=True, slots=True, kw_only=True)
class VmChange(Body):
    """`PATCH /vm`."""

    state: RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineConfig(Body):
    """`PUT /machine-config`: 1 to 32 processors, memory in MiB."""

    vcpu_count: int
    mem_size_mib: int
    smt: bool | None = None
    track_dirty_pages: bool | None = None
    huge_pages: HugePages | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineConfigChange(Body):
    """`PATCH /machine-config`: only what changes."""

    vcpu_count: int | None = None
    mem_size_mib: int | None = None
    smt: bool | None = None
    track_dirty_pages: bool | None = None
    huge_pages: HugePages | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BootSource(Body):
    """`PUT /boot-source`: an uncompressed ELF kernel, by paths that Firecracker sees."""

    kernel_image_path: str
    initrd_path: str | None = None
    boot_args: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBucket(Body):
    """A rate: `size` tokens at most, refilled in `refill_time` milliseconds."""

    size: int
    refill_time: int
    one_time_burst: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimiter(Body):
    """Limits of a device: bytes, and operations."""

    bandwidth: TokenBucket | None = None
    ops: TokenBucket | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive(Body):
    """`PUT /drives/{drive_id}`: a virtio-blk disk over a file that Firecracker sees."""

    drive_id: str
    path_on_host: str
    is_read_only: bool
    is_root_device: bool = False
    cache_type: CacheType | None = None
    io_engine: IoEngine | None = None
    rate_limiter: RateLimiter | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveChange(Body):
    """`PATCH /drives/{drive_id}`: another file, or other limits, while the guest exists."""

    drive_id: str
    path_on_host: str | None = None
    rate_limiter: RateLimiter | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vsock(Body):
    """`PUT /vsock`: sockets of the guest's address family, behind a unix socket here."""

    guest_cid: int
    uds_path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entropy(Body):
    """`PUT /entropy`: a virtio-rng device."""

    rate_limiter: RateLimiter | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Serial(Body):
    """`PUT /serial`: where the guest's serial line goes; since version 1.14."""

    serial_out_path: str | None = None
    rate_limiter: TokenBucket | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Logger(Body):
    """`PUT /logger`: a file or named pipe for log lines."""

    log_path: str
    level: LogLevel | None = None
    show_level: bool | None = None
    show_log_origin: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics(Body):
    """`PUT /metrics`: a file or named pipe for JSON lines."""

    metrics_path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotCreate(Body):
    """`PUT /snapshot/create`, of a paused machine."""

    snapshot_path: str
    mem_file_path: str
    snapshot_type: SnapshotType | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBackend(Body):
    """Where a restored guest's memory comes from: a file, or a handler's unix socket."""

    backend_type: MemoryBackendType
    backend_path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VsockOverride(Body):
    """Another unix socket than the saved machine had; since version 1.16."""

    uds_path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotLoad(Body):
    """`PUT /snapshot/load`, before anything but log and metrics was configured."""

    snapshot_path: str
    mem_backend: MemoryBackend
    resume_vm: bool | None = None
    track_dirty_pages: bool | None = None
    vsock_override: VsockOverride | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceInfo:
    """What `GET /` says."""

    id: str
    state: InstanceState
    vmm_version: str
    app_name: str

    @classmethod
    def from_json(cls, said: Mapping[str, object]) -> "InstanceInfo":
        """Return the answer as a value.

        Raises:
            ValueError: it is not of that form.
        """
        return cls(
            id=_text(said, "id"),
            state=InstanceState(_text(said, "state")),
            vmm_version=_text(said, "vmm_version"),
            app_name=_text(said, "app_name"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineConfigInfo:
    """What `GET /machine-config` says."""

    vcpu_count: int
    mem_size_mib: int

    @classmethod
    def from_json(cls, said: Mapping[str, object]) -> "MachineConfigInfo":
        """Return the answer as a value.

        Raises:
            ValueError: it is not of that form.
        """
        return cls(
            vcpu_count=_number(said, "vcpu_count"), mem_size_mib=_number(said, "mem_size_mib")
        )


def version_from_json(said: Mapping[str, object]) -> str:
    """Return what `GET /version` says.

    Raises:
        ValueError: it is not of that form.
    """
    return _text(said, "firecracker_version")


def _text(said: Mapping[str, object], name: str) -> str:
    value = said.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")  # noqa: TRY004 - the answer is wrong, not the call
    return value


def _number(said: Mapping[str, object], name: str) -> int:
    value = said.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} is no number")  # noqa: TRY004 - as above
    return value
