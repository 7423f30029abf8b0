"""A machine as Virtualization.framework wants it described: the same devices every time.

A saved machine comes back only into the configuration that it was saved from, so the set of devices
never varies: a root disk, two disk slots, one socket device for the guest agent. No network, no
display, no shared directory, no memory balloon. Serial ports and named console ports are left out
too: the framework does not save machines that have the latter.
Source: openai/tart, issue 803 ("Unsupported console device in configuration").
"""

from dataclasses import dataclass
from pathlib import Path

from luminaguard.errors import HypervisorUnavailable
from luminaguard.vm.backends.apple.framework import (
    BlockDevice,
    Configuration,
    Framework,
    LinuxBootLoader,
    MachineIdentifier,
    SerialPort,
    words,
)
from luminaguard.vm.backends.apple.work import Refused
from luminaguard.vm.hardening import HardeningProfile, Lsm

SERIAL_ROOT, SERIAL_WORKSPACE, SERIAL_SCRATCH = "lg-root", "lg-workspace", "lg-scratch"
AGENT_PORT = 5201
"""Where the guest agent listens; the same number as in `luminaguard_guest.vsock`."""
_KERNEL_LINE = (
    "panic=-1",
    "cryptomgr.notests",
    "audit=0",
    "rcupdate.rcu_expedited=1",
    "initcall_blacklist=load_system_certificate_list,crypto_kdf108_init,snapshot_device_init",
)
_LSM = {
    Lsm.APPARMOR: ("apparmor=1", "security=apparmor", "apparmor.path_max=32768"),
    Lsm.SELINUX: ("selinux=1", "security=selinux", "enforcing=1"),
}
"""As for every backend. Source: Linux, Documentation/admin-guide/LSM."""
_SILENT = ("quiet",)
_CONSOLE = ("console=hvc0", "loglevel=7")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the machine is, whoever starts it."""

    memory_mib: int
    vcpus: int
    disk_limit_bytes: int
    profile: HardeningProfile
    entropy: bool
    """Whether it has a random number device; some versions of macOS cannot save one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where the parts of a machine lie."""

    kernel: Path
    initrd: Path
    root: Path
    workspace: Path
    scratch: Path
    console: Path | None = None
    """Takes what the guest's console shows; only to look into a boot that fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A valid configuration."""

    configuration: Configuration
    identifier: bytes
    """What the machine must be made with again to be restored."""


def describe(
    framework: Framework, shape: Shape, files: Files, *, identifier: bytes | None = None
) -> Described:
    """Return a valid configuration; `identifier` is a saved machine's, None for a new machine.

    Raises:
        Refused: macOS does not take it, in its own words.
        HypervisorUnavailable: the saved identifier is none.
    """
    named = _identifier(framework, identifier)
    platform = framework.vz.VZGenericPlatformConfiguration.alloc().init()
    platform.setMachineIdentifier_(named)
    configuration = framework.vz.VZVirtualMachineConfiguration.alloc().init()
    configuration.setPlatform_(platform)
    configuration.setBootLoader_(_boot_loader(framework, shape, files))
    configuration.setCPUCount_(shape.vcpus)
    configuration.setMemorySize_(shape.memory_mib * 1024 * 1024)
    configuration.setStorageDevices_(
        [
            _disk(framework, files.root, SERIAL_ROOT, read_only=True),
            _disk(framework, files.workspace, SERIAL_WORKSPACE, read_only=True),
            _disk(framework, files.scratch, SERIAL_SCRATCH, read_only=False),
        ]
    )
    configuration.setSocketDevices_([framework.vz.VZVirtioSocketDeviceConfiguration.alloc().init()])
    if shape.entropy:
        entropy = framework.vz.VZVirtioEntropyDeviceConfiguration.alloc().init()
        configuration.setEntropyDevices_([entropy])
    if files.console is not None:
        configuration.setSerialPorts_([_console(framework, files.console)])
    valid, error = configuration.validateWithError_(None)
    if not valid:
        raise Refused(
            f"macOS does not take the machine's configuration: {words(error)}",
            apple_code=error.code() if error is not None else 0,
        )
    return Described(configuration=configuration, identifier=bytes(named.dataRepresentation()))


def kernel_line(profile: HardeningProfile, *, console: bool = False) -> str:
    """Return the kernel's command line."""
    return " ".join((*_KERNEL_LINE, *_LSM[profile.lsm], *(_CONSOLE if console else _SILENT)))


def saving_problem(described: Described) -> str | None:
    """Return why macOS says that it cannot save such a machine; None when it says it can."""
    can, error = described.configuration.validateSaveRestoreSupportWithError_(None)
    return None if can else words(error)


def _identifier(framework: Framework, saved: bytes | None) -> MachineIdentifier:
    identifiers = framework.vz.VZGenericMachineIdentifier
    if saved is None:
        return identifiers.alloc().init()
    named = identifiers.alloc().initWithDataRepresentation_(saved)
    if named is None:
        raise HypervisorUnavailable("macOS does not know the saved machine's identifier")
    return named


def _boot_loader(framework: Framework, shape: Shape, files: Files) -> LinuxBootLoader:
    loaders = framework.vz.VZLinuxBootLoader
    loader = loaders.alloc().initWithKernelURL_(framework.url(str(files.kernel)))
    loader.setInitialRamdiskURL_(framework.url(str(files.initrd)))
    loader.setCommandLine_(kernel_line(shape.profile, console=files.console is not None))
    return loader


def _disk(framework: Framework, path: Path, serial: str, *, read_only: bool) -> BlockDevice:
    """Return a disk that the guest knows by its serial number.

    The host's cache is asked for: what is written to the file meanwhile must be what the guest
    reads, and under Linux guests other modes were seen to damage file systems. Nothing is synced:
    no disk outlives its machine. Source: openai/tart, pull request 675.
    """
    attachments = framework.vz.VZDiskImageStorageDeviceAttachment
    attachment, error = (
        attachments.alloc().initWithURL_readOnly_cachingMode_synchronizationMode_error_(
            framework.url(str(path)),
            read_only,
            framework.vz.VZDiskImageCachingModeCached,
            framework.vz.VZDiskImageSynchronizationModeNone,
            None,
        )
    )
    if attachment is None:
        raise Refused(
            f"macOS does not take {path.name} as a disk: {words(error)}",
            apple_code=error.code() if error is not None else 0,
        )
    device = framework.vz.VZVirtioBlockDeviceConfiguration.alloc().initWithAttachment_(attachment)
    device.setBlockDeviceIdentifier_(serial)
    return device


def _console(framework: Framework, path: Path) -> SerialPort:
    attachment, error = framework.vz.VZFileSerialPortAttachment.alloc().initWithURL_append_error_(
        framework.url(str(path)),
        False,  # noqa: FBT003 - a selector's arguments have no names
        None,
    )
    if attachment is None:
        raise Refused(
            f"macOS does not write a console to {path.name}: {words(error)}",
            apple_code=error.code() if error is not None else 0,
        )
    port = framework.vz.VZVirtioConsoleDeviceSerialPortConfiguration.alloc().init()
    port.setAttachment_(attachment)
    return port
