"""QEMU's command line: one fixed set of devices, everything by inherited descriptors.

A template and its clones must have the same devices, so the set never varies: a root disk, two
disk slots that start as placeholders, one port for the guest agent. No network card, no serial
line, no display, none of the boards' usual extras.
"""

from dataclasses import dataclass, field
from hashlib import sha256

from luminaguard.domain.calls import canonical_json
from luminaguard.vm.architecture import Architecture, host_architecture
from luminaguard.vm.backends.qemu.accelerator import Accelerator
from luminaguard.vm.hardening import STRICT, HardeningProfile, Lsm

AGENT_PORT = "luminaguard.agent"
SERIAL_ROOT, SERIAL_WORKSPACE, SERIAL_SCRATCH = "lg-root", "lg-workspace", "lg-scratch"
NODE_WORKSPACE, NODE_SCRATCH = "workspace", "scratch"
_ROOT_FDSET = 1
_SECCOMP = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
_KERNEL_COMMON = (
    "panic=-1",
    "cryptomgr.notests",
    "audit=0",
    "rcupdate.rcu_expedited=1",
    "initcall_blacklist=init_kprobe_trace,load_system_certificate_list,crypto_kdf108_init,"
    "snapshot_device_init",
)
_KERNEL_EMULATED = ("mitigations=off", "norandmaps")
"""Mitigations guard against a CPU's speculation, which emulated code does not reach.

QEMU finds translated code again only at the addresses it was translated for, so a program that is
laid out anew each time is translated anew each time: `sh -c echo` took 59 ms instead of 37. Agent
and box lie at their template's addresses in every clone, and a command is as hostile as whatever
could take it over; the kernel's own addresses stay random. Source: Linux
Documentation/admin-guide/kernel-parameters.txt, "norandmaps"."""
_KERNEL_LSM = {
    Lsm.APPARMOR: ("apparmor=1", "security=apparmor", "apparmor.path_max=32768"),
    Lsm.SELINUX: ("selinux=1", "security=selinux", "enforcing=1"),
}
"""AppArmor judges by whole paths, and refuses those longer than `path_max`: 8192 unless told more.
Source: Linux Documentation/admin-guide/LSM/apparmor.rst, security/apparmor/lsm.c."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the machine is, whoever starts it."""

    binary: str
    accelerator: Accelerator
    memory_mib: int
    vcpus: int
    disk_limit_bytes: int
    profile: HardeningProfile = STRICT
    architecture: Architecture = field(default_factory=host_architecture)

    @property
    def cpu(self) -> str:
        """Value of `-cpu`."""
        emulated = self.accelerator.emulated
        return self.architecture.tcg_cpu if emulated else self.accelerator.cpu

    @property
    def memory_bytes(self) -> int:
        """Size of the guest's memory."""
        return self.memory_mib * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """Descriptors that QEMU inherits under these same numbers."""

    control: int
    """Stream socket for QMP."""
    agent: int
    """Stream socket for the guest agent."""
    memory: int
    """Memory file of `Shape.memory_bytes`."""
    root: int
    """The root disk, opened read-only."""
    kernel: int | None = None
    """Memory files with kernel and initial RAM disk; only to boot."""
    initrd: int | None = None
    console: int | None = None
    """Memory file that takes the guest's console; only to look into a boot that fails."""
    mark: str = "luminaguard"
    """Name of the process's owner, shown in its command line."""

    def all(self) -> tuple[int, ...]:
        """Every descriptor, to be inherited."""
        some = (self.kernel, self.initrd, self.console)
        fixed = (self.control, self.agent, self.memory, self.root)
        return fixed + tuple(fd for fd in some if fd is not None)


def boot_command(shape: Shape, wiring: Wiring) -> list[str]:
    """Return the command that boots a guest whose memory can be saved by `x-ignore-shared`."""
    arguments = _machine(shape, wiring, shared="on")
    arguments += ["-kernel", f"/proc/self/fd/{wiring.kernel}"]
    arguments += ["-initrd", f"/proc/self/fd/{wiring.initrd}"]
    arguments += ["-append", kernel_line(shape, console=wiring.console is not None)]
    if wiring.console is not None:
        arguments += ["-chardev", f"file,id=console,path=/proc/self/fd/{wiring.console}"]
        arguments += shape.architecture.console_device
    return arguments


