"""The part of Apple's frameworks that is used, as types: selectors as PyObjC spells them.

A selector's colons become underscores, and a trailing `NSError **` becomes a second result.
Source: PyObjC documentation, "Wrapping of Objective-C methods"; Apple's Virtualization headers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

_Instance_co = TypeVar("_Instance_co", covariant=True)


class NSError(Protocol):
    """What went wrong, in Apple's words."""

    def code(self) -> int: ...
    def localizedDescription(self) -> str: ...
    def localizedFailureReason(self) -> str | None: ...


Completion = Callable[[NSError | None], None]
"""A completion handler; the framework calls it on the machine's queue."""


class NSURL(Protocol):
    """A place; opaque here."""

    def path(self) -> str: ...


class UrlClass(Protocol):
    """NSURL itself."""

    def fileURLWithPath_(self, path: str) -> NSURL: ...


class Class(Protocol[_Instance_co]):
    """A class of which instances are allocated."""

    def alloc(self) -> _Instance_co: ...


class Plain(Protocol):
    """A configuration object that needs nothing more than to exist."""

    def init(self) -> Self: ...


class LinuxBootLoader(Protocol):
    """VZLinuxBootLoader: kernel, command line and RAM disk, without a firmware."""

    def initWithKernelURL_(self, url: NSURL) -> Self: ...
    def setInitialRamdiskURL_(self, url: NSURL) -> None: ...
    def setCommandLine_(self, line: str) -> None: ...


class MachineIdentifier(Protocol):
    """VZGenericMachineIdentifier: a saved machine comes back only under the same one."""

    def init(self) -> Self: ...
    def initWithDataRepresentation_(self, data: bytes) -> Self | None: ...
    def dataRepresentation(self) -> bytes: ...


class Platform(Protocol):
    """VZGenericPlatformConfiguration."""

    def init(self) -> Self: ...
    def setMachineIdentifier_(self, identifier: MachineIdentifier) -> None: ...


class DiskAttachment(Protocol):
    """VZDiskImageStorageDeviceAttachment: a raw disk image in a file."""

    def initWithURL_readOnly_cachingMode_synchronizationMode_error_(
        self, url: NSURL, read_only: bool, caching: int, synchronization: int, error: None, /
    ) -> tuple[Self | None, NSError | None]: ...


class BlockDevice(Protocol):
    """VZVirtioBlockDeviceConfiguration."""

    def initWithAttachment_(self, attachment: DiskAttachment) -> Self: ...
    def setBlockDeviceIdentifier_(self, identifier: str) -> None: ...


class FileAttachment(Protocol):
    """VZFileSerialPortAttachment: what a serial port says goes to a file."""

    def initWithURL_append_error_(
        self, url: NSURL, append: bool, error: None, /
    ) -> tuple[Self | None, NSError | None]: ...


class SerialPort(Protocol):
    """VZVirtioConsoleDeviceSerialPortConfiguration: the guest's hvc0."""

    def init(self) -> Self: ...
    def setAttachment_(self, attachment: FileAttachment) -> None: ...


class Configuration(Protocol):
    """VZVirtualMachineConfiguration."""

    def init(self) -> Self: ...
    def setBootLoader_(self, loader: LinuxBootLoader) -> None: ...
    def setPlatform_(self, platform: Platform) -> None: ...
    def setCPUCount_(self, count: int) -> None: ...
    def setMemorySize_(self, size_bytes: int) -> None: ...
    def setStorageDevices_(self, devices: Sequence[BlockDevice]) -> None: ...
    def setSocketDevices_(self, devices: Sequence[Plain]) -> None: ...
    def setEntropyDevices_(self, devices: Sequence[Plain]) -> None: ...
    def setSerialPorts_(self, ports: Sequence[SerialPort]) -> None: ...
    def validateWithError_(self, error: None) -> tuple[bool, NSError | None]: ...
    def validateSaveRestoreSupportWithError_(self, error: None) -> tuple[bool, NSError | None]: ...


class SocketConnection(Protocol):
    """VZVirtioSocketConnection: owns its descriptor."""

    def fileDescriptor(self) -> int: ...
    def close(self) -> None: ...


class SocketDevice(Protocol):
    """VZVirtioSocketDevice."""

    def connectToPort_completionHandler_(
        self, port: int, handler: Callable[[SocketConnection | None, NSError | None], None], /
    ) -> None: ...


class Machine(Protocol):
    """VZVirtualMachine: to be used on its queue only."""

    def initWithConfiguration_queue_(self, configuration: Configuration, queue: object) -> Self: ...
    def setDelegate_(self, delegate: object) -> None: ...
    def socketDevices(self) -> Sequence[SocketDevice]: ...
    def startWithCompletionHandler_(self, handler: Completion) -> None: ...
    def stopWithCompletionHandler_(self, handler: Completion) -> None: ...
    def pauseWithCompletionHandler_(self, handler: Completion) -> None: ...
    def resumeWithCompletionHandler_(self, handler: Completion) -> None: ...
    def saveMachineStateToURL_completionHandler_(
        self, url: NSURL, handler: Completion, /
    ) -> None: ...
    def restoreMachineStateFromURL_completionHandler_(
        self, url: NSURL, handler: Completion, /
    ) -> None: ...


class MachineClass(Class[Machine], Protocol):
    """VZVirtualMachine itself."""

    def isSupported(self) -> bool: ...


class RosettaClass(Protocol):
    """VZLinuxRosettaDirectoryShare itself."""

    def availability(self) -> int: ...


class Virtualization(Protocol):
    """The module `Virtualization` of PyObjC."""

    VZLinuxBootLoader: Class[LinuxBootLoader]
    VZGenericMachineIdentifier: Class[MachineIdentifier]
    VZGenericPlatformConfiguration: Class[Platform]
    VZDiskImageStorageDeviceAttachment: Class[DiskAttachment]
    VZVirtioBlockDeviceConfiguration: Class[BlockDevice]
    VZVirtioSocketDeviceConfiguration: Class[Plain]
    VZVirtioEntropyDeviceConfiguration: Class[Plain]
    VZFileSerialPortAttachment: Class[FileAttachment]
    VZVirtioConsoleDeviceSerialPortConfiguration: Class[SerialPort]
    VZVirtualMachineConfiguration: Class[Configuration]
    VZVirtualMachine: MachineClass
    VZLinuxRosettaDirectoryShare: RosettaClass
    VZDiskImageCachingModeCached: int
    VZDiskImageSynchronizationModeNone: int


class Foundation(Protocol):
    """The module `Foundation` of PyObjC."""

    NSURL: UrlClass


class Dispatch(Protocol):
    """The module `dispatch` of PyObjC."""

    def dispatch_queue_create(self, label: bytes, attributes: None, /) -> object: ...
    def dispatch_async(self, queue: object, block: Callable[[], None], /) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Framework:
    """Everything of Apple's that the backend touches."""

    vz: Virtualization
    foundation: Foundation
    dispatch: Dispatch
    make_delegate: Callable[[Callable[[str], None]], object]
    """Makes a VZVirtualMachineDelegate that says, on the queue, why a machine ended by itself."""

    def url(self, path: str) -> NSURL:
        """Return a file's URL."""
        return self.foundation.NSURL.fileURLWithPath_(path)


def words(error: NSError | None) -> str:
    """Return what an error says, in one line."""
    if error is None:
        return "no reason was given"
    reason = error.localizedFailureReason()
    said = [error.localizedDescription(), *([reason] if reason else [])]
    return f"{' '.join(dict.fromkeys(said))} (code {error.code()})"
