"""What a Firecracker machine is, whoever starts it: its devices, kernel line and limits.

A template and its clones must have the same devices, so the set never varies: the root disk, two
disk slots that start as placeholders, and the socket device of the guest agent. No network card.
"""

from dataclasses import dataclass
from hashlib import sha256

from luminaguard.domain.calls import canonical_json
from luminaguard.vm.backends.firecracker.api.bodies import Drive, MachineConfig, Vsock
from luminaguard.vm.backends.firecracker.room import READ_ONLY, WRITABLE
from luminaguard.vm.confinement.cgroups.limits import CgroupLimits
from luminaguard.vm.confinement.jail import Limits
from luminaguard.vm.hardening import STRICT, HardeningProfile, Lsm
from luminaguard.vm.spec import VmSpec

ROOT, WORKSPACE, SCRATCH = "root", "workspace", "scratch"
VSOCK, LOG, METRICS = "vsock.sock", "log.pipe", "metrics.pipe"
AGENT_PORT = 5201
"""Where the guest agent listens; the same number as in `luminaguard_guest.vsock`."""
_GUEST_CID = 3
"""The first that is no reserved one; each Firecracker has a world of its own."""
_BEYOND_GUEST_BYTES = 2 * 1024**3
"""Address space of Firecracker itself: thread stacks, and what its allocator reserves."""
_BESIDE_GUEST_BYTES = 128 * 1024**2
"""Resident memory of Firecracker itself (5 MiB by its specification), page tables, slack."""
_BESIDE_GUEST_THREADS = 16
"""Firecracker's own, and the processes that confine it."""
_WEIGHT_PER_CPU = 50
"""Half of what each of the user's own programs has."""
_KERNEL_LINE = (
    "reboot=k",
    "panic=-1",
    "i8042.noaux",
    "i8042.nomux",
    "i8042.dumbkbd",
    "cryptomgr.notests",
    "audit=0",
    "rcupdate.rcu_expedited=1",
    "initcall_blacklist=load_system_certificate_list,crypto_kdf108_init,snapshot_device_init",
)
_DISKS = (
    "luminaguard.lg-root=vda",
    "luminaguard.lg-workspace=vdb",
    "luminaguard.lg-scratch=vdc",
)
"""Firecracker's disks have no serial number of our choosing, only the order they were added in."""
_LSM = {
    Lsm.APPARMOR: ("apparmor=1", "security=apparmor", "apparmor.path_max=32768"),
    Lsm.SELINUX: ("selinux=1", "security=selinux", "enforcing=1"),
}
"""As for every backend. Source: Linux, Documentation/admin-guide/LSM."""
_SILENT = ("quiet", "8250.nr_uarts=0")
_CONSOLE = ("console=ttyS0", "loglevel=7")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The machine's sizes."""

    memory_mib: int
    vcpus: int
    disk_limit_bytes: int
    profile: HardeningProfile = STRICT

    @property
    def memory_bytes(self) -> int:
        """Size of the guest's memory."""
        return self.memory_mib * 1024 * 1024

    @property
    def machine_config(self) -> MachineConfig:
        """Processors and memory, as the API wants them."""
        return MachineConfig(vcpu_count=self.vcpus, mem_size_mib=self.memory_mib)

    @property
    def limits(self) -> Limits:
        """What the kernel grants the process."""
        return Limits(
            address_space_bytes=self.memory_bytes + _BEYOND_GUEST_BYTES,
            file_bytes=max(self.disk_limit_bytes, self.memory_bytes),
            processes=self.vcpus + _BESIDE_GUEST_THREADS,
        )

    @property
    def cgroup_limits(self) -> CgroupLimits:
        """What the machine may take of the host."""
        return CgroupLimits(
            memory_bytes=self.memory_bytes + _BESIDE_GUEST_BYTES,
            processes=self.vcpus + _BESIDE_GUEST_THREADS,
            cpus=self.vcpus + 1.0,
            weight=_WEIGHT_PER_CPU * self.vcpus,
        )


def shape_of(spec: VmSpec) -> Shape:
    """Return the shape that a spec asks for."""
    return Shape(
        memory_mib=spec.memory_mib,
        vcpus=spec.vcpus,
        disk_limit_bytes=spec.disk_limit_bytes,
        profile=spec.profile,
    )


def drives() -> tuple[Drive, ...]:
    """Return the disks in the order that names them in the guest."""
    return (
        Drive(drive_id=ROOT, path_on_host=f"{READ_ONLY}/{ROOT}", is_read_only=True),
        Drive(drive_id=WORKSPACE, path_on_host=f"{READ_ONLY}/{WORKSPACE}", is_read_only=True),
        Drive(drive_id=SCRATCH, path_on_host=f"{WRITABLE}/{SCRATCH}", is_read_only=False),
    )


def vsock() -> Vsock:
    """Return the socket device of the guest agent."""
    return Vsock(guest_cid=_GUEST_CID, uds_path=f"{WRITABLE}/{VSOCK}")


def kernel_line(profile: HardeningProfile, *, console: bool = False) -> str:
    """Return the kernel's command line; Firecracker adds where its devices are."""
    said = _CONSOLE if console else _SILENT
    return " ".join((*_KERNEL_LINE, *_LSM[profile.lsm], *_DISKS, *said))


def shape_digest(shape: Shape) -> str:
    """Return what changes whenever a saved guest would no longer fit."""
    said = {
        "machine": shape.machine_config.as_json(),
        "drives": [drive.as_json() for drive in drives()],
        "slots": shape.disk_limit_bytes,
        "vsock": vsock().as_json(),
        "port": AGENT_PORT,
        "kernel": kernel_line(shape.profile),
    }
    return sha256(canonical_json(said)).hexdigest()