def clone_command(shape: Shape, wiring: Wiring) -> list[str]:
    """Return the command that waits for a saved guest, its memory mapped copy-on-write."""
    return [*_machine(shape, wiring, shared="off"), "-incoming", "defer"]


def kernel_line(shape: Shape, *, console: bool = False) -> str:
    """Return the kernel's command line."""
    words: list[str] = [*_KERNEL_COMMON, *_KERNEL_LSM[shape.profile.lsm]]
    if shape.accelerator.emulated:
        words.extend((*shape.architecture.emulated, *_KERNEL_EMULATED))
    if console:
        words.extend((f"console={shape.architecture.console}", "loglevel=7"))
    else:
        words.extend(("quiet", *shape.architecture.silent))
    return " ".join(words)


def shape_digest(shape: Shape) -> str:
    """Return what changes whenever a saved guest would no longer fit the command line."""
    wiring = Wiring(control=10, agent=11, memory=12, root=13, kernel=14, initrd=15)
    lines = [boot_command(shape, wiring), clone_command(shape, wiring), [shape.profile.digest]]
    return sha256(canonical_json(lines)).hexdigest()


def _machine(shape: Shape, wiring: Wiring, *, shared: str) -> list[str]:
    memory = (
        f"memory-backend-file,id=ram,size={shape.memory_bytes},"
        f"mem-path=/proc/self/fd/{wiring.memory},share={shared}"
    )
    return [
        shape.binary,
        *("-name", wiring.mark),
        *("-nodefaults", "-no-user-config", "-no-reboot"),
        *("-display", "none"),
        *("-sandbox", _SECCOMP),
        *("-object", memory),
        *("-machine", shape.architecture.board),
        *("-accel", shape.accelerator.option),
        *("-cpu", shape.cpu),
        *("-smp", str(shape.vcpus)),
        *("-m", f"{shape.memory_mib}M"),
        *("-chardev", f"socket,id=control,fd={wiring.control}"),
        *("-mon", "chardev=control,mode=control"),
        *_agent_port(wiring.agent),
        *_root_disk(wiring.root),
        *_slot(NODE_WORKSPACE, SERIAL_WORKSPACE, shape.disk_limit_bytes, read_only="on"),
        *_slot(NODE_SCRATCH, SERIAL_SCRATCH, shape.disk_limit_bytes, read_only="off"),
    ]


def _agent_port(fd: int) -> list[str]:
    return [
        *("-chardev", f"socket,id=agent,fd={fd}"),
        *("-device", "virtio-serial-pci,max_ports=2"),
        *("-device", f"virtserialport,chardev=agent,name={AGENT_PORT}"),
    ]


def _root_disk(fd: int) -> list[str]:
    source = f"driver=file,node-name=root-file,filename=/dev/fdset/{_ROOT_FDSET}"
    return [
        *("-add-fd", f"fd={fd},set={_ROOT_FDSET}"),
        *("-blockdev", f"{source},read-only=on,locking=off"),
        *("-blockdev", "driver=raw,node-name=root,file=root-file,read-only=on"),
        *("-device", f"virtio-blk-pci,drive=root,serial={SERIAL_ROOT}"),
    ]


def _slot(node: str, serial: str, size_bytes: int, *, read_only: str) -> list[str]:
    """Return a disk that reads as zeros until a file is swapped in under the node.

    An I/O error goes to the guest: QEMU's default for a full host disk is to stop the machine.
    """
    empty = f"driver=null-co,node-name={node}-empty,size={size_bytes},read-zeroes=on"
    return [
        *("-blockdev", f"{empty},read-only={read_only}"),
        *("-blockdev", f"driver=raw,node-name={node},file={node}-empty,read-only={read_only}"),
        "-device",
        f"virtio-blk-pci,drive={node},serial={serial},werror=report,rerror=report",
    ]
